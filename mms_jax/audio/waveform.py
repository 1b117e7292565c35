"""Operations on waveforms held in memory, in NumPy, so that decoding workers need no JAX."""

import numpy as np
import soxr

SAMPLE_RATE = 16_000  # of every model of this project, in samples a second
NORM_EPSILON = 1e-5  # fairseq's layer_norm over the waveform; Hugging Face has 1e-7


def resample(waveform: np.ndarray, rate: int, target: int = SAMPLE_RATE) -> np.ndarray:
    """Resamples a mono waveform.

    Args:
      waveform: float32 (samples,).
      rate: its samples a second.
      target: the rate wanted.

    Returns:
      float32 (round(samples * target / rate),).
    """
    if rate == target:
        return waveform.astype(np.float32, copy=False)
    return soxr.resample(waveform, rate, target, quality="HQ").astype(np.float32, copy=False)


def add_noise(waveform: np.ndarray, decibels: float, tilt: float, random: np.random.Generator) -> np.ndarray:
    """Adds steady Gaussian noise.

    Args:
      waveform: float (samples,), not padded.
      decibels: power of the speech over that of the noise.
      tilt: the noise's power falls with frequency ** tilt: 0 is white, 1 pink, 2 brown.
      random: draws it.

    Returns:
      float32 (samples,); a silent recording stays silent.
    """
    spectrum = np.fft.rfft(random.standard_normal(len(waveform)))
    spectrum *= np.maximum(np.arange(len(spectrum)), 1) ** (-tilt / 2)
    noise = np.fft.irfft(spectrum, len(waveform))
    power = np.mean(np.square(waveform, dtype=np.float64)) / max(np.mean(noise**2), 1e-30)
    return (waveform + noise * np.sqrt(power * 10 ** (-decibels / 10))).astype(np.float32)


def normalize_waveform(waveform: np.ndarray, epsilon: float | None = NORM_EPSILON) -> np.ndarray:
    """Zero mean and unit variance over the whole recording, before any cropping or padding (fairseq's `normalize`).

    Args:
      waveform: float (samples,), not padded.
      epsilon: added to the variance; quiet recordings hear the difference. None leaves the waveform as recorded.

    Returns:
      float32 (samples,); zeros stay zeros.
    """
    if epsilon is None:
        return waveform.astype(np.float32)
    waveform = waveform.astype(np.float64)
    centred = waveform - waveform.mean()
    return (centred / np.sqrt(np.mean(centred**2) + epsilon)).astype(np.float32)
