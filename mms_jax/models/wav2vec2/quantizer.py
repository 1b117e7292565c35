"""Product quantization with Gumbel softmax (Baevski et al. 2020, section 2)."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from mms_jax.models.layers import linear
from mms_jax.models.wav2vec2.config import Wav2Vec2Config

Array = jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Quantized:
    """Outputs of the quantizer.

    Attributes:
      vectors: float32 (..., quantized), the chosen codewords of all codebooks side by side.
      codes: int32 (..., codebooks), their indices.
      logits: float32 (..., codebooks, codes).
    """

    vectors: Array
    codes: Array
    logits: Array


class GumbelQuantizer(nnx.Module):
    """Chooses one codeword from each codebook; straight-through Gumbel softmax in training, arg max otherwise.

    Attributes:
      codebook: float32 (codebooks, codes, quantized / codebooks).
    """

    def __init__(self, config: Wav2Vec2Config, *, rngs: nnx.Rngs):
        self.codebooks, self.codes = config.codebooks, config.codes
        choices = config.codebooks * config.codes
        self.logits = linear(config.conv_dims[-1], choices, (None, None), dtype=jnp.float32, rngs=rngs, std=1.0)
        width = config.quantized // config.codebooks
        # fairseq draws from [0, 1), where different codewords point in nearly the same direction (mean cosine 0.75).
        codebook = jax.random.uniform(rngs.params(), (config.codebooks, config.codes, width), minval=-1.0)
        self.codebook = nnx.Param(codebook)

    def __call__(self, features: Array, temperature: Array | float = 1.0, key: Array | None = None) -> Quantized:
        """Quantizes.

        Args:
          features: (..., conv_dims[-1]).
          temperature: temperature of the Gumbel softmax; it affects only the gradient.
          key: random key for the Gumbel noise; if None, the most probable code is chosen.
        """
        logits = self.logits(features.astype(jnp.float32))
        logits = logits.reshape(*features.shape[:-1], self.codebooks, self.codes)
        noisy = logits if key is None else logits + jax.random.gumbel(key, logits.shape)
        codes = jnp.argmax(noisy, axis=-1)
        choice = jax.nn.one_hot(codes, self.codes, dtype=jnp.float32)
        if key is not None:
            soft = jax.nn.softmax(noisy / temperature, axis=-1)
            choice = choice + soft - jax.lax.stop_gradient(soft)
        vectors = jnp.einsum("...gc,gcd->...gd", choice, self.codebook[...])
        return Quantized(vectors.reshape(*features.shape[:-1], -1), codes, logits)


def gumbel_temperature(step: Array, start: float, end: float, decay: float) -> Array:
    """max(start * decay ** step, end)."""
    return jnp.maximum(start * jnp.power(decay, step.astype(jnp.float32)), end)
