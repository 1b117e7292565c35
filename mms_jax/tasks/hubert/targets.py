"""Discrete targets: clusters of cepstra (Hsu et al. 2021, section 3.1, first round).

Thirteen mel-frequency cepstral coefficients and their slopes, on the frame grid of the model, normalized over each
row, and assigned to the nearest of some k-means centers.
"""

import functools

import jax
import jax.numpy as jnp
import librosa
import numpy as np
import scipy.fft
from sklearn.cluster import MiniBatchKMeans

from mms_jax.audio.waveform import SAMPLE_RATE
from mms_jax.models.layers import length_mask, strided_windows
from mms_jax.models.wav2vec2.config import Wav2Vec2Config

Array = jax.Array

COEFFICIENTS = 13
WIDTH = 2 * COEFFICIENTS
_BANDS = 40
_FLOOR = 1e-5  # of mel energies of a waveform with unit variance


def cepstra(waveforms: Array, lengths: Array, config: Wav2Vec2Config) -> Array:
    """Cepstra and their slopes, with mean 0 and variance 1 over the real frames of each row.

    Args:
      waveforms: float32 (batch, samples), normalized, zero-padded at the end.
      lengths: int (batch,), real samples.
      config: its stride and receptive field are the hop and the window.

    Returns:
      float32 (batch, frames, 26); padded frames are 0.
    """
    windows = strided_windows(waveforms.astype(jnp.float32)[:, :, None], config.receptive_field, config.stride)
    size = 2 ** (config.receptive_field - 1).bit_length()
    taper = librosa.filters.get_window("hann", config.receptive_field)
    power = jnp.abs(jnp.fft.rfft(windows * jnp.asarray(taper, jnp.float32), size)) ** 2
    mel, cosines = (jnp.asarray(matrix) for matrix in _matrices(size))
    exact = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    statics = exact(jnp.log(exact(power, mel) + _FLOOR), cosines)
    frames = config.frames(lengths)
    real = length_mask(frames, statics.shape[1])[:, :, None]
    return _normalized(jnp.concatenate([statics, _slopes(statics, frames)], axis=2), real)


def _slopes(x: Array, frames: Array) -> Array:
    """The slope of each coefficient over five frames; frames beyond the ends of a row repeat its first and last."""
    position = jnp.arange(x.shape[1])[None, :]
    last = jnp.maximum(frames - 1, 0)[:, None]
    total = jnp.zeros_like(x)
    for offset in (-2, -1, 1, 2):
        neighbor = jnp.clip(position + offset, 0, last)
        total += offset * jnp.take_along_axis(x, neighbor[:, :, None], axis=1)
    return total / 10.0


def _normalized(x: Array, real: Array) -> Array:
    count = jnp.maximum(jnp.sum(real, axis=1, keepdims=True), 1)
    mean = jnp.sum(jnp.where(real, x, 0.0), axis=1, keepdims=True) / count
    variance = jnp.sum(jnp.where(real, (x - mean) ** 2, 0.0), axis=1, keepdims=True) / count
    return jnp.where(real, (x - mean) / jnp.sqrt(variance + 1e-5), 0.0)


@functools.cache
def _matrices(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Powers to mel energies, (bins, 40), and their logarithms to cepstra, (40, 13)."""
    mel = librosa.filters.mel(sr=SAMPLE_RATE, n_fft=size, n_mels=_BANDS).T
    return mel.astype(np.float32), scipy.fft.dct(np.eye(_BANDS), norm="ortho")[:, :COEFFICIENTS].astype(np.float32)


def nearest(features: Array, centers: Array) -> Array:
    """The center with the least Euclidean distance to each frame.

    Args:
      features: float32 (..., width).
      centers: float32 (clusters, width).

    Returns:
      int32 (...).
    """
    products = jnp.matmul(features, centers.T, precision=jax.lax.Precision.HIGHEST)
    return jnp.argmax(products - 0.5 * jnp.sum(centers**2, axis=1), axis=-1).astype(jnp.int32)


def fit_centers(features: np.ndarray, clusters: int, seed: int) -> np.ndarray:
    """k-means centers, float32 (clusters, width), of frames (frames, width); the best of three starts."""
    kmeans = MiniBatchKMeans(clusters, random_state=seed, n_init=3, batch_size=4096)
    return kmeans.fit(features).cluster_centers_.astype(np.float32)
