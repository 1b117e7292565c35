"""Building blocks that the models share: linear maps with named axes, windows, dropout, lengths, dtypes."""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from mms_jax.errors import ConfigError

Array = jax.Array

# By default, TPUs round the operands of float32 products to bfloat16, of 8 bits; this keeps 16, those of recordings.
ACCURATE = jax.lax.Precision.HIGH
NORM_EPSILON = 1e-5  # of every layer norm in the original models


def compute_dtype(name: str) -> jnp.dtype:
    """The compute dtype of that name; parameters and losses stay float32.

    Raises:
      ConfigError: neither float32 nor bfloat16.
    """
    if name not in ("float32", "bfloat16"):
        raise ConfigError(f"compute_dtype={name!r}; choose float32 or bfloat16")
    return jnp.dtype(name)


def linear(
    inputs: int,
    outputs: int,
    axes: tuple[str | None, str | None],
    *,
    dtype: jnp.dtype,
    rngs: nnx.Rngs,
    std: float | None = None,
    precision: jax.lax.Precision | None = None,
) -> nnx.Linear:
    """A linear map whose kernel (inputs, outputs) carries logical axis names for `sharding.py`.

    Args:
      axes: the logical names of (inputs, outputs); None where an axis is never sharded.
      std: standard deviation of the initial kernel; None for 1/sqrt(inputs).
      precision: of the product of float32 arrays on accelerators, see ACCURATE.
    """
    return nnx.Linear(
        inputs,
        outputs,
        kernel_init=nnx.initializers.normal(std if std is not None else 1.0 / math.sqrt(inputs)),
        kernel_metadata={"axes": axes},
        bias_metadata={"axes": (axes[1],)},
        dtype=dtype,
        precision=precision,
        rngs=rngs,
    )


class LayerNorm(nnx.LayerNorm):
    """nnx.LayerNorm over the last axis, computed in float32, whose gradient keeps its input alone."""

    def __call__(self, x: Array, **unused: object) -> Array:
        """(..., width) -> the same shape, in the compute dtype."""
        assert self.scale is not None and self.bias is not None
        return _normalize(x, self.scale[...], self.bias[...]).astype(self.dtype)


def layer_norm(width: int, *, dtype: jnp.dtype, rngs: nnx.Rngs) -> LayerNorm:
    """Layer norm with the originals' epsilon."""
    return LayerNorm(width, epsilon=NORM_EPSILON, dtype=dtype, rngs=rngs)


@jax.custom_vjp
def _normalize(x: Array, scale: Array, bias: Array) -> Array:
    return _normalize_forward(x, scale, bias)[0]


def _normalize_forward(x: Array, scale: Array, bias: Array) -> tuple[Array, tuple[Array, ...]]:
    wide = x.astype(jnp.float32)
    mean = wide.mean(-1, keepdims=True)
    variance = jnp.maximum((wide**2).mean(-1, keepdims=True) - mean**2, 0.0)
    inverse = jax.lax.rsqrt(variance + NORM_EPSILON)
    return (wide - mean) * (inverse * scale) + bias, (x, mean, inverse, scale)


def _normalize_backward(saved: tuple[Array, ...], gradient: Array) -> tuple[Array, Array, Array]:
    x, mean, inverse, scale = saved
    unit = (x.astype(jnp.float32) - mean) * inverse
    scaled = gradient * scale
    along = (scaled * unit).mean(-1, keepdims=True)
    of_x = inverse * (scaled - scaled.mean(-1, keepdims=True) - unit * along)
    rows = tuple(range(x.ndim - 1))
    return of_x.astype(x.dtype), (gradient * unit).sum(rows), gradient.sum(rows)


_normalize.defvjp(_normalize_forward, _normalize_backward)


def dropout(x: Array, rate: float, key: Array | None) -> Array:
    """Zeroes elements with probability `rate` and scales the rest; the identity where `key` is None."""
    if key is None or rate == 0.0:
        return x
    keep = jax.random.bernoulli(key, 1.0 - rate, x.shape)
    return jnp.where(keep, x / (1.0 - rate), 0.0).astype(x.dtype)


@jax.custom_vjp
def gelu(x: Array) -> Array:
    """x times the standard normal's cumulative distribution (Hendrycks and Gimpel 2016), exactly.

    Its gradient keeps x alone: JAX's own keeps three arrays of this size, a fifth of the memory of a training step.
    """
    return jax.nn.gelu(x, approximate=False)


def _gelu_backward(x: Array, gradient: Array) -> tuple[Array]:
    wide = x.astype(jnp.float32)
    below = 0.5 * jax.lax.erfc(-wide * math.sqrt(0.5))
    density = jnp.exp(-0.5 * wide**2) / math.sqrt(2.0 * math.pi)
    return ((gradient.astype(jnp.float32) * (below + wide * density)).astype(x.dtype),)


gelu.defvjp(lambda x: (gelu(x), x), _gelu_backward)


def split_key(key: Array | None, count: int) -> list[Array | None]:
    """`count` keys, or that many Nones."""
    return [None] * count if key is None else list(jax.random.split(key, count))


def length_mask(lengths: Array, size: int) -> Array:
    """bool (batch, size): True for the first lengths[b] positions of row b."""
    return jnp.arange(size) < lengths[:, None]


def strided_windows(x: Array, kernel: int, stride: int) -> Array:
    """The input windows of a strided convolution, each flattened to one axis.

    They are built by reshapes and slices only, so that the convolution becomes one matrix product: on CPUs its gradient
    is several times faster than that of `lax.conv_general_dilated`.

    Args:
      x: (batch, time, channels), time >= kernel.
      kernel, stride: in time steps.

    Returns:
      (batch, (time - kernel) // stride + 1, kernel * channels), window positions outer, channels inner.
    """
    batch, time, channels = x.shape
    windows = (time - kernel) // stride + 1
    blocks = math.ceil(kernel / stride)
    needed = (windows + blocks - 1) * stride
    x = jnp.pad(x, ((0, 0), (0, max(0, needed - time)), (0, 0)))[:, :needed]
    x = x.reshape(batch, windows + blocks - 1, stride * channels)
    parts = [x[:, block : block + windows] for block in range(blocks)]
    parts[-1] = parts[-1][..., : (kernel - (blocks - 1) * stride) * channels]
    return jnp.concatenate(parts, axis=-1)


@jax.custom_vjp
def scale_gradient(x: Array, scale: float) -> Array:
    """The identity, whose gradient is multiplied by `scale` (fairseq's GradMultiply)."""
    del scale
    return x


scale_gradient.defvjp(
    lambda x, scale: (x, scale),
    lambda scale, gradient: (gradient * jnp.asarray(scale, gradient.dtype), None),
)
