"""A picture of an alignment: the waveform with its words, the posteriors, and the path through them."""

import itertools
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from mms_jax.alignment.chapters import Chapter
from mms_jax.audio.read import read_audio
from mms_jax.audio.waveform import SAMPLE_RATE
from mms_jax.decoding.timestamps import FRAME_SECONDS
from mms_jax.errors import InputError
from mms_jax.inference.recognizer import Recognizer

STRETCH_SECONDS = 10.0
WIDTH = 14.0  # inches
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
    _draw_path(bottom, scores, np.searchsorted(rows, symbols), start)
    bottom.set_yticks(range(len(rows)), names, fontsize=7)
    bottom.set(xlabel="seconds", ylabel="symbol")
    figure.savefig(path, dpi=110)


def _draw_waveform(axis: Any, chapter: Chapter, waveform: np.ndarray, start: float, end: float) -> None:
    """The waveform, with the text and score of each verse above it and its words below."""
    peak = 1.05 * float(np.abs(waveform).max(initial=1e-3))
    axis.plot(start + np.arange(len(waveform)) / SAMPLE_RATE, waveform, linewidth=0.3, color="0.35")
    heights = itertools.cycle((-1.22, -1.45))  # neighbors at two heights, so that short words do not overlap
    for verse in chapter.verses:
        if not verse.words or verse.end <= start or verse.start >= end:
            continue
        left, right = max(verse.start, start), min(verse.end, end)
        axis.axvspan(left, right, color="tab:green", alpha=0.12, linewidth=0)
        score = "" if verse.score is None else f" ({verse.score:.2f})"
        room = int((right - left) * _CHARACTERS_A_SECOND) - len(score)
        text = " ".join(verse.text.split())
        if room > 3:
            shown = text if len(text) <= room else text[: room - 1] + "…"
            axis.text(left, 1.12 * peak, shown + score, fontsize=8, color="tab:green", clip_on=True)
        for word in verse.words:
            middle, height = (word.start + word.end) / 2, next(heights)
            axis.vlines((word.start, word.end), -peak, peak, color="tab:green", linewidth=0.5)
            if start < middle < end:
                axis.text(middle, height * peak, word.text, fontsize=7.5, ha="center", va="center", clip_on=True)
    axis.set(ylabel="waveform", ylim=(-1.6 * peak, 1.35 * peak), yticks=(-peak / 1.05, 0, peak / 1.05))
    axis.set_yticklabels(("", "0", ""))


def _draw_path(axis: Any, scores: np.ndarray, path: np.ndarray, start: float) -> None:
    """The posteriors, and the path as a line from label to label; blanks between labels are not drawn.

    Args:
      scores: (frames, rows), in [0, 1].
      path: int (frames,), the row of each frame; 0 for the blank.
      start: seconds at the first frame.
    """
    extent = (start, start + len(scores) * FRAME_SECONDS, scores.shape[1] - 0.5, -0.5)
    axis.imshow(scores.T, aspect="auto", interpolation="nearest", cmap="Greys", extent=extent, vmin=0, vmax=1)
    points = list(_runs(path))
    times = [start + FRAME_SECONDS * (begin + stop) / 2 for begin, stop in points]
    places = [path[begin] for begin, _ in points]
    axis.plot(times, places, color="tab:blue", linewidth=0.5, alpha=0.5)
    axis.plot(times, places, "o", markersize=4, markerfacecolor="none", markeredgecolor="tab:red", markeredgewidth=0.9,
              label="label on the path")  # fmt: skip
    axis.legend(loc="lower right", fontsize=8)


def _runs(path: np.ndarray) -> Iterator[tuple[int, int]]:
    """First frame, and the frame after the last, of each stretch of one label."""
    edges = np.flatnonzero(np.diff(path, prepend=-1, append=-1))
    yield from ((int(begin), int(stop)) for begin, stop in itertools.pairwise(edges) if path[begin] != 0)
