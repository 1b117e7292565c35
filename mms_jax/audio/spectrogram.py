"""Spectrograms in JAX, as VITS computes them: Hann windows, reflected edges, magnitudes, the mel scale of librosa."""

import functools

import jax
import jax.numpy as jnp
import librosa
import numpy as np

Array = jax.Array

MEL_BANDS = 80
_FLOOR = 1e-5  # of mel energies, before the logarithm
_POWER_FLOOR = 1e-6  # keeps the gradient of the square root finite


def magnitudes(waveforms: Array, lengths: Array | None, fft: int, hop: int) -> Array:
    """The linear spectrogram, sqrt(re^2 + im^2 + 1e-6), in float32.

    Args:
      waveforms: float32 (batch, samples), zero-padded at the end; samples is a multiple of `hop`.
      lengths: int (batch,), real samples, each more than (fft - hop) / 2; None if all are real. Each row is
        reflected at its real end.
      fft: samples per window.
      hop: samples from one frame to the next.

    Returns:
      (batch, samples / hop, fft / 2 + 1). Frame k is centered on the samples from k hop to (k + 1) hop.
    """
    pad = (fft - hop) // 2
    x = waveforms.astype(jnp.float32)
    if lengths is None:
        x = jnp.pad(x, ((0, 0), (pad, pad)), mode="reflect")
    else:
        x = jnp.pad(x, ((0, 0), (0, pad)))
        position = jnp.arange(x.shape[1])
        last = lengths[:, None] - 1
        behind = (position > last) & (position <= last + pad)
        mirrored = jnp.take_along_axis(x, jnp.maximum(2 * last - position, 0), axis=1)
        x = jnp.where(behind, mirrored, jnp.where(position > last, 0.0, x))
        x = jnp.concatenate([x[:, pad:0:-1], x], axis=1)
    frames = (x.shape[1] - fft) // hop + 1
    blocks = -(-fft // hop)
    x = jnp.pad(x, ((0, 0), (0, max(0, (frames - 1 + blocks) * hop - x.shape[1]))))
    x = x[:, : (frames - 1 + blocks) * hop].reshape(len(x), frames - 1 + blocks, hop)
    windows = jnp.concatenate([x[:, block : block + frames] for block in range(blocks)], axis=-1)[..., :fft]
    spectrum = jnp.fft.rfft(windows * jnp.asarray(librosa.filters.get_window("hann", fft), jnp.float32))
    return jnp.sqrt(spectrum.real**2 + spectrum.imag**2 + _POWER_FLOOR)


def log_mel(spectrogram: Array, rate: int) -> Array:
    """log of mel energies, floored at 1e-5.

    Args:
      spectrogram: (..., bins), from `magnitudes`.
      rate: sampling rate in Hz.

    Returns:
      (..., 80).
    """
    bins = spectrogram.shape[-1]
    basis = jnp.asarray(_mel_basis(rate, 2 * (bins - 1)))
    mel = jnp.matmul(spectrogram, basis, precision=jax.lax.Precision.HIGHEST)
    return jnp.log(jnp.maximum(mel, _FLOOR))


@functools.cache
def _mel_basis(rate: int, fft: int) -> np.ndarray:
    return librosa.filters.mel(sr=rate, n_fft=fft, n_mels=MEL_BANDS).T.astype(np.float32)
