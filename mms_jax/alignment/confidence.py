"""Whether an alignment is right: a calibrated confidence for each verse and for the chapter.

A score alone does not tell: a weak or a foreign model scores a right text as low as a strong model scores a wrong one. The
evidence for a verse compares three texts on its stretch of the recording: its own, other text of the same chapter, and the
best that the model hears there (the free path). The share of the distance from other text to the free path that the verse's
own text covers is near 1 where it is what the model hears, and near 0 where any other text would do as well. MMS's score
counts a little beside it, and the worse neighbor: a verse beside a wrong one is often wrong.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from mms_jax.alignment.spans import Span, Verse
from mms_jax.alignment.text import ChapterText
from mms_jax.decoding.timestamps import FRAME_SECONDS

OTHERS = 9  # other texts, which begin at even distances in the chapter
BELIEVED = 0.5  # confidence below which a verse is doubtful, and a chapter is not believed
# Fitted by benchmarks/confidence.py, see docs/alignment.md.
VERSE_SLOPE, VERSE_MIDDLE = 12.0, 0.17
CHAPTER_SLOPE, CHAPTER_MIDDLE = 44.0, 0.032
PLACED_SLOPE, PLACED_MIDDLE = 16.0, 0.12
SCORE_WEIGHT, NEIGHBOR_WEIGHT, RATE_WEIGHT = 0.1, 0.3, 0.25
_USUAL_RATE = 0.3  # nats: a third faster or a quarter slower than the chapter
_FEWEST_RATES = 4  # verses whose median tells the chapter's rate
_LOWEST_SCORE = -4.0
_GAP_SHARE = 0.25  # a verse that covers less of the distance is left to a star between verses
GAP_GAIN, VERSE_GAIN = 0.2, 0.25  # by which stars must raise the sum of the verses' support, and one verse's
_UNEVEN = 0.75  # of the median support; verses below it, or doubtful ones, make an alignment uneven
_COVERED = 0.6  # of the recording, by a text that has no choice of its place
_STAR_SECONDS = 1.0  # of an unreadable word, and of each of its characters, at most
_DECISIVE = 0.25  # the quantile of the verses' support that decides on a chapter
_MARGIN = 25  # frames that a stretch is extended by where its text does not fit


@dataclasses.dataclass(frozen=True)
class Evidence:
    """The log probabilities of three texts on one stretch of a recording.

    Attributes:
      own: of its own text.
      other: of other text of the chapter, a mean.
      free: of the best symbol of every frame.
      frames: of the stretch.
      score: of the verse, see Span.
      unexplained: the share of the stretch in which an unreadable word, such as digits, lasts longer than it can.
      uneven: how far its speaking rate is from the chapter's, in nats beyond the usual.
    """

    own: float
    other: float
    free: float
    frames: int
    score: float = 0.0
    unexplained: float = 0.0
    uneven: float = 0.0

    @property
    def share(self) -> float:
        """The share of the distance from other text to the free path that the own text covers; at most 1."""
        return (self.own - self.other) / max(self.free - self.other, 1e-3)

    @property
    def support(self) -> float:
        """The share, lowered by a low score, by speech without text, and by another speaking rate than its neighbors'."""
        lowered = self.unexplained + RATE_WEIGHT * self.uneven
        return self.share + SCORE_WEIGHT * max(self.score, _LOWEST_SCORE) - lowered


