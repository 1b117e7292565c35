"""Relative positions: a wide grouped convolution over frames."""

import functools
import math

import jax
import jax.numpy as jnp
from flax import nnx

from mms_jax import sharding
from mms_jax.models.layers import gelu
from mms_jax.models.wav2vec2.config import Wav2Vec2Config

Array = jax.Array


class PositionalConvolution(nnx.Module):
    """Relative positional embeddings by a wide grouped convolution with weight norm, followed by GELU.

    The norm is taken per kernel tap, over outputs and inputs (`dim=2` in the original implementations).

    Attributes:
      direction: float32 (kernel, hidden / groups, hidden), `weight_v`.
      magnitude: float32 (kernel,), `weight_g`.
    """

    def __init__(self, config: Wav2Vec2Config, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        kernel, hidden, groups = config.positional_kernel, config.hidden, config.positional_groups
        std = math.sqrt(4.0 / (kernel * hidden))
        direction = std * jax.random.normal(rngs.params(), (kernel, hidden // groups, hidden))
        self.direction = nnx.Param(direction, axes=(None, None, "embed"))
        self.magnitude = nnx.Param(_tap_norms(direction))
        self.bias = nnx.Param(jnp.zeros(hidden))
        self.groups = groups
        self.dtype = dtype

    def __call__(self, x: Array) -> Array:
        """(batch, frames, hidden) -> the same shape. Padded frames must be zero."""
        weight = self.direction[...] * (self.magnitude[...] / _tap_norms(self.direction[...]))[:, None, None]
        convolve = _convolve_by_taps if sharding.platform() == "cpu" else _convolve
        # XLA's partitioner (jaxlib 0.10.2) computes wrong gradients of grouped convolutions on some meshes and aborts
        # on others. Here each device convolves its own rows, so that nothing is left to partition.
        convolve_rows = sharding.rows_apart(functools.partial(convolve, self.groups))
        y = convolve_rows(x.astype(self.dtype), weight.astype(self.dtype))
        return gelu(y + self.bias[...].astype(self.dtype))


def _tap_norms(direction: Array) -> Array:
    return jnp.sqrt(jnp.sum(direction**2, axis=(1, 2)))


def _padding(kernel: int) -> tuple[int, int]:
    # With an even kernel, the original implementations pad one frame too many and drop the last output.
    return kernel // 2, (kernel - 1) // 2


def _convolve(groups: int, x: Array, weight: Array) -> Array:
    return jax.lax.conv_general_dilated(
        x,
        weight,
        window_strides=(1,),
        padding=[_padding(len(weight))],
        dimension_numbers=("NWC", "WIO", "NWC"),
        feature_group_count=groups,
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _convolve_by_taps(groups: int, x: Array, weight: Array) -> Array:
    """The same, where XLA's own gradient of the weight is slow: on CPUs it takes 13 times as long as this one."""
    return _convolve(groups, x, weight)


def _forward(groups: int, x: Array, weight: Array) -> tuple[Array, tuple[Array, Array]]:
    return _convolve(groups, x, weight), (x, weight)


def _backward(groups: int, saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, weight = saved
    (of_x,) = jax.vjp(lambda x: _convolve(groups, x, weight), x)[1](gradient)
    batch, frames, hidden = x.shape
    by_group = gradient.reshape(batch, frames, groups, hidden // groups)
    padded = jnp.pad(x, ((0, 0), _padding(len(weight)), (0, 0))).reshape(batch, -1, groups, hidden // groups)
    padded = padded.transpose(2, 3, 0, 1)

    def of_tap(tap: Array) -> Array:
        met = jax.lax.dynamic_slice_in_dim(padded, tap, frames, axis=3)
        return jnp.einsum("gibt,btgo->igo", met, by_group, preferred_element_type=jnp.float32)

    of_weight = jax.lax.map(of_tap, jnp.arange(len(weight)))
    return of_x, of_weight.reshape(weight.shape).astype(weight.dtype)


_convolve_by_taps.defvjp(_forward, _backward)
