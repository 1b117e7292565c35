"""Turns a CTC path into verses, words and characters with times and scores.

A CTC path assigns a character's symbol to a few frames; the frames between two symbols belong to neither. Two neighbors
meet in the middle of these frames, unless there is a silence: then the first ends where the silence begins, and the
second begins where the silence ends. Clips are cut in the middle of the silence.
"""

import dataclasses

import numpy as np

from mms_jax.alignment.text import ChapterText, WordText
from mms_jax.audio.levels import silences
from mms_jax.decoding.timestamps import FRAME_SECONDS

GAP_MARGIN = 0.15  # seconds that a clip keeps beside speech that the text lacks
PAUSE_SECONDS = 0.2  # longer silences do not lie within a word


@dataclasses.dataclass(frozen=True, repr=False)
class Span:
    """A stretch of speech.

    Attributes:
      text: its text.
      start, end: seconds from the beginning of the recording.
      score: the mean over its frames of log P(path) - log P(best symbol) (Pratap et al. 2023, section 3.1), at most 0,
        which means certainty. None where there is no symbol to score, as in digits and empty lines.
    """

    text: str
    start: float
    end: float
    score: float | None

    def __repr__(self) -> str:
        score = "no score" if self.score is None else f"score={self.score:.3f}"
        return f"{type(self).__name__}({self.text!r}, {self.start:.2f} to {self.end:.2f} s, {score})"


@dataclasses.dataclass(frozen=True, repr=False)
class AlignedWord(Span):
    """A normalized word, or a run of neighboring unreadable words, such as digits.

    Attributes:
      characters: its characters; letters that are romanized as a unit stay together.
    """

    characters: list[Span]


@dataclasses.dataclass(frozen=True, repr=False)
class Verse(Span):
    """A line of the text.

    Attributes:
      text: as given. Start and end are those of the speech.
      cut_start, cut_end: where its clip is cut: the silence between neighbors is divided. The score is a mean over all
        frames between the cuts, so that speech without text lowers it.
      normalized: the text that was aligned; "" where nothing was.
      readable: whether every word has symbols: no digits, and no word aligned as the star.
      words: its words.
      confidence: the probability that it is where it was found, see mms_jax.alignment.confidence; None where it has no
        text to compare.
    """

    cut_start: float
    cut_end: float
    normalized: str
    readable: bool
    words: list[AlignedWord]
    confidence: float | None = None


@dataclasses.dataclass(frozen=True)
class FramePath:
    """An aligned chapter, frame by frame.

    Attributes:
      positions: int (frames,), position of the frame's label in the text; -1 for blanks.
      loss: float (frames,), log P(path) - log P(best symbol); NaN where the path is at the star.
      speech: bool (frames,), True where the blank is improbable.
      levels: dB every 10 ms.
    """

    positions: np.ndarray
    loss: np.ndarray
    speech: np.ndarray
    levels: np.ndarray

    def mean(self, first: int, last: int) -> float | None:
        """The mean loss of frames, excluding those of the star; None where no other frames remain."""
        loss = self.loss[first:last]
        loss = loss[~np.isnan(loss)]
        return float(loss.mean()) if len(loss) else None