def verse_evidence(
    text: ChapterText, verses: Sequence[Verse], labels: np.ndarray, log_probs: np.ndarray, best: np.ndarray
) -> list[Evidence | None]:
    """The evidence for each verse.

    Args:
      text: the chapter's text.
      verses: where they were found.
      labels: int32 (L,), the column of each of the text's labels.
      log_probs: float32 (frames, columns); column 0 is the blank, the last one the star.
      best: float32 (frames,), the log probability of each frame's best symbol.

    Returns:
      For each verse its evidence; None for verses without words, and where nothing can be compared.
    """
    star = log_probs.shape[1] - 1
    spoken = labels[labels != star]
    found: list[Evidence | None] = []
    place = 0  # of the verse's first label among those that are spoken
    for verse, own in zip(verses, text.verses):
        if not own.normalized:
            found.append(None)
            continue
        span = labels[own.words[0].pieces[0].first : own.words[-1].pieces[-1].last + 1]
        count = int(np.count_nonzero(span != star))
        first, last = round(verse.cut_start / FRAME_SECONDS), round(verse.cut_end / FRAME_SECONDS)
        compared = _compare(span, star, spoken, place, log_probs, best, first, last)
        if compared:
            excess = sum(_excess_seconds(word) for word, part in zip(verse.words, own.words) if part.star)
            share = excess / max(compared.frames * FRAME_SECONDS, FRAME_SECONDS)
            compared = dataclasses.replace(compared, score=verse.score or 0.0, unexplained=min(share, 1.0))
        found.append(compared)
        place += count
    uneven = _uneven_rates(verses, text)
    return [each and dataclasses.replace(each, uneven=value) for each, value in zip(found, uneven)]


def _uneven_rates(verses: Sequence[Verse], text: ChapterText) -> list[float]:
    """How far each verse's speaking rate is from the median, in nats beyond what is usual; 0 where there are few verses."""
    spoken = [
        (number, sum(piece.last - piece.first + 1 for word in own.words if not word.star for piece in word.pieces))
        for number, own in enumerate(text.verses)
        if own.normalized and not any(word.star for word in own.words)
    ]
    rates = {n: math.log(max(count, 1) / max(verses[n].end - verses[n].start, FRAME_SECONDS)) for n, count in spoken}
    if len(rates) < _FEWEST_RATES:
        return [0.0] * len(verses)
    median = float(np.median(list(rates.values())))
    return [max(0.0, abs(rates.get(n, median) - median) - _USUAL_RATE) for n in range(len(verses))]


def _compare(
    span: np.ndarray, star: int, spoken: np.ndarray, place: int, log_probs: np.ndarray, best: np.ndarray,
    first: int, last: int,
) -> Evidence | None:  # fmt: skip
    """The evidence for one verse, whose labels are `span`, and whose readable ones begin at `place` in the chapter."""
    from mms_jax.alignment.viterbi_cpu import path_score  # Numba takes a second to import

    own = -math.inf
    for margin in (0, _MARGIN):
        begin, end = max(0, first - margin), min(len(log_probs), max(last, first + 1) + margin)
        stretch = np.ascontiguousarray(log_probs[begin:end])
        own = path_score(stretch, span, 0)
        if np.isfinite(own):
            break
    else:
        return None
    readable = np.flatnonzero(span != star)
    scores = []
    for distance in np.linspace(0.1, 0.9, OTHERS):
        other = span.copy()
        other[readable] = spoken[(place + int(distance * len(spoken)) + np.arange(len(readable))) % len(spoken)]
        if np.isfinite(score := path_score(stretch, other, 0)):
            scores.append(score)
    if not scores:
        return None
    return Evidence(float(own), float(np.mean(scores)), float(best[begin:end].sum()), end - begin)


def is_uneven(evidence: Sequence[Evidence | None]) -> bool:
    """Whether some verses have much less support than the others, as beside speech that the text lacks."""
    support = [each.support for each in evidence if each is not None]
    return bool(support) and min(support) < max(_UNEVEN * float(np.median(support)), VERSE_MIDDLE)


def _excess_seconds(word: Span) -> float:
    """How much longer an unreadable word lasts than its characters can: a digit may be read as several words."""
    return max(0.0, word.end - word.start - _STAR_SECONDS - _STAR_SECONDS * len(word.text))


def is_better(new: Sequence[Evidence | None], old: Sequence[Evidence | None]) -> bool:
    """Whether another alignment of the same verses has clearly more support: in sum, and for one verse at least.

    Beside speech that the text lacks, one verse gains much; many small gains only move right boundaries.
    """
    gains = [one.support - other.support for one, other in zip(new, old) if one is not None and other is not None]
    return bool(gains) and sum(gains) > GAP_GAIN and max(gains) > VERSE_GAIN


def gap_cost(evidence: Sequence[Evidence | None]) -> float:
    """The cost of a frame of speech between verses, in nats below the best symbol.

    At this cost a star is as good as a verse that covers a quarter of the distance: what fits worse is left to the star.
    """
    known = [each for each in evidence if each is not None]
    distance = sum(each.free - each.other for each in known) / max(sum(each.frames for each in known), 1)
    return (1.0 - _GAP_SHARE) * distance


