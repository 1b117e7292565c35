"""The level of a recording over time, and its silent stretches."""

import numpy as np

from mms_jax.audio.waveform import SAMPLE_RATE

LEVEL_SECONDS = 0.01
_HOP = int(LEVEL_SECONDS * SAMPLE_RATE)
SILENT_SECONDS = 0.08  # shorter gaps are the closures of plosives
BRIDGED_SECONDS = 0.03  # a click of at most this length does not end a silence
AROUND_SECONDS = 3.0  # the quiet and loud levels are measured within this distance
CONTRAST = 10.0  # dB between the quiet and loud levels; below it, nothing counts as silent
SILENT_SHARE = 0.25  # the threshold of silence lies this share of the contrast above the quiet level


class LevelMeter:
    """Measures a waveform that comes in blocks."""

    def __init__(self) -> None:
        self._held = np.zeros(0, np.float32)
        self._levels: list[np.ndarray] = []

    def add(self, block: np.ndarray) -> None:
        """Adds the next samples, float (samples,)."""
        held = np.concatenate([self._held, block])
        whole = len(held) // _HOP * _HOP
        power = np.square(held[:whole].reshape(-1, _HOP), dtype=np.float64).mean(axis=1)
        self._levels.append((10 * np.log10(power + 1e-10)).astype(np.float32))
        self._held = held[whole:]

    def levels(self) -> np.ndarray:
        """float32 (seconds * 100,): the level of each 10 ms in dB; an unfinished last one is left out."""
        return np.concatenate(self._levels) if self._levels else np.zeros(0, np.float32)


def silences(levels: np.ndarray, start: float, end: float) -> list[tuple[float, float]]:
    """The silent stretches between two times.

    A stretch is silent if its level is closer to the quiet than to the loud level of the seconds around it. If these
    hardly differ, as with background music, nothing is silent.

    Args:
      levels: from LevelMeter.
      start, end: seconds.

    Returns:
      (start, end) of each in seconds, in order, each at least 80 ms long.
    """
    first, last = round(start / LEVEL_SECONDS), min(round(end / LEVEL_SECONDS), len(levels))
    if last - first < SILENT_SECONDS / LEVEL_SECONDS:
        return []
    around = round(AROUND_SECONDS / LEVEL_SECONDS)
    quiet, loud = np.percentile(levels[max(0, first - around) : last + around], [5, 90])
    if loud - quiet < CONTRAST:
        return []
    silent = levels[first:last] < quiet + SILENT_SHARE * (loud - quiet)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], silent, [False]]).astype(np.int8)))
    runs: list[list[int]] = []
    for begin, stop in edges.reshape(-1, 2):
        if runs and (begin - runs[-1][1]) * LEVEL_SECONDS <= BRIDGED_SECONDS:
            runs[-1][1] = stop
        else:
            runs.append([begin, stop])
    return [
        (float((first + begin) * LEVEL_SECONDS), float((first + stop) * LEVEL_SECONDS))
        for begin, stop in runs
        if (stop - begin) * LEVEL_SECONDS >= SILENT_SECONDS
    ]
