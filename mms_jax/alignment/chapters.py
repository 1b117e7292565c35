"""Whole chapters: recordings and their texts in, verses with times and scores out."""

import collections
import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mms_jax.alignment.errors import AlignmentError
from mms_jax.alignment.spans import Path, Verse, verse_spans
from mms_jax.alignment.text import ChapterText, read_chapter_text
from mms_jax.alignment.viterbi import align_ctc
from mms_jax.audio.errors import AudioError
from mms_jax.audio.levels import LevelMeter
from mms_jax.recognizer import Recognizer, log_softmax
from mms_jax.text.mms_rules import TextRules
from mms_jax.text.vocabulary import readable_symbols

# The star is a symbol that anything can be. MMS gives it probability 1; a little less leaves silences to the blank, whose
# frames are then divided between neighbours, and keeps the star to what was really said.
STAR_LOG_PROB = math.log(0.9)
BLANK = 0


@dataclasses.dataclass(frozen=True)
class Chapter:
    """An aligned recording.

    Attributes:
      language: ISO 639-3, as asked for.
      seconds: the recording's length.
      score: the mean over all verses' frames, see Span.
      verses: one for each line of the text.
      dropped: what the aligner could not read and how often it came, characters and words.
      path: int32 (frames,), the symbol of each frame; the star is number len(vocabulary).
    """

    language: str
    seconds: float
    score: float | None
    verses: list[Verse]
    dropped: dict[str, int]
    path: np.ndarray = dataclasses.field(repr=False)


def align_chapters(
    recognizer: Recognizer,
    files: Sequence[str],
    texts: Sequence[Sequence[str]],
    language: str | Sequence[str],
    rules: TextRules = TextRules(),  # noqa: B008
) -> Iterator[Chapter | AudioError | AlignmentError]:
    """Aligns recordings of any format, rate and length with their texts.

    Args:
      recognizer: any CTC model.
      files: paths of the recordings.
      texts: the lines of each, one verse a line.
      language: ISO 639-3, one for all or one a file. A model that knows no languages, such as MMS's aligner, takes any.
      rules: for the texts' normalisation.

    Yields:
      For each file, in order, a chapter, or what is wrong with it.

    Raises:
      ValueError: the model does not know a language.
    """
    languages = [language] * len(files) if isinstance(language, str) else list(language)
    spoken = [recognizer.own_name(language) for language in languages]
    symbols = {name: readable_symbols(recognizer.vocabulary, name) for name in sorted(set(spoken))}
    star = len(recognizer.vocabulary)
    jobs: list[_Job | AlignmentError] = []
    for file, lines, own, name in zip(files, texts, languages, spoken, strict=True):
        try:
            text = read_chapter_text(lines, own, symbols[name], star, rules)
            jobs.append(_Job(file, text, own, name))
        except AlignmentError as error:
            jobs.append(AlignmentError(f"{file}: {error}"))
    aligned = _align(recognizer, [job for job in jobs if isinstance(job, _Job)], star)
    for job in jobs:
        yield next(aligned) if isinstance(job, _Job) else job


@dataclasses.dataclass(frozen=True)
class _Job:
    """A recording whose text is ready: `language` as asked for, `spoken` as the model calls it."""

    file: str
    text: ChapterText
    language: str
    spoken: str


def _align(recognizer: Recognizer, jobs: list[_Job], star: int) -> Iterator[Chapter | AudioError | AlignmentError]:
    meters: dict[int, LevelMeter] = collections.defaultdict(LevelMeter)
    # Of each frame only what can matter is kept: the blank, the text's symbols, and the best of all.
    columns = [np.unique([BLANK, *job.text.labels[job.text.labels != star]]) for job in jobs]

    def reduce(number: int, logits: np.ndarray) -> np.ndarray:
        scores = log_softmax(logits)
        return np.concatenate([scores[:, columns[number]], scores.max(axis=1, keepdims=True)], axis=1)

    def finish(number: int, pieces: list[np.ndarray], seconds: float) -> Chapter | AlignmentError:
        job, levels = jobs[number], meters.pop(number).levels()
        try:
            return _chapter(job.text, columns[number], star, np.concatenate(pieces), levels, job.language, seconds)
        except AlignmentError as error:
            return AlignmentError(f"{job.file}: {error}")

    files, languages = [job.file for job in jobs], [job.spoken for job in jobs]
    return recognizer.score_files(files, languages, reduce, finish, lambda number, block: meters[number].add(block))


def _chapter(
    text: ChapterText, columns: np.ndarray, star: int, scores: np.ndarray, levels: np.ndarray, language: str,
    seconds: float,
) -> Chapter:  # fmt: skip
    best = scores[:, -1].copy()
    log_probs = scores  # the last column, read already, becomes the star's
    log_probs[:, -1] = STAR_LOG_PROB
    symbols = np.append(columns, star)
    alignment = align_ctc(log_probs, np.searchsorted(symbols, text.labels), blank=BLANK)
    chosen = np.take_along_axis(log_probs, alignment.labels[:, None], axis=1)[:, 0]
    path = symbols[alignment.labels].astype(np.int32)
    loss = np.where(path == star, np.nan, chosen - best)
    frames = Path(alignment.positions, loss, log_probs[:, BLANK] < math.log(0.5), levels)
    return Chapter(language, seconds, frames.mean(0, len(path)), verse_spans(text, frames), text.dropped, path)


def to_json(chapter: Chapter) -> dict[str, Any]:
    """Plain types: everything but the path, times to the millisecond."""
    fields = dataclasses.asdict(dataclasses.replace(chapter, path=np.zeros(0)))
    del fields["path"]
    return _rounded(fields)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return round(value, 4) if isinstance(value, float) else value
