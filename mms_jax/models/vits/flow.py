"""The prior's normalizing flow: volume-preserving couplings, so that its log-determinant is 0."""

import jax
import jax.numpy as jnp
from flax import nnx

from mms_jax.models.vits.config import VitsConfig
from mms_jax.models.vits.convolution import Conv
from mms_jax.models.vits.wavenet import WaveNet

Array = jax.Array


class _Coupling(nnx.Module):
    """The shift of the second half of the channels, given the first (Dinh et al. 2017, without the scale)."""

    def __init__(self, config: VitsConfig, *, normed: bool, dtype: jnp.dtype, rngs: nnx.Rngs):
        half = config.latent // 2
        self.into = Conv(half, config.hidden, dtype=dtype, rngs=rngs)
        self.wavenet = WaveNet(config, config.flow_layers, normed=normed, dtype=dtype, rngs=rngs)
        self.out = Conv(config.hidden, half, zero=True, dtype=dtype, rngs=rngs)

    def __call__(self, first: Array, mask: Array, speaker: Array | None) -> Array:
        real = mask[:, :, None]
        x = self.wavenet(jnp.where(real, self.into(first), 0.0), mask, speaker)
        return jnp.where(real, self.out(x), 0.0).astype(jnp.float32)


class Flow(nnx.Module):
    """`flows` couplings, each followed by a reversal of the channels; stacked, and run under `lax.scan`."""

    def __init__(self, config: VitsConfig, *, normed: bool, dtype: jnp.dtype, rngs: nnx.Rngs):
        def make_coupling(key: Array) -> _Coupling:
            return _Coupling(config, normed=normed, dtype=dtype, rngs=nnx.Rngs(params=key))

        self.couplings = nnx.vmap(make_coupling)(jax.random.split(rngs.params(), config.flows))

    def __call__(self, x: Array, mask: Array, speaker: Array | None, *, inverse: bool = False) -> Array:
        """Maps latent frames to the prior's space, or back.

        Args:
          x: float32 (batch, frames, latent).
          mask: bool (batch, frames), True for real frames.
          speaker: (batch, 1, speaker_width) or None.
          inverse: from the prior's space to the latent one.

        Returns:
          The shape of x, zero where masked.
        """
        structure, stacked = nnx.split(self.couplings)

        def shift(coupling: nnx.State, first: Array) -> Array:
            return nnx.merge(structure, coupling)(first, mask, speaker)

        def forward(x: Array, coupling: nnx.State) -> tuple[Array, None]:
            first, second = jnp.split(x, 2, axis=-1)
            return jnp.concatenate([first, second + shift(coupling, first)], axis=-1)[..., ::-1], None

        def backward(x: Array, coupling: nnx.State) -> tuple[Array, None]:
            first, second = jnp.split(x[..., ::-1], 2, axis=-1)
            return jnp.concatenate([first, second - shift(coupling, first)], axis=-1), None

        x = jnp.where(mask[:, :, None], x, 0.0)
        return jax.lax.scan(backward if inverse else forward, x, stacked, reverse=inverse)[0]