def verse_confidences(evidence: Sequence[Evidence | None]) -> list[float | None]:
    """The probability that each verse is where it was found; None without evidence."""
    known = [number for number, each in enumerate(evidence) if each is not None]
    support = [each.support for each in evidence if each is not None]
    found: list[float | None] = [None] * len(evidence)
    for place, number in enumerate(known):
        beside = [support[other] for other in (place - 1, place + 1) if 0 <= other < len(support)]
        value = (1 - NEIGHBOR_WEIGHT) * support[place] + NEIGHBOR_WEIGHT * min(beside, default=support[place])
        found[number] = _logistic(VERSE_SLOPE * (value - VERSE_MIDDLE))
    return found


def chapter_confidence(evidence: Sequence[Evidence | None], placed: float | None = None) -> float | None:
    """The probability that text and recording belong together and most verses were found; None without evidence.

    Args:
      evidence: for each verse.
      placed: from `placed_share`, for texts that are much shorter than their recording.

    Returns:
      At most the confidence of the best verse.
    """
    support = [each.support for each in evidence if each is not None]
    if not support:
        return None
    bounds = [_logistic(CHAPTER_SLOPE * (float(np.quantile(support, _DECISIVE)) - CHAPTER_MIDDLE))]
    bounds.append(max(value for value in verse_confidences(evidence) if value is not None))
    if placed is not None:
        bounds.append(_logistic(PLACED_SLOPE * (placed - PLACED_MIDDLE)))
    return min(bounds)


def placed_share(
    labels: np.ndarray, log_probs: np.ndarray, evidence: Sequence[Evidence | None], frames: int
) -> float | None:
    """The evidence for a short text on a long recording, where other text may choose its place as the own text did.

    Args:
      labels: int32 (L,), the column of each of the text's labels, the stars around it included.
      log_probs: float32 (frames, columns); column 0 is the blank, the last one the star.
      evidence: for each verse.
      frames: of the recording.

    Returns:
      The share of the distance from the best other text, at its best place, to the free path on the own stretch; None
      where the text covers most of the recording, and has enough verses to be compared with each other.
    """
    from mms_jax.alignment.viterbi_cpu import path_score

    known = [each for each in evidence if each is not None]
    covered = sum(each.frames for each in known)
    if not known or (covered > _COVERED * frames and len(known) >= _FEWEST_RATES):
        return None
    star = log_probs.shape[1] - 1
    readable = np.flatnonzero(labels != star)
    spoken = labels[readable]
    scores = []
    for text in (spoken, spoken[::-1]):
        for distance in np.linspace(0.0, 0.8, 5):
            if text is spoken and distance == 0.0:
                continue
            other = labels.copy()
            other[readable] = np.roll(text, int(distance * len(text)))
            if np.isfinite(score := path_score(log_probs, other, 0)):
                scores.append(score)
    own = path_score(log_probs, labels, 0)
    if not scores or not np.isfinite(own):
        return None
    free = own + sum(each.free - each.own for each in known)
    return float((own - max(scores)) / max(free - max(scores), 1e-3))


def doubt(evidence: Sequence[Evidence | None], confidence: float | None) -> str:
    """Why a chapter is not believed, in words; "" where it is."""
    if confidence is None or confidence >= BELIEVED:
        return ""
    doubtful = [value < BELIEVED for value in verse_confidences(evidence) if value is not None]
    share = np.mean(doubtful)
    if share > 0.75:
        return (
            "the recording fits other text as well as its own; it may be another chapter or language, or the model has not "
            "learned this kind of speech"
        )
    if not any(doubtful):
        return "the text fits only a little better than other text would; the model is too weak for this recording"
    first = doubtful.index(True)
    where = "from there on" if all(doubtful[first:]) else "in several places"
    return (
        f"{sum(doubtful)} of {len(doubtful)} verses do not fit, {where}, the first of them verse {first + 1}; parts of the "
        "text may not have been read, or not in this order"
    )


def _logistic(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-min(max(value, -50.0), 50.0)))
