"""WaveNet without dilation, the core of the posterior encoder and of the couplings."""

import jax
import jax.numpy as jnp
from flax import nnx

from mms_jax.models.vits.config import VitsConfig
from mms_jax.models.vits.convolution import Conv

Array = jax.Array


class _WaveNetLayer(nnx.Module):
    """One gated convolution; its residual and skip outputs are concatenated along the channels."""

    def __init__(self, width: int, kernel: int, outputs: int, *, normed: bool, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.gated = Conv(width, 2 * width, kernel, normed=normed, windowed=True, dtype=dtype, rngs=rngs)
        self.out = Conv(width, outputs, normed=normed, dtype=dtype, rngs=rngs)

    def __call__(self, x: Array, condition: Array | float) -> Array:
        filtered, gate = jnp.split(self.gated(x) + condition, 2, axis=-1)
        return self.out(jnp.tanh(filtered) * jax.nn.sigmoid(gate))


class WaveNet(nnx.Module):
    """`layers` gated convolutions with residual and skip connections.

    All layers but the last, which has no residual output, form one stacked module under `lax.scan`.
    """

    def __init__(self, config: VitsConfig, layers: int, *, normed: bool, dtype: jnp.dtype, rngs: nnx.Rngs):
        width, kernel = config.hidden, config.wavenet_kernel

        def make_layer(key: Array) -> _WaveNetLayer:
            return _WaveNetLayer(width, kernel, 2 * width, normed=normed, dtype=dtype, rngs=nnx.Rngs(params=key))

        self.layers = nnx.vmap(make_layer)(jax.random.split(rngs.params(), layers - 1))
        self.last = _WaveNetLayer(width, kernel, width, normed=normed, dtype=dtype, rngs=rngs)
        if config.speaker_width:
            self.speaker = Conv(config.speaker_width, 2 * width * layers, normed=normed, dtype=dtype, rngs=rngs)
        self.width, self.count, self.conditioned = width, layers, bool(config.speaker_width)

    def __call__(self, x: Array, mask: Array, speaker: Array | None) -> Array:
        """Applies all layers.

        Args:
          x: (batch, time, hidden), zero where masked.
          mask: bool (batch, time), True for real positions.
          speaker: (batch, 1, speaker_width), or None for a single-speaker model.

        Returns:
          (batch, time, hidden), zero where masked.
        """
        real = mask[:, :, None]
        conditions: Array = jnp.zeros((self.count, 1, 1, 1), x.dtype)
        if self.conditioned and speaker is not None:
            conditions = self.speaker(speaker).reshape(len(x), 1, self.count, 2 * self.width).transpose(2, 0, 1, 3)
        structure, stacked = nnx.split(self.layers)

        def body(carry: tuple[Array, Array], layer: tuple[nnx.State, Array]) -> tuple[tuple[Array, Array], None]:
            x, total = carry
            onward, skip = jnp.split(nnx.merge(structure, layer[0])(x, layer[1]), 2, axis=-1)
            return (jnp.where(real, x + onward, 0.0), total + skip), None

        x = x.astype(self.last.gated.dtype)
        (x, total), _ = jax.lax.scan(body, (x, jnp.zeros_like(x)), (stacked, conditions[:-1]))
        return jnp.where(real, total + self.last(x, conditions[-1]), 0.0)
