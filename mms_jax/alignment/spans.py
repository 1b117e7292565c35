"""From a path to verses, words and characters with times and scores.

A CTC path says on which frames a character's symbol was seen, which is short; the frames between two symbols belong to
neither. Neighbours meet in the middle of them, unless there is a silence: it begins where the one ends, and ends where
the other begins. Clips are cut in the middle of the silence.
"""

import dataclasses

import numpy as np

from mms_jax.alignment.text import ChapterText, WordText
from mms_jax.audio.levels import silences
from mms_jax.decoding.timestamps import FRAME_SECONDS

PAUSE_SECONDS = 0.2  # longer silences do not lie within a word


@dataclasses.dataclass(frozen=True)
class Span:
    """Something that was said.

    Attributes:
      text: what.
      start, end: seconds from the beginning of the recording.
      score: the mean over its frames of log P(path) - log P(best symbol) (Pratap et al. 2023, section 3.1), at most 0,
        which is certain. None where there is nothing to judge: digits, empty lines.
    """

    text: str
    start: float
    end: float
    score: float | None


@dataclasses.dataclass(frozen=True)
class AlignedWord(Span):
    """A word, normalised, or neighbouring words that cannot be read, such as digits.

    Attributes:
      characters: its characters; letters that are one sound in Latin letters stay together.
    """

    characters: list[Span]


@dataclasses.dataclass(frozen=True)
class Verse(Span):
    """A line of the text.

    Attributes:
      text: as given. Start and end are those of the speech.
      cut_start, cut_end: where a clip of it is cut: the silence to its neighbours is divided. Its score is of all frames
        between the cuts, so that what was said there and is not in the text lowers it.
      normalized: the text that was aligned; "" where nothing was.
      readable: whether all of it was heard as symbols: no digits, no word under the star.
      words: its words.
    """

    cut_start: float
    cut_end: float
    normalized: str
    readable: bool
    words: list[AlignedWord]


@dataclasses.dataclass(frozen=True)
class Path:
    """An aligned chapter, frame by frame.

    Attributes:
      positions: int (frames,), which label of the text; -1 for blanks.
      loss: float (frames,), log P(path) - log P(best symbol); NaN under the star.
      heard: bool (frames,), whether something is said: the blank is improbable.
      levels: dB every 10 ms.
    """

    positions: np.ndarray
    loss: np.ndarray
    heard: np.ndarray
    levels: np.ndarray

    def mean(self, first: int, last: int) -> float | None:
        """The mean loss of frames, those under the star left out; None where no others are."""
        loss = self.loss[first:last]
        loss = loss[~np.isnan(loss)]
        return float(loss.mean()) if len(loss) else None


def verse_spans(text: ChapterText, path: Path) -> list[Verse]:
    """The verses of an aligned chapter, in order."""
    firsts, lasts = _frames_of_labels(text, path)
    end = len(path.positions) * FRAME_SECONDS
    words = [word for verse in text.verses for word in verse.words]
    # The recording's edges, the stars around the text, and its words: wherever two neighbours meet.
    begins = [0, *(firsts[word.pieces[0].first] for word in words), firsts[-1]]
    stops = [lasts[0], *(lasts[word.pieces[-1].last] for word in words), len(path.positions)]
    meetings = [_meet(stop, begin, path.levels) for stop, begin in zip(stops, begins[1:])]
    for place, word in enumerate(words):
        if not word.star:
            _move_pause(word, place, meetings, firsts, lasts, path.levels)

    verses, number = [], 0
    for verse in text.verses:
        if not verse.words:
            here = min((meetings[number][0] + meetings[number][1]) / 2, end)
            verses.append(Verse(verse.text, here, here, None, here, here, "", False, []))
            continue
        aligned = [
            _word(word, meetings[number + place][1], meetings[number + place + 1][0], firsts, lasts, path)
            for place, word in enumerate(verse.words)
        ]
        cut_start, cut_end = (sum(meetings[place]) / 2 for place in (number, number + len(aligned)))
        readable = bool(verse.normalized) and not any(word.star for word in verse.words)
        # All between the cuts, and its own symbols where they were heard beyond.
        first = min(round(cut_start / FRAME_SECONDS), firsts[verse.words[0].pieces[0].first])
        last = max(round(cut_end / FRAME_SECONDS), lasts[verse.words[-1].pieces[-1].last])
        score = path.mean(first, last) if verse.normalized else None
        start, stop = aligned[0].start, aligned[-1].end
        verses.append(Verse(verse.text, start, stop, score, cut_start, cut_end, verse.normalized, readable, aligned))
        number += len(aligned)
    return verses


def _frames_of_labels(text: ChapterText, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The first frame of each label, and the frame after its last."""
    numbers, said = np.arange(len(text.labels)), np.flatnonzero(path.positions >= 0)
    # Positions never fall.
    firsts = said[np.searchsorted(path.positions[said], numbers, side="left")]
    lasts = said[np.searchsorted(path.positions[said], numbers, side="right") - 1] + 1
    # A star may also lie on a silence, and must lie somewhere: only what was heard under it counts.
    for star in np.flatnonzero(text.labels == text.labels[0]):
        heard = firsts[star] + np.flatnonzero(path.heard[firsts[star] : lasts[star]])
        if len(heard):
            firsts[star], lasts[star] = heard[0], heard[-1] + 1
        elif star == 0:
            firsts[star] = lasts[star] = 0
        elif star == numbers[-1]:
            firsts[star] = lasts[star] = len(path.positions)
    return firsts, lasts


def _word(word: WordText, start: float, end: float, firsts: np.ndarray, lasts: np.ndarray, path: Path) -> AlignedWord:
    begins = [firsts[piece.first] for piece in word.pieces]
    stops = [lasts[piece.last] for piece in word.pieces]
    middles = [float(FRAME_SECONDS * (stop + begin) / 2) for stop, begin in zip(stops, begins[1:])]
    middles = [min(max(middle, start), end) for middle in middles]
    characters = [
        Span(piece.text, left, right, path.mean(begin, stop))
        for piece, left, right, begin, stop in zip(word.pieces, [start, *middles], [*middles, end], begins, stops)
    ]
    return AlignedWord(word.text, start, end, path.mean(begins[0], stops[-1]), characters)


def _move_pause(
    word: WordText, place: int, meetings: list[tuple[float, float]], firsts: np.ndarray, lasts: np.ndarray,
    levels: np.ndarray,
) -> None:  # fmt: skip
    """Nobody pauses within a word: a long silence there lies before it, or after it, and its few symbols beyond were
    heard in the neighbour."""
    start, end = (float(frame * FRAME_SECONDS) for frame in (firsts[word.pieces[0].first], lasts[word.pieces[-1].last]))
    for left, right in silences(levels, start, end):
        if right - left < PAUSE_SECONDS:
            continue
        middles = FRAME_SECONDS * (firsts + lasts)[word.pieces[0].first : word.pieces[-1].last + 1] / 2
        if np.count_nonzero(middles < left) <= np.count_nonzero(middles > right):
            meetings[place] = (min(meetings[place][0], left), right)
        else:
            meetings[place + 1] = (left, max(meetings[place + 1][1], right))
            break


def _meet(stop: int, begin: int, levels: np.ndarray) -> tuple[float, float]:
    """When the one ends and the other begins, in seconds, if their symbols lie on frames until `stop` and from `begin`."""
    left, right = float(stop * FRAME_SECONDS), float(begin * FRAME_SECONDS)
    between = silences(levels, left, right)
    if between:
        return between[0][0], between[-1][1]
    return (left + right) / 2, (left + right) / 2
