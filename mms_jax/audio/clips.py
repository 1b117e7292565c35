"""Pieces of recordings that need not fit in memory."""

import dataclasses
import os
from collections.abc import Iterator, Sequence

import numpy as np

from mms_jax.audio.read import Recording
from mms_jax.audio.waveform import SAMPLE_RATE


@dataclasses.dataclass(frozen=True)
class Cut:
    """A segment of a recording; times are in seconds."""

    start: float
    end: float


def cut_recording(path: str | os.PathLike, cuts: Sequence[Cut]) -> Iterator[np.ndarray]:
    """Cuts pieces out of a recording that need not fit in memory.

    Args:
      path: a recording of any format, sampling rate and length.
      cuts: in the order of their starts; they may overlap.

    Yields:
      float32 (samples,) for each, mono, 16 kHz; shorter if the recording ends earlier.

    Raises:
      AudioError: the recording cannot be used.
    """
    recording = Recording(path)
    blocks = recording.blocks()
    held, first = np.zeros(0, np.float32), 0
    for cut in cuts:
        start, end = round(cut.start * SAMPLE_RATE), min(round(cut.end * SAMPLE_RATE), recording.samples)
        while True:
            passed = min(max(start - first, 0), len(held))  # earlier samples are not needed again
            held, first = held[passed:], first + passed
            if first + len(held) >= end:
                break
            held = np.concatenate([held, next(blocks)])
        yield held[: max(end - first, 0)].copy()
