"""The text encoder: a post-norm Transformer with relative positions near the diagonal (Shaw et al. 2018)."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from mms_jax.models.layers import dropout, layer_norm, length_mask, split_key
from mms_jax.models.vits.config import VitsConfig
from mms_jax.models.vits.convolution import Conv

Array = jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TextEncoding:
    """Outputs of the text encoder for a batch of texts.

    Attributes:
      hidden: float32 (batch, symbols, hidden).
      mean, log_std: float32 (batch, symbols, latent), of the prior of each symbol's latent frames.
      mask: bool (batch, symbols), True for real symbols; all of the above is 0 elsewhere.
    """

    hidden: Array
    mean: Array
    log_std: Array
    mask: Array


def _uniform(bound: float) -> nnx.Initializer:
    """Uniform in [-bound, bound)."""

    def init(key: Array, shape: Any, dtype: Any = jnp.float32, out_sharding: Any = None) -> Array:
        del out_sharding
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


class _RelativeAttention(nnx.Module):
    """Self-attention with additional keys and values for the distance of near positions, shared by the heads."""

    def __init__(self, config: VitsConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        hidden, width = config.hidden, config.hidden // config.heads
        # The original draws queries, keys and values by Xavier's rule; the rest is PyTorch's default.
        bounds = (3.0**0.5, 3.0**0.5, 3.0**0.5, 1.0)
        self.query, self.key, self.value, self.out = (
            nnx.Linear(
                hidden, hidden, dtype=dtype, rngs=rngs,
                kernel_init=_uniform(bound / math.sqrt(hidden)), bias_init=_uniform(1.0 / math.sqrt(hidden)),
            )
            for bound in bounds
        )  # fmt: skip
        distances = 2 * config.window + 1
        std = 1.0 / math.sqrt(width)
        self.distance_keys = nnx.Param(std * jax.random.normal(rngs.params(), (distances, width)))
        self.distance_values = nnx.Param(std * jax.random.normal(rngs.params(), (distances, width)))
        self.heads, self.window, self.rate, self.dtype = config.heads, config.window, config.dropout, dtype

    def __call__(self, x: Array, mask: Array, key: Array | None) -> Array:
        batch, time, hidden = x.shape
        q, k, v = (
            projection(x).reshape(batch, time, self.heads, -1).transpose(0, 2, 1, 3)
            for projection in (self.query, self.key, self.value)
        )
        q = q / math.sqrt(q.shape[-1])
        near = jnp.einsum("bhtd,rd->bhtr", q, self.distance_keys[...].astype(self.dtype))
        scores = (jnp.einsum("bhtd,bhsd->bhts", q, k) + band_to_square(near)).astype(jnp.float32)
        scores = jnp.where(mask[:, None, None, :], scores, jnp.finfo(jnp.float32).min)
        weights = dropout(jax.nn.softmax(scores, axis=-1), self.rate, key).astype(self.dtype)
        y = jnp.einsum("bhts,bhsd->bhtd", weights, v)
        band = square_to_band(weights, self.window)
        y = y + jnp.einsum("bhtr,rd->bhtd", band, self.distance_values[...].astype(self.dtype))
        return self.out(y.transpose(0, 2, 1, 3).reshape(batch, time, hidden))


def band_to_square(band: Array) -> Array:
    """Places a band of 2 w + 1 diagonals: out[..., i, j] = band[..., i, j - i + w], 0 outside of the band.

    Args:
      band: (..., time, 2 w + 1).

    Returns:
      (..., time, time).
    """
    *lead, time, size = band.shape
    # Each row is written with one element more than it is read with, so row i moves to the right by i.
    padded = jnp.pad(band, [(0, 0)] * (band.ndim - 1) + [(0, time)])
    skewed = padded.reshape(*lead, -1)[..., : time * (time + size - 1)].reshape(*lead, time, time + size - 1)
    return skewed[..., size // 2 : size // 2 + time]


def square_to_band(square: Array, window: int) -> Array:
    """The inverse of `band_to_square`: out[..., i, r] = square[..., i, i + r - window], 0 beyond the edges.

    Args:
      square: (..., time, time).
      window: diagonals on either side.

    Returns:
      (..., time, 2 window + 1).
    """
    *lead, time, _ = square.shape
    padded = jnp.pad(square, [(0, 0)] * (square.ndim - 1) + [(window, window)])
    flat = jnp.pad(padded.reshape(*lead, -1), [(0, 0)] * len(lead) + [(0, time)])
    return flat.reshape(*lead, time, time + 2 * window + 1)[..., : 2 * window + 1]


class _TextEncoderLayer(nnx.Module):
    """norm(x + attention(x)), then norm(x + two convolutions of x with a ReLU between)."""

    def __init__(self, config: VitsConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.attention = _RelativeAttention(config, dtype=dtype, rngs=rngs)
        self.attention_norm = layer_norm(config.hidden, dtype=dtype, rngs=rngs)
        self.up = Conv(config.hidden, config.mlp, config.mlp_kernel, windowed=True, dtype=dtype, rngs=rngs)
        self.down = Conv(config.mlp, config.hidden, config.mlp_kernel, windowed=True, dtype=dtype, rngs=rngs)
        self.mlp_norm = layer_norm(config.hidden, dtype=dtype, rngs=rngs)
        self.rate = config.dropout

    def __call__(self, x: Array, mask: Array, key: Array | None) -> Array:
        weights_key, attention_key, inner_key, mlp_key = split_key(key, 4)
        real = mask[:, :, None]
        y = self.attention(x, mask, weights_key)
        x = self.attention_norm(x + dropout(y, self.rate, attention_key))
        y = dropout(jax.nn.relu(self.up(jnp.where(real, x, 0.0))), self.rate, inner_key)
        y = jnp.where(real, self.down(jnp.where(real, y, 0.0)), 0.0)
        return self.mlp_norm(x + dropout(y, self.rate, mlp_key))


class TextEncoder(nnx.Module):
    """Symbols -> hidden states and the prior's mean and log standard deviation; layers stacked and scanned."""

    def __init__(self, config: VitsConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        std = 1.0 / math.sqrt(config.hidden)
        self.embedding = nnx.Param(std * jax.random.normal(rngs.params(), (config.vocabulary, config.hidden)))

        def make_layer(key: Array) -> _TextEncoderLayer:
            return _TextEncoderLayer(config, dtype=dtype, rngs=nnx.Rngs(params=key))

        self.layers = nnx.vmap(make_layer)(jax.random.split(rngs.params(), config.layers))
        self.out = Conv(config.hidden, 2 * config.latent, dtype=dtype, rngs=rngs)
        self.config, self.dtype = config, dtype

    def __call__(self, symbols: Array, lengths: Array, key: Array | None = None) -> TextEncoding:
        """Encodes a batch.

        Args:
          symbols: int (batch, symbols), right-padded with arbitrary values.
          lengths: int (batch,), number of real symbols in each row.
          key: random key that enables dropout.
        """
        mask = length_mask(lengths, symbols.shape[1])
        real = mask[:, :, None]
        x = jnp.where(real, self.embedding[...][symbols] * math.sqrt(self.config.hidden), 0.0).astype(self.dtype)
        structure, stacked = nnx.split(self.layers)
        layer_inputs: dict = {"params": stacked}
        if key is not None:
            layer_inputs["key"] = jax.random.split(key, self.config.layers)

        def body(x: Array, layer: dict) -> tuple[Array, None]:
            return nnx.merge(structure, layer["params"])(x, mask, layer.get("key")), None

        x, _ = jax.lax.scan(body, x, layer_inputs)
        x = jnp.where(real, x, 0.0)
        mean, log_std = jnp.split(jnp.where(real, self.out(x), 0.0).astype(jnp.float32), 2, axis=-1)
        return TextEncoding(x.astype(jnp.float32), mean, log_std, mask)
