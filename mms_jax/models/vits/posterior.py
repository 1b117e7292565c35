"""The posterior encoder, which maps a recording to latent frames; only training uses it."""

import jax
import jax.numpy as jnp
from flax import nnx

from mms_jax.models.vits.config import VitsConfig
from mms_jax.models.vits.convolution import Conv
from mms_jax.models.vits.wavenet import WaveNet

Array = jax.Array


class PosteriorEncoder(nnx.Module):
    """Linear spectrogram -> mean and log standard deviation of each latent frame (Kim et al. 2021, section 2.5.1)."""

    def __init__(self, config: VitsConfig, *, normed: bool, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.into = Conv(config.bins, config.hidden, dtype=dtype, rngs=rngs)
        self.wavenet = WaveNet(config, config.posterior_layers, normed=normed, dtype=dtype, rngs=rngs)
        self.out = Conv(config.hidden, 2 * config.latent, dtype=dtype, rngs=rngs)

    def __call__(self, spectrogram: Array, mask: Array, speaker: Array | None) -> tuple[Array, Array]:
        """Encodes.

        Args:
          spectrogram: (batch, frames, bins), magnitudes.
          mask: bool (batch, frames), True for real frames.
          speaker: (batch, 1, speaker_width) or None.

        Returns:
          Mean and log standard deviation, float32 (batch, frames, latent), zero where masked.
        """
        real = mask[:, :, None]
        x = jnp.where(real, self.into(spectrogram), 0.0)
        x = self.wavenet(x, mask, speaker)
        mean, log_std = jnp.split(jnp.where(real, self.out(x), 0.0).astype(jnp.float32), 2, axis=-1)
        return mean, log_std
