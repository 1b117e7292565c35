"""Language adapters and heads as banks: one batch holds many languages (Pratap et al. 2023, section 3.2.2)."""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from mms_jax.models.layers import NORM_EPSILON

Array = jax.Array


def _bank(value: Array, *others: str | None) -> nnx.Param:
    """A parameter whose first axis is that of the languages, by which it is sharded where the mesh divides their number.

    Args:
      value: of any language.
      others: logical names of the other axes; where "embed" is among them, the bank is sharded by it otherwise.
    """
    return nnx.Param(value, axes=("language", *others))


class AdapterBank(nnx.Module):
    """A bottleneck for each language, added to a layer's output: x + up(relu(down(norm(x)))).

    Attributes:
      scale, bias: float32 (languages, hidden), of the norm.
      down, down_bias: float32 (languages, hidden, width), (languages, width).
      up, up_bias: float32 (languages, width, hidden), (languages, hidden).
    """

    def __init__(self, languages: int, hidden: int, width: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.scale = _bank(jnp.ones((languages, hidden)), "embed")
        self.bias = _bank(jnp.zeros((languages, hidden)), "embed")
        down = jax.random.normal(rngs.params(), (languages, hidden, width)) / math.sqrt(hidden)
        self.down = _bank(down, "embed", None)
        self.down_bias = _bank(jnp.zeros((languages, width)), None)
        # A newly initialized adapter is the identity.
        self.up = _bank(jnp.zeros((languages, width, hidden)), None, "embed")
        self.up_bias = _bank(jnp.zeros((languages, hidden)), "embed")
        self.dtype = dtype

    def __call__(self, x: Array, language: Array) -> Array:
        """x: (batch, frames, hidden); language: int (batch,), rows of the bank -> the shape of x."""

        def of_row(bank: nnx.Param) -> Array:
            return bank[...][language].astype(self.dtype)

        wide = x.astype(jnp.float32)
        centered = wide - wide.mean(axis=-1, keepdims=True)
        normed = centered * jax.lax.rsqrt(jnp.mean(centered**2, axis=-1, keepdims=True) + NORM_EPSILON)
        y = normed.astype(self.dtype) * of_row(self.scale)[:, None] + of_row(self.bias)[:, None]
        y = jnp.einsum("bth,bhw->btw", y, of_row(self.down)) + of_row(self.down_bias)[:, None]
        y = jnp.einsum("btw,bwh->bth", jax.nn.relu(y), of_row(self.up)) + of_row(self.up_bias)[:, None]
        return x + y


class HeadBank(nnx.Module):
    """A CTC head for each language, padded to the largest vocabulary.

    Attributes:
      kernel: float32 (languages, hidden, vocabulary).
      bias: float32 (languages, vocabulary).
    """

    def __init__(self, languages: int, hidden: int, vocabulary: int, *, rngs: nnx.Rngs):
        kernel = jax.random.normal(rngs.params(), (languages, hidden, vocabulary)) / math.sqrt(hidden)
        self.kernel = _bank(kernel, "embed", None)
        self.bias = _bank(jnp.zeros((languages, vocabulary)), None)

    def __call__(self, x: Array, language: Array) -> Array:
        """x: float32 (batch, frames, hidden); language: int (batch,) -> float32 (batch, frames, vocabulary)."""
        return jnp.einsum("bth,bhv->btv", x, self.kernel[...][language]) + self.bias[...][language][:, None]
