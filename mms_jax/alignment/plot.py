"""A picture of an alignment: the waveform with its words, the posteriors, and the path through them."""

import itertools
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mms_jax.alignment.chapters import Chapter
from mms_jax.alignment.confidence import BELIEVED
from mms_jax.audio.read import read_audio
from mms_jax.audio.waveform import SAMPLE_RATE
from mms_jax.decoding.timestamps import FRAME_SECONDS
from mms_jax.errors import InputError
from mms_jax.inference.recognizer import Recognizer

STRETCH_SECONDS = 10.0
WIDTH = 14.0  # inches
_INSET = 0.02  # seconds
_CHARACTERS_A_SECOND = 15  # of a verse's text that fit above the waveform


def plot_alignment(
    chapter: Chapter, audio: str | os.PathLike, recognizer: Recognizer, path: pathlib.Path, *, start: float = 0.0
) -> None:
    """Draws ten seconds of an aligned recording.

    Args:
      chapter: the aligned chapter.
      audio: its recording.
      recognizer: the aligner.
      path: the picture, .png, .pdf or .svg.
      start: seconds; moved back where fewer than ten seconds remain.

    Raises:
      InputError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError("pictures need matplotlib: pip install 'mms-jax[plots]'") from error
    start = max(0.0, min(start, chapter.seconds - STRETCH_SECONDS))
    first = round(start / FRAME_SECONDS)
    start, end = first * FRAME_SECONDS, min(start + STRETCH_SECONDS, chapter.seconds)
    waveform = read_audio(audio)[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
    spoken = recognizer.own_name(chapter.language)
    logits = recognizer.logits([waveform], language=spoken)[0]
    symbols = chapter.path[first : first + len(logits)]
    star = len(recognizer.vocabulary)

    posteriors = np.exp(logits - logits.max(axis=1, keepdims=True))
    posteriors /= posteriors.sum(axis=1, keepdims=True)
    shown = np.union1d(np.flatnonzero(posteriors.max(axis=0) > 0.1), symbols[symbols < star])
    names = ["blank" if number == 0 else recognizer.vocabulary.tokens_of(spoken)[number] for number in shown]
    rows = np.append(shown, star) if star in symbols else shown
    names += ["*"] * (len(rows) - len(shown))
    scores = np.pad(posteriors[:, shown], ((0, 0), (0, len(rows) - len(shown))))

    figure = Figure(figsize=(WIDTH, 3.2 + 0.17 * len(rows)), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(2.6, 0.17 * len(rows)))
    top.set(xlim=(start, end))
    _draw_waveform(top, chapter, waveform, start, end)
    words = [(word.start, word.end) for verse in chapter.verses for word in verse.words]
    lettered = np.where(symbols == star, 0, symbols)  # a star is no label of a word
    _draw_path(bottom, scores, np.searchsorted(rows, lettered), start, words)
    bottom.set_yticks(range(len(rows)), names, fontsize=7)
    bottom.set(xlabel="seconds", ylabel="symbol")
    figure.savefig(path, dpi=110)


def _draw_waveform(axis: Any, chapter: Chapter, waveform: np.ndarray, start: float, end: float) -> None:
    """The waveform, with each verse's text, score and confidence above it and its words below; doubtful verses are red."""
    peak = 1.05 * float(np.abs(waveform).max(initial=1e-3))
    axis.plot(start + np.arange(len(waveform)) / SAMPLE_RATE, waveform, linewidth=0.3, color="0.35")
    heights = itertools.cycle((-1.22, -1.45))  # neighbors at two heights, so that short words do not overlap
    for verse in chapter.verses:
        if not verse.words or verse.end <= start or verse.start >= end:
            continue
        left, right = max(verse.start, start), min(verse.end, end)
        doubtful = verse.confidence is not None and verse.confidence < BELIEVED
        color = "tab:red" if doubtful else "tab:green"
        axis.axvspan(left, right, color=color, alpha=0.12, linewidth=0)
        score = "" if verse.score is None else f"  score {verse.score:.2f}"
        score += "" if verse.confidence is None else f", confidence {verse.confidence:.2f}"
        room = int((right - left) * _CHARACTERS_A_SECOND) - len(score)
        text = " ".join(verse.text.split())
        if room > 3:
            shown = text if len(text) <= room else text[: room - 1] + "…"
            axis.text(left + _INSET, 1.12 * peak, shown + score, fontsize=8, color=color, clip_on=True)
        for word in verse.words:
            middle, height = (word.start + word.end) / 2, next(heights)
            axis.vlines((word.start, word.end), -peak, peak, color=color, linewidth=0.5)
            if start < middle < end:
                axis.text(middle, height * peak, word.text, fontsize=7.5, ha="center", va="center", clip_on=True)
    axis.set(ylabel="waveform", ylim=(-1.6 * peak, 1.35 * peak), yticks=(-peak / 1.05, 0, peak / 1.05))
    axis.set_yticklabels(("", "0", ""))


def _draw_path(
    axis: Any, scores: np.ndarray, path: np.ndarray, start: float, words: Sequence[tuple[float, float]]
) -> None:
    """The posteriors, and the path: a line through the labels of each word, two colors in turn; blanks are not drawn.

    Args:
      scores: (frames, rows), in [0, 1].
      path: int (frames,), the row of each frame; 0 for the blank.
      start: seconds at the first frame.
      words: start and end of each in seconds.
    """
    extent = (start, start + len(scores) * FRAME_SECONDS, scores.shape[1] - 0.5, -0.5)
    axis.imshow(scores.T, aspect="auto", interpolation="nearest", cmap="Greys", extent=extent, vmin=0, vmax=1)
    points = list(_runs(path))
    times = [start + FRAME_SECONDS * (begin + stop) / 2 for begin, stop in points]
    places = [path[begin] for begin, _ in points]
    axis.plot(times, places, "o", markersize=3, color="0.6", label="word boundary")
    labeled = False
    for (begin, end), color in zip(words, itertools.cycle(("tab:red", "tab:blue"))):
        inside = [place for place, time in enumerate(times) if begin - _INSET <= time <= end + _INSET]
        own = [place for place in inside if path[points[place][0]] > 1]  # rows 0 and 1: blank and word boundary
        if own:
            label = None if labeled else "labels of a word"
            x, y = [times[place] for place in own], [places[place] for place in own]
            axis.plot(x, y, "o-", color=color, markersize=4, linewidth=1.0, label=label)
            labeled = True
    axis.legend(loc="lower right", fontsize=8, framealpha=0.6)


def _runs(path: np.ndarray) -> Iterator[tuple[int, int]]:
    """First frame, and the frame after the last, of each stretch of one label."""
    edges = np.flatnonzero(np.diff(path, prepend=-1, append=-1))
    yield from ((int(begin), int(stop)) for begin, stop in itertools.pairwise(edges) if path[begin] != 0)
