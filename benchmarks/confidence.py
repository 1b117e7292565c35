"""Whether confidence tells right alignments from wrong: python -m benchmarks.confidence MODEL ... --corpora NAME:SPLIT ...

Utterances of a corpus are joined to chapters, so that the time of every verse is known, and aligned by each model with their
own text; with another chapter's text; with text in another language; shuffled; shifted, so that the first verses are missing
and others follow; with verses missing in the middle; and with the second half of the recording missing. A verse is right if
both ends are less than half a second off. A chapter is right if it has its own text and four fifths of its verses are right,
and wrong if less than half of its verses are.

Printed for chapters and verses, and beside MMS's score: the area under the curve of right against wrong (0.5 is chance), and
the share of the wrong that is let through where 1 % of the right is refused. Then the slopes and middles that a logistic
regression finds, all models and kinds of pair together, right and wrong with equal weight: the constants of
mms_jax/alignment/confidence.py.
"""

import argparse
import collections
import dataclasses
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

import mms_jax
from input_pipeline.corpora.storage import as_text, open_corpus
from mms_jax.alignment import confidence as measure
from mms_jax.alignment.chapters import Chapter, align_logits
from mms_jax.audio.flac import decode_flac
from mms_jax.audio.levels import LevelMeter
from mms_jax.audio.waveform import SAMPLE_RATE
from mms_jax.decoding.timestamps import FRAME_SECONDS
from mms_jax.errors import AlignmentError

VERSES, MOST_CHAPTERS = 12, 6  # of a chapter; of a language and corpus
NEAR = 0.5  # seconds
SHORTEST = 6  # characters of a verse; shorter ones are prompts such as "one"


@dataclasses.dataclass(frozen=True)
class Spoken:
    """A chapter: waveform, language, lines of text, start and end of each in seconds."""

    corpus: str
    language: str
    waveform: np.ndarray
    lines: list[str]
    times: list[tuple[float, float]]


@dataclasses.dataclass(frozen=True)
class AlignedPair:
    """One aligned pair: its kind, the evidence and score of each verse, and which verses are right."""

    model: str
    kind: str
    chapter: Chapter
    right: list[bool]

    @property
    def verdict(self) -> bool | None:
        """Whether the chapter is right; None between right and wrong."""
        share = float(np.mean(self.right))
        if self.kind == "own text" and share >= 0.8:
            return True
        return False if share < 0.5 else None