def verse_spans(text: ChapterText, path: FramePath) -> list[Verse]:
    """The verses of an aligned chapter, in order."""
    firsts, lasts = _frames_of_labels(text, path)
    end = len(path.positions) * FRAME_SECONDS
    words = [word for verse in text.verses for word in verse.words]
    # The neighbors are the words and the stars around the text, from one edge of the recording to the other.
    begins = [0, *(firsts[word.pieces[0].first] for word in words), firsts[-1]]
    stops = [lasts[0], *(lasts[word.pieces[-1].last] for word in words), len(path.positions)]
    meetings = [_meet(stop, begin, path.levels) for stop, begin in zip(stops, begins[1:])]
    for place, word in enumerate(words):
        if not word.star:
            _move_pause(word, place, meetings, firsts, lasts, path.levels)

    verses, number = [], 0
    for order, verse in enumerate(text.verses):
        if not verse.words:
            here = min((meetings[number][0] + meetings[number][1]) / 2, end)
            verses.append(Verse(verse.text, here, here, None, here, here, "", False, []))
            continue
        aligned = [
            _word(word, meetings[number + place][1], meetings[number + place + 1][0], firsts, lasts, path)
            for place, word in enumerate(verse.words)
        ]
        cut_start, cut_end = (sum(meetings[place]) / 2 for place in (number, number + len(aligned)))
        # Speech between two verses belongs to neither.
        if (gap := _speech_at(text.separators[order], firsts, lasts, path)) is not None:
            cut_start = max(aligned[0].start - GAP_MARGIN, (cut_start + gap[0]) / 2)
        following = next((place for place in range(order + 1, len(text.verses)) if text.verses[place].words), None)
        after = None if following is None else text.separators[following]
        if (gap := _speech_at(after, firsts, lasts, path)) is not None:
            cut_end = min(aligned[-1].end + GAP_MARGIN, (cut_end + gap[1]) / 2)
        cut_start, cut_end = min(cut_start, aligned[0].start), max(cut_end, aligned[-1].end)
        readable = bool(verse.normalized) and not any(word.star for word in verse.words)
        # All frames between the cuts, and those of its own symbols beyond them.
        first = min(round(cut_start / FRAME_SECONDS), firsts[verse.words[0].pieces[0].first])
        last = max(round(cut_end / FRAME_SECONDS), lasts[verse.words[-1].pieces[-1].last])
        score = path.mean(first, last) if verse.normalized else None
        start, stop = aligned[0].start, aligned[-1].end
        verses.append(Verse(verse.text, start, stop, score, cut_start, cut_end, verse.normalized, readable, aligned))
        number += len(aligned)
    return verses


def _speech_at(star: int | None, firsts: np.ndarray, lasts: np.ndarray, path: FramePath) -> tuple[float, float] | None:
    """Start and end in seconds of the speech that a star between verses covers; None where it covers none."""
    if star is None or not path.speech[firsts[star] : lasts[star]].any():
        return None
    return float(firsts[star] * FRAME_SECONDS), float(lasts[star] * FRAME_SECONDS)


def _frames_of_labels(text: ChapterText, path: FramePath) -> tuple[np.ndarray, np.ndarray]:
    """The first frame of each label, and the frame after its last."""
    numbers, labeled = np.arange(len(text.labels)), np.flatnonzero(path.positions >= 0)
    # Positions never decrease.
    firsts = labeled[np.searchsorted(path.positions[labeled], numbers, side="left")]
    lasts = labeled[np.searchsorted(path.positions[labeled], numbers, side="right") - 1] + 1
    # A star must cover at least one frame and may cover silence: only its frames with speech count.
    for star in np.flatnonzero(text.labels == text.labels[0]):
        speech = firsts[star] + np.flatnonzero(path.speech[firsts[star] : lasts[star]])
        if len(speech):
            firsts[star], lasts[star] = speech[0], speech[-1] + 1
        elif star == 0:
            firsts[star] = lasts[star] = 0
        elif star == numbers[-1]:
            firsts[star] = lasts[star] = len(path.positions)
    return firsts, lasts


def _word(
    word: WordText, start: float, end: float, firsts: np.ndarray, lasts: np.ndarray, path: FramePath
) -> AlignedWord:
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
    """Moves a long silence out of a word. Readers do not pause within words: the silence lies before or after the word,
    whose few symbols beyond the silence were matched in the neighbor."""
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
    """The seconds at which one neighbor ends and the next begins; their symbols end at `stop` and begin at `begin`."""
    left, right = float(stop * FRAME_SECONDS), float(begin * FRAME_SECONDS)
    between = silences(levels, left, right)
    if between:
        return between[0][0], between[-1][1]
    return (left + right) / 2, (left + right) / 2
