"""Words with times as subtitles: SubRip and WebVTT."""

import html
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from mms_jax.decoding.timestamps import Word

LINE_CHARACTERS = 42  # a common limit in broadcasting
CUE_SECONDS = 6.0
PAUSE_SECONDS = 0.8  # a pause of this length ends a cue


class Cue(NamedTuple):
    """One subtitle: start and end in seconds, and a line of text."""

    start: float
    end: float
    text: str


def cues(words: Sequence[Word]) -> Iterator[Cue]:
    """Groups words into cues; a full line, six seconds or a pause ends a cue."""
    held: list[Word] = []
    for word in words:
        if held and (
            sum(len(other.text) + 1 for other in held) + len(word.text) > LINE_CHARACTERS
            or word.end - held[0].start > CUE_SECONDS
            or word.start - held[-1].end > PAUSE_SECONDS
        ):
            yield _cue(held)
            held = []
        held.append(word)
    if held:
        yield _cue(held)


def to_srt(cues: Iterable[Cue]) -> str:
    """A SubRip file."""
    return "\n".join(
        f"{number}\n{_time(cue.start, ',')} --> {_time(cue.end, ',')}\n{_one_line(cue.text)}\n"
        for number, cue in enumerate(cues, start=1)
    )


def to_vtt(cues: Iterable[Cue]) -> str:
    """A WebVTT file."""
    blocks = [f"{_time(cue.start, '.')} --> {_time(cue.end, '.')}\n{_escaped(cue.text)}\n" for cue in cues]
    return "\n".join(["WEBVTT\n", *blocks])


def _cue(words: Sequence[Word]) -> Cue:
    return Cue(words[0].start, words[-1].end, " ".join(word.text for word in words))


def _one_line(text: str) -> str:
    """A cue ends at an empty line, and an arrow begins another."""
    return " ".join(text.replace("-->", "→").split())


def _escaped(text: str) -> str:
    """WebVTT reserves the characters of tags and entities."""
    return html.escape(_one_line(text), quote=False)


def _time(seconds: float, point: str) -> str:
    milliseconds = round(1000 * seconds)
    hours, rest = divmod(milliseconds, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}{point}{rest % 1000:03d}"
