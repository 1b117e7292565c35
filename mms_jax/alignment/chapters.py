"""Whole chapters: recordings and their texts in, verses with times and scores out."""

import collections
import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mms_jax.alignment.spans import FramePath, Verse, verse_spans
from mms_jax.alignment.text import ChapterText, read_chapter_text
from mms_jax.alignment.viterbi import align_ctc
from mms_jax.audio.levels import LevelMeter
from mms_jax.errors import AlignmentError, AudioError
from mms_jax.inference.recognizer import Recognizer, log_softmax
from mms_jax.text.mms_rules import TextRules
from mms_jax.text.vocabulary import readable_symbols

# The star token matches any symbol. MMS gives it probability 1; a little less leaves silences to the blank, whose frames are
# then divided between neighbors, and limits the star to speech.
STAR_LOG_PROB = math.log(0.9)
BLANK = 0


@dataclasses.dataclass(frozen=True)
class Chapter:
    """An aligned recording.

    Attributes:
      language: ISO 639-3, as requested.
      seconds: the recording's length.
      score: the mean over all verses' frames, see Span.
      verses: one for each line of the text.
      dropped: counts of characters and words without a symbol.
      path: int32 (frames,), the symbol of each frame; the star is number len(vocabulary).
    """

    language: str
    seconds: float
    score: float | None
    verses: list[Verse]
    dropped: dict[str, int]
    path: np.ndarray

    def __repr__(self) -> str:
        score = "no score" if self.score is None else f"score={self.score:.3f}"
        return f"Chapter({self.language}, {self.seconds:.1f} s, {len(self.verses)} verses, {score})"


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
      texts: the lines of each recording's text, one verse a line.
      language: ISO 639-3, one for all files or one per file. A language-independent model, such as MMS's aligner,
        accepts any code.
      rules: the rules by which the texts are normalized.

    Yields:
      For each file, in order, a chapter, or the error that prevents one.

    Raises:
      LanguageError: the model does not support one of the languages.
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
    """A recording with its prepared text: `language` as given by the caller, `spoken` as named by the model."""

    file: str
    text: ChapterText
    language: str
    spoken: str


def _align(recognizer: Recognizer, jobs: list[_Job], star: int) -> Iterator[Chapter | AudioError | AlignmentError]:
    meters: dict[int, LevelMeter] = collections.defaultdict(LevelMeter)
    # For each frame, the scores of the blank, of the text's symbols, and of the best of all symbols are stored.
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
    log_probs = scores  # the last column, already copied, becomes the star's
    log_probs[:, -1] = STAR_LOG_PROB
    symbols = np.append(columns, star)
    alignment = align_ctc(log_probs, np.searchsorted(symbols, text.labels), blank=BLANK)
    chosen = np.take_along_axis(log_probs, alignment.labels[:, None], axis=1)[:, 0]
    path = symbols[alignment.labels].astype(np.int32)
    loss = np.where(path == star, np.nan, chosen - best)
    frames = FramePath(alignment.positions, loss, log_probs[:, BLANK] < math.log(0.5), levels)
    return Chapter(language, seconds, frames.mean(0, len(path)), verse_spans(text, frames), text.dropped, path)


def to_json(chapter: Chapter) -> dict[str, Any]:
    """The chapter in plain types: all fields but the path, with times to 0.1 ms."""
    fields = dataclasses.asdict(dataclasses.replace(chapter, path=np.zeros(0)))
    del fields["path"]
    return _rounded(fields)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return round(value, 4) if isinstance(value, float) else value