def chapters_of(corpus: str, data_dir: str) -> list[Spoken]:
    """Chapters of consecutive utterances, some tenths of a second apart."""
    rng = np.random.default_rng(0)
    utterances: dict[str, list[tuple[np.ndarray, str]]] = collections.defaultdict(list)
    name, _, split = corpus.partition(":")
    for record in open_corpus(name, split, data_dir).source:
        text = as_text(record["text"])
        if len(text) >= SHORTEST:
            waveform, _ = decode_flac(record["audio"], as_text(record["id"]))
            utterances[as_text(record["language"])].append((_trimmed(waveform), text))
    return [
        _join(corpus, language, own[start : start + VERSES], rng)
        for language, own in utterances.items()
        for start in range(0, min(len(own), VERSES * MOST_CHAPTERS) - VERSES // 2, VERSES)
    ]


def _trimmed(waveform: np.ndarray) -> np.ndarray:
    import librosa

    return librosa.effects.trim(waveform, top_db=35, frame_length=512, hop_length=128)[0]


def _join(corpus: str, language: str, parts: Sequence[tuple[np.ndarray, str]], rng: np.random.Generator) -> Spoken:
    pieces, times, position = [], [], 0

    def pause() -> None:
        nonlocal position
        pieces.append(rng.normal(0.0, 1e-3, int(SAMPLE_RATE * rng.uniform(0.3, 0.9))))
        position += len(pieces[-1])

    pause()
    for waveform, _ in parts:
        times.append((position / SAMPLE_RATE, (position + len(waveform)) / SAMPLE_RATE))
        pieces.append(waveform)
        position += len(waveform)
        pause()
    return Spoken(corpus, language, np.concatenate(pieces).astype(np.float32), [text for _, text in parts], times)


Times = list[tuple[float, float] | None]


def pairs(spoken: Spoken, mate: Spoken, seed: int) -> Iterator[tuple[str, list[str], Times, float]]:
    """(kind, lines, true times or None, share of the recording) of a chapter; `mate` is another of its language."""
    lines, times, count = spoken.lines, list(spoken.times), len(spoken.lines)
    nowhere: Times = [None] * count
    yield "own text", lines, list(times), 1.0
    yield "another chapter", mate.lines, [None] * len(mate.lines), 1.0
    order = np.random.default_rng(seed).permutation(count).tolist()
    yield "shuffled", [lines[place] for place in order], [times[place] for place in order], 1.0
    moved = count // 3
    yield "shifted", lines[moved:] + mate.lines[:moved], [*times[moved:], *nowhere[:moved]], 1.0
    begin, end = count // 3, count // 3 + max(1, count // 4)
    yield "verses missing", lines[:begin] + lines[end:], [*times[:begin], *times[end:]], 1.0
    half = len(spoken.waveform) / SAMPLE_RATE / 2
    yield "half recorded", lines, [time if time[1] < half else None for time in times], 0.5


def rows_of(name: str, chapters: Sequence[Spoken]) -> Iterator[AlignedPair]:
    """Every pair that a model can read, aligned."""
    model = mms_jax.load_recognizer(name)
    for number, spoken in enumerate(tqdm(chapters, desc=name, leave=False)):
        if spoken.language not in model.languages:
            continue
        meter = LevelMeter()
        meter.add(spoken.waveform)
        mate = _mate(chapters, number, same_language=True)
        [logits] = model.logits([spoken.waveform], language=spoken.language)
        for kind, lines, times, share in pairs(spoken, mate, number):
            frames = int(share * len(logits))
            levels = meter.levels()[: int(frames * FRAME_SECONDS * 100)]
            if row := _row(model, name, kind, logits[:frames], lines, spoken.language, levels, times):
                yield row
        foreign = _mate(chapters, number, same_language=False)
        if foreign.language in model.languages and foreign.language != spoken.language:
            [logits] = model.logits([spoken.waveform], language=foreign.language)
            nowhere: Times = [None] * len(foreign.lines)
            if row := _row(
                model, name, "another language", logits, foreign.lines, foreign.language, meter.levels(), nowhere
            ):
                yield row


def _mate(chapters: Sequence[Spoken], number: int, *, same_language: bool) -> Spoken:
    """Another chapter of the same corpus, of the same language or of another one."""
    own = chapters[number]
    others = [
        other
        for other in (*chapters[number + 1 :], *chapters[:number])
        if other.corpus == own.corpus and (other.language == own.language) == same_language
    ]
    return others[0] if others else own


def _row(
    model: Any, name: str, kind: str, logits: np.ndarray, lines: list[str], language: str, levels: np.ndarray, times: Times
) -> AlignedPair | None:  # fmt: skip
    try:
        chapter = align_logits(model, logits, lines, language, levels)
    except AlignmentError:  # the text does not fit: nothing is let through
        return None
    right = [
        time is not None and abs(verse.start - time[0]) < NEAR and abs(verse.end - time[1]) < NEAR
        for verse, time in zip(chapter.verses, times)
    ]
    return AlignedPair(name, kind, chapter, right)


def area(right: Sequence[float], wrong: Sequence[float]) -> float:
    """The probability that a right value is above a wrong one."""
    order = np.sort(np.asarray(wrong))
    below = np.searchsorted(order, right, side="left") + np.searchsorted(order, right, side="right")
    return float(below.mean() / (2 * len(order)))


def let_through(right: Sequence[float], wrong: Sequence[float]) -> float:
    """The share of wrong values at or above the level that 99 % of the right ones reach."""
    return float(np.mean(np.asarray(wrong) >= np.quantile(right, 0.01)))


def logistic(right: Sequence[float], wrong: Sequence[float]) -> tuple[float, float]:
    """Slope and middle of a logistic regression, right and wrong with equal weight."""
    values = np.concatenate([right, wrong])
    target = np.concatenate([np.ones(len(right)), np.zeros(len(wrong))])
    weight = np.concatenate([np.full(len(right), 0.5 / len(right)), np.full(len(wrong), 0.5 / len(wrong))])
    inputs, found = np.stack([values, np.ones(len(values))], axis=1), np.zeros(2)
    for _ in range(100):
        probability = 1 / (1 + np.exp(-inputs @ found))
        curvature = (inputs * (weight * probability * (1 - probability))[:, None]).T @ inputs + 1e-9 * np.eye(2)
        found += np.linalg.solve(curvature, inputs.T @ (weight * (target - probability)))
    return float(found[0]), float(-found[1] / found[0])


def split_chapters(rows: Sequence[AlignedPair], value: str) -> tuple[list[float], list[float]]:
    """A figure of right and of wrong chapters."""
    found = [(row.verdict, getattr(row.chapter, value)) for row in rows if getattr(row.chapter, value) is not None]
    return [v for verdict, v in found if verdict], [v for verdict, v in found if verdict is False]


def split_verses(rows: Sequence[AlignedPair], value: str) -> tuple[list[float], list[float]]:
    """A figure of right and of wrong verses."""
    found = [
        (right, getattr(verse, value))
        for row in rows
        for verse, right in zip(row.chapter.verses, row.right)
        if verse.confidence is not None
    ]
    return [v for right, v in found if right], [v for right, v in found if not right]


def report(rows: Sequence[AlignedPair]) -> str:
    """The tables."""
    lines = [f"{'':<34}{'right':>7}{'wrong':>7}{'area':>8}{'at 1 %':>8}{'score':>8}{'at 1 %':>8}"]
    for what, split in (("chapters", split_chapters), ("verses", split_verses)):
        groups = {"all": list(rows)}
        groups |= {model: [row for row in rows if row.model == model] for model in dict.fromkeys(r.model for r in rows)}
        for name, own in groups.items():
            right, wrong = split(own, "confidence")
            old = split(own, "score")
            if not right or not wrong:
                continue
            figures = [area(right, wrong), let_through(right, wrong), area(*old), let_through(*old)]
            shown = "".join(f"{figure:>8.3f}" for figure in figures)
            lines.append(f"{what:<10}{pathlib.Path(name).name[-23:]:<24}{len(right):>7}{len(wrong):>7}{shown}")
    lines += [
        "",
        f"{'kind of pair':<24}{'pairs':>7}{'right verses':>14}{'right, refused':>16}{'wrong, let through':>20}",
    ]
    for kind in dict.fromkeys(row.kind for row in rows):
        own = [row for row in rows if row.kind == kind]
        wrong_rows = [row for row in own if row.verdict is False]
        right_rows = [row for row in own if row.verdict]
        refused = f"{np.mean([bool(row.chapter.doubt) for row in right_rows]):.3f}" if right_rows else "-"
        through = f"{np.mean([not row.chapter.doubt for row in wrong_rows]):.3f}" if wrong_rows else "-"
        share = np.mean([right for row in own for right in row.right])
        lines.append(f"{kind:<24}{len(own):>7}{share:>14.2f}{refused:>16}{through:>20}")
    return "\n".join(lines)


def shares(rows: Sequence[AlignedPair], split: Any, slope: float, middle: float) -> tuple[list[float], list[float]]:
    """The evidence behind confidences: the inverse of the logistic function."""
    return tuple(  # type: ignore[return-value]
        [middle + np.log(max(value, 1e-9) / max(1 - value, 1e-9)) / slope for value in values]
        for values in split(rows, "confidence")
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--corpora", nargs="+", default=["spoken_phrases/verses:test"], metavar="NAME:SPLIT")
    parser.add_argument("--data_dir", default="data")
    arguments = parser.parse_args()
    chapters = [chapter for corpus in arguments.corpora for chapter in chapters_of(corpus, arguments.data_dir)]
    minutes = sum(len(chapter.waveform) for chapter in chapters) / SAMPLE_RATE / 60
    print(f"{len(chapters)} chapters, {minutes:.0f} minutes")
    rows = [row for model in arguments.models for row in rows_of(model, chapters)]
    print(report(rows))
    for what, split, constants in (
        ("verses", split_verses, (measure.VERSE_SLOPE, measure.VERSE_MIDDLE)),
        ("chapters", split_chapters, (measure.CHAPTER_SLOPE, measure.CHAPTER_MIDDLE)),
    ):
        slope, middle = logistic(*shares(rows, split, *constants))
        print(f"{what}: slope {slope:.1f}, middle {middle:.3f} (now {constants[0]:.1f}, {constants[1]:.3f})")


if __name__ == "__main__":
    main()
