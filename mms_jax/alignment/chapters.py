"""Whole chapters: recordings and their texts in, verses with times and scores out."""

import collections
import dataclasses
import math
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mms_jax.alignment.confidence import (
    BELIEVED,
    Evidence,
    chapter_confidence,
    doubt,
    gap_cost,
    is_better,
    is_uneven,
    placed_share,
    verse_confidences,
    verse_evidence,
)
from mms_jax.alignment.spans import FramePath, Verse, verse_spans
from mms_jax.alignment.text import ChapterText, read_chapter_text
from mms_jax.alignment.viterbi import align_ctc
from mms_jax.audio.levels import LevelMeter
from mms_jax.audio.waveform import SAMPLE_RATE
from mms_jax.decoding.timestamps import FRAME_SECONDS
from mms_jax.errors import AlignmentError, AudioError
from mms_jax.inference.recognizer import Recognizer, log_softmax
from mms_jax.inference.windows import Progress, Recordings
from mms_jax.text.languages import ANY_LANGUAGE, check_code
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
      confidence: the probability that recording and text belong together and most verses were found, from 0 to 1; None
        where the text has nothing to compare with. See mms_jax.alignment.confidence.
      doubt: why the chapter is not believed; "" where it is.
      dropped: counts of characters and words without a symbol.
      path: int32 (frames,), the symbol of each frame; the star is number len(vocabulary).
    """

    language: str
    seconds: float
    score: float | None
    verses: list[Verse]
    confidence: float | None
    doubt: str
    dropped: dict[str, int]
    path: np.ndarray

    def __repr__(self) -> str:
        score = "no score" if self.score is None else f"score={self.score:.3f}"
        confidence = "" if self.confidence is None else f", confidence={self.confidence:.2f}"
        return f"Chapter({self.language}, {self.seconds:.1f} s, {len(self.verses)} verses, {score}{confidence})"

    @property
    def doubtful(self) -> list[int]:
        """The numbers, from 1, of the verses that are probably not where they were found."""
        return [
            number
            for number, verse in enumerate(self.verses, start=1)
            if verse.confidence is not None and verse.confidence < BELIEVED
        ]


def align_chapters(
    recognizer: Recognizer,
    recordings: Recordings,
    texts: Sequence[Sequence[str]],
    language: str | Sequence[str],
    rules: TextRules = TextRules(),  # noqa: B008
    rate: int = SAMPLE_RATE,
    progress: Progress | None = None,
) -> Iterator[Chapter | AudioError | AlignmentError]:
    """Aligns recordings of any format, rate and length with their texts.

    Args:
      recognizer: any CTC model.
      recordings: paths of files, or waveforms.
      texts: the lines of each recording's text, one verse a line.
      language: ISO 639-3, one for all recordings or one for each. A language-independent model, such as MMS's aligner,
        accepts any code.
      rules: the rules by which the texts are normalized.
      rate: samples per second of waveforms.
      progress: called with the seconds of audio of each piece that is done.

    Yields:
      For each recording, in order, a chapter, or the error that prevents one.

    Raises:
      LanguageError: the model does not support one of the languages, or a code is none of ISO 639-3.
    """
    languages = [language] * len(recordings) if isinstance(language, str) else list(language)
    if recognizer.languages == (ANY_LANGUAGE,):
        for code in sorted(set(languages)):
            check_code(code)
    spoken = [recognizer.own_name(language) for language in languages]
    symbols = {name: readable_symbols(recognizer.vocabulary, name) for name in sorted(set(spoken))}
    star = len(recognizer.vocabulary)
    jobs: list[_Job | AlignmentError] = []
    for recording, lines, own, name in zip(recordings, texts, languages, spoken, strict=True):
        try:
            text = read_chapter_text(lines, own, symbols[name], star, rules)
            jobs.append(_Job(recording, text, own, name))
        except AlignmentError as error:
            jobs.append(AlignmentError(f"{_name(recording)}: {error}"))
    aligned = _align(recognizer, [job for job in jobs if isinstance(job, _Job)], star, rate, progress)
    for job in jobs:
        yield next(aligned) if isinstance(job, _Job) else job


def align_logits(
    recognizer: Recognizer, logits: np.ndarray, lines: Sequence[str], language: str, levels: np.ndarray
) -> Chapter:
    """Aligns a recording whose scores are known, as for several texts of one recording.

    Args:
      recognizer: whose scores they are.
      logits: float32 (frames, vocabulary), from `Recognizer.logits`.
      lines: of the text, one verse a line.
      language: ISO 639-3.
      levels: of the recording, from `LevelMeter`.

    Raises:
      AlignmentError: the text cannot be aligned.
    """
    symbols = readable_symbols(recognizer.vocabulary, recognizer.own_name(language))
    star = len(recognizer.vocabulary)
    text = read_chapter_text(lines, language, symbols, star)
    columns = _columns(text, star)
    return _chapter(text, columns, star, _scores(logits, columns), levels, language, len(logits) * FRAME_SECONDS)


def _columns(text: ChapterText, star: int) -> np.ndarray:
    """The symbols whose scores are kept: the blank, and those of the text."""
    return np.unique([BLANK, *text.labels[text.labels != star]])


def _scores(logits: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """float32 (frames, columns + 1), log probabilities of some symbols; the last column is the best of all symbols."""
    scores = log_softmax(logits)
    return np.concatenate([scores[:, columns], scores.max(axis=1, keepdims=True)], axis=1)


@dataclasses.dataclass(frozen=True)
class _Job:
    """A recording with its prepared text: `language` as given by the caller, `spoken` as named by the model."""

    recording: str | os.PathLike | np.ndarray
    text: ChapterText
    language: str
    spoken: str


def _name(recording: str | os.PathLike | np.ndarray) -> str:
    return os.fspath(recording) if isinstance(recording, str | os.PathLike) else "the waveform"


def _align(
    recognizer: Recognizer, jobs: list[_Job], star: int, rate: int, progress: Progress | None
) -> Iterator[Chapter | AudioError | AlignmentError]:
    meters: dict[int, LevelMeter] = collections.defaultdict(LevelMeter)
    columns = [_columns(job.text, star) for job in jobs]

    def reduce(number: int, logits: np.ndarray) -> np.ndarray:
        return _scores(logits, columns[number])

    def finish(number: int, pieces: list[np.ndarray], seconds: float) -> Chapter | AlignmentError:
        job, levels = jobs[number], meters.pop(number).levels()
        try:
            return _chapter(job.text, columns[number], star, np.concatenate(pieces), levels, job.language, seconds)
        except AlignmentError as error:
            return AlignmentError(f"{_name(job.recording)}: {error}")

    recordings, languages = [job.recording for job in jobs], [job.spoken for job in jobs]
    return recognizer.score_recordings(
        recordings, languages, reduce, finish, lambda number, block: meters[number].add(block), rate, progress
    )


def _chapter(
    text: ChapterText, columns: np.ndarray, star: int, scores: np.ndarray, levels: np.ndarray, language: str,
    seconds: float,
) -> Chapter:  # fmt: skip
    best = scores[:, -1].copy()
    log_probs = scores  # the last column, already copied, becomes the star's
    log_probs[:, -1] = STAR_LOG_PROB
    symbols = np.append(columns, star)
    found = _find(text, symbols, log_probs, best, levels)
    if is_uneven(found.evidence):
        # The recording may hold speech between verses that the text lacks: there, a star may match it.
        log_probs[:, -1] = best - gap_cost(found.evidence)
        again = _find(text.with_stars_between(), symbols, log_probs, best, levels)
        if is_better(again.evidence, found.evidence):
            found = again
    verses = [dataclasses.replace(verse, confidence=value) for verse, value in zip(found.verses, found.confidences)]
    score = found.frames.mean(0, len(best))
    log_probs[:, -1] = STAR_LOG_PROB
    placed = placed_share(np.searchsorted(symbols, text.labels).astype(np.int32), log_probs, found.evidence, len(best))
    confidence = chapter_confidence(found.evidence, placed)
    why = doubt(found.evidence, confidence)
    return Chapter(language, seconds, score, verses, confidence, why, text.dropped, found.path)


@dataclasses.dataclass(frozen=True)
class _Found:
    """One alignment of a chapter, with the evidence for each verse."""

    verses: list[Verse]
    evidence: list[Evidence | None]
    frames: FramePath
    path: np.ndarray

    @property
    def confidences(self) -> list[float | None]:
        return verse_confidences(self.evidence)


def _find(
    text: ChapterText, symbols: np.ndarray, log_probs: np.ndarray, best: np.ndarray, levels: np.ndarray
) -> _Found:
    """The most probable path, and what is on it.

    Args:
      text: the chapter's.
      symbols: int (columns,), the symbol of each column of `log_probs`; the last is the star.
      log_probs: float32 (frames, columns).
      best: float32 (frames,), of each frame's best symbol.
      levels: dB every 10 ms.
    """
    star = symbols[-1]
    labels = np.searchsorted(symbols, text.labels).astype(np.int32)
    alignment = align_ctc(log_probs, labels, blank=BLANK)
    chosen = np.take_along_axis(log_probs, alignment.labels[:, None], axis=1)[:, 0]
    path = symbols[alignment.labels].astype(np.int32)
    loss = np.where(path == star, np.nan, chosen - best)
    frames = FramePath(alignment.positions, loss, log_probs[:, BLANK] < math.log(0.5), levels)
    verses = verse_spans(text, frames)
    return _Found(verses, verse_evidence(text, verses, labels, log_probs, best), frames, path)


def to_json(chapter: Chapter, *, characters: bool = True) -> dict[str, Any]:
    """The chapter in plain types: all fields but the path, with times to 0.1 ms.

    Args:
      chapter: the aligned chapter.
      characters: whether words list their characters.
    """
    fields = dataclasses.asdict(dataclasses.replace(chapter, path=np.zeros(0)))
    del fields["path"]
    for word in (word for verse in fields["verses"] for word in verse["words"]):
        if not characters:
            del word["characters"]
    return _rounded(fields)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return round(value, 4) if isinstance(value, float) else value
