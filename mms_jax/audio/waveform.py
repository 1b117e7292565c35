"""Operations on waveforms held in memory, in NumPy, so that decoding workers need no JAX."""

import numpy as np
import soxr

SAMPLE_RATE = 16_000  # of every model of this project, in Hz
SHORTEST_SAMPLES = 400  # the receptive field of one frame of the models
INVERTED = -0.5  # correlation with the loudest channel below which a channel counts as inverted
NORM_EPSILON = 1e-5  # of fairseq's layer_norm over the waveform; Hugging Face uses 1e-7


def resample(waveform: np.ndarray, rate: int, target: int = SAMPLE_RATE) -> np.ndarray:
    """Resamples a mono waveform.

    Args:
      waveform: float32 (samples,).
      rate: its sampling rate in Hz.
      target: the target sampling rate in Hz.

    Returns:
      float32 (round(samples * target / rate),).
    """
    if rate == target:
        return waveform.astype(np.float32, copy=False)
    return soxr.resample(waveform, rate, target, quality="HQ").astype(np.float32, copy=False)


def to_mono(waveform: np.ndarray) -> np.ndarray:
    """Averages channels. Inverted channels, as of a wrongly wired cable, would cancel the others, and are inverted back.

    Args:
      waveform: float (samples, channels).

    Returns:
      float32 (samples,).
    """
    if waveform.shape[1] == 1 or not len(waveform):
        return np.ascontiguousarray(waveform.mean(axis=1, dtype=np.float32))
    centered = waveform - waveform.mean(axis=0)
    power = np.square(centered, dtype=np.float64).sum(axis=0)
    loudest = int(power.argmax())
    products = (centered * centered[:, loudest, None]).sum(axis=0, dtype=np.float64)
    signs = np.where(products < INVERTED * np.sqrt(power * power[loudest]), -1.0, 1.0).astype(np.float32)
    signs *= signs[0]  # the first channel is taken to be right
    return np.ascontiguousarray((waveform * signs).mean(axis=1, dtype=np.float32))


def add_noise(waveform: np.ndarray, decibels: float, tilt: float, random: np.random.Generator) -> np.ndarray:
    """Adds steady Gaussian noise.

    Args:
      waveform: float (samples,), not padded.
      decibels: signal-to-noise ratio in dB.
      tilt: the noise's power falls with frequency ** tilt: 0 is white, 1 pink, 2 brown.
      random: generator of the noise.

    Returns:
      float32 (samples,); a silent recording stays silent.
    """
    spectrum = np.fft.rfft(random.standard_normal(len(waveform)))
    spectrum *= np.maximum(np.arange(len(spectrum)), 1) ** (-tilt / 2)
    noise = np.fft.irfft(spectrum, len(waveform))
    power = np.mean(np.square(waveform, dtype=np.float64)) / max(np.mean(noise**2), 1e-30)
    return (waveform + noise * np.sqrt(power * 10 ** (-decibels / 10))).astype(np.float32)


def normalize_waveform(waveform: np.ndarray, epsilon: float | None = NORM_EPSILON) -> np.ndarray:
    """Scales a whole recording, before any cropping or padding, to zero mean and unit variance (fairseq's `normalize`).

    Args:
      waveform: float (samples,), not padded.
      epsilon: added to the variance; it matters for quiet recordings. None leaves the waveform as recorded.

    Returns:
      float32 (samples,); zeros stay zeros.
    """
    if epsilon is None:
        return waveform.astype(np.float32)
    waveform = waveform.astype(np.float64)
    centered = waveform - waveform.mean()
    return (centered / np.sqrt(np.mean(centered**2) + epsilon)).astype(np.float32)
