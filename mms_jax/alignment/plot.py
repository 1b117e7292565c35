"""A picture of an alignment: the waveform, what the model heard, and the path through it."""

import os
import pathlib

import numpy as np

from mms_jax.alignment.chapters import Chapter
from mms_jax.audio.read import read_audio
from mms_jax.audio.waveform import SAMPLE_RATE
from mms_jax.decoding.timestamps import FRAME_SECONDS
from mms_jax.recognizer import Recognizer

STRETCH_SECONDS = 10.0


def plot_alignment(
    chapter: Chapter, audio: str | os.PathLike, recognizer: Recognizer, path: pathlib.Path, *, start: float = 0.0
) -> None:
    """Draws ten seconds of an aligned recording.

    Args:
      chapter: aligned.
      audio: its recording.
      recognizer: that aligned it.
      path: the picture, .png, .pdf or .svg.
      start: seconds; moved to where ten seconds are left.

    Raises:
      ValueError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ValueError("pictures need matplotlib: pip install 'mms-jax[plots]'") from error
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
    rows = np.append(shown, star)

    figure = Figure(figsize=(14, 3.5 + 0.2 * len(rows)), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(2, 0.2 * len(rows)))
    top.plot(start + np.arange(len(waveform)) / SAMPLE_RATE, waveform, linewidth=0.3, color="0.3")
    for verse in chapter.verses:
        if verse.words and verse.cut_start < end and verse.cut_end > start:
            score = "" if verse.score is None else f" ({verse.score:.2f})"
            top.axvspan(verse.start, verse.end, color="tab:green", alpha=0.15)
            top.text(
                max(verse.start, start), top.get_ylim()[1], f"{verse.text.strip()[:60]}{score}", fontsize=7, va="top"
            )
        for word in verse.words:
            if word.start < end and word.end > start:
                top.axvline(word.start, color="tab:green", linewidth=0.5)
                top.axvline(word.end, color="tab:green", linewidth=0.5)
    top.set(ylabel="waveform", xlim=(start, end))

    extent = (start, start + len(logits) * FRAME_SECONDS, len(rows) - 0.5, -0.5)
    picture = np.append(posteriors[:, shown], np.zeros((len(posteriors), 1)), axis=1).T
    bottom.imshow(picture, aspect="auto", interpolation="nearest", cmap="magma", extent=extent, vmin=0, vmax=1)
    times = start + (np.arange(len(symbols)) + 0.5) * FRAME_SECONDS
    bottom.plot(times, np.searchsorted(rows, symbols), color="tab:cyan", linewidth=0.8)
    bottom.set_yticks(range(len(rows)), [*names, "*"], fontsize=7)
    bottom.set(xlabel="seconds", ylabel="symbol; the path in blue")
    figure.savefig(path, dpi=110)
