"""The context network: positional convolution and pre-norm Transformer layers, stacked and scanned."""

import jax
import jax.numpy as jnp
from flax import nnx

from mms_jax.models.layers import dropout, gelu, layer_norm, linear, split_key
from mms_jax.models.wav2vec2 import attention
from mms_jax.models.wav2vec2.adapters import AdapterBank
from mms_jax.models.wav2vec2.config import Wav2Vec2Config
from mms_jax.models.wav2vec2.positions import PositionalConvolution

Array = jax.Array


class SelfAttention(nnx.Module):
    """Multi-head attention over all frames of the utterance; softmax in float32."""

    def __init__(self, config: Wav2Vec2Config, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        hidden = config.hidden
        self.query, self.key, self.value = (
            linear(hidden, hidden, ("embed", "heads"), dtype=dtype, rngs=rngs, std=config.init_std) for _ in range(3)
        )
        self.out = linear(hidden, hidden, ("heads", "embed"), dtype=dtype, rngs=rngs, std=config.init_std)
        self.heads = config.heads
        self.heads_at_a_time = config.attention_chunk
        self.dropout = config.attention_dropout

    def __call__(self, x: Array, mask: Array, key: Array | None = None) -> Array:
        """x: (batch, frames, hidden); mask: bool (batch, frames), True for real frames -> the shape of x.

        With a key, attention weights are dropped.
        """
        dropping = key is not None and self.dropout > 0.0
        batch, frames, hidden = x.shape
        q, k, v = (
            projection(x).reshape(batch, frames, self.heads, hidden // self.heads).transpose(0, 2, 1, 3)
            for projection in (self.query, self.key, self.value)
        )
        if self.heads_at_a_time and not dropping:  # chunks are for inference
            parts = tuple(jnp.moveaxis(part, 1, 0)[:, :, None] for part in (q, k, v))
            y = jax.lax.map(
                lambda part: attention.attend(part[0], part[1], part[2], mask), parts, batch_size=self.heads_at_a_time
            )
            y = jnp.moveaxis(y[:, :, 0], 0, 1)
        else:
            y = attention.attend(q, k, v, mask, self.dropout, key if dropping else None)
        return self.out(y.transpose(0, 2, 1, 3).reshape(batch, frames, hidden))


class FeedForward(nnx.Module):
    """Linear, GELU, linear."""

    def __init__(self, config: Wav2Vec2Config, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        std = config.init_std
        self.up = linear(config.hidden, config.mlp, ("embed", "mlp"), dtype=dtype, rngs=rngs, std=std)
        self.down = linear(config.mlp, config.hidden, ("mlp", "embed"), dtype=dtype, rngs=rngs, std=std)
        self.activation_dropout = config.activation_dropout

    def __call__(self, x: Array, key: Array | None) -> Array:
        x = gelu(self.up(x))
        return self.down(dropout(x, self.activation_dropout, key))


class EncoderLayer(nnx.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x)), then the row's language adapter if the model has them."""

    def __init__(self, config: Wav2Vec2Config, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.attention_norm = layer_norm(config.hidden, dtype=dtype, rngs=rngs)
        self.attention = SelfAttention(config, dtype=dtype, rngs=rngs)
        self.feed_forward_norm = layer_norm(config.hidden, dtype=dtype, rngs=rngs)
        self.feed_forward = FeedForward(config, dtype=dtype, rngs=rngs)
        self.dropout = config.dropout
        if config.adapter_languages:
            self.adapters = AdapterBank(
                config.adapter_languages, config.hidden, config.adapter_width, dtype=dtype, rngs=rngs
            )
        self.adapted = bool(config.adapter_languages)

    def __call__(self, x: Array, mask: Array, key: Array | None, language: Array | None) -> Array:
        weights_key, attention_key, activation_key, output_key = split_key(key, 4)
        x = x + dropout(self.attention(self.attention_norm(x), mask, weights_key), self.dropout, attention_key)
        y = self.feed_forward(self.feed_forward_norm(x), activation_key)
        x = x + dropout(y, self.dropout, output_key)
        if not self.adapted:
            return x
        if language is None:
            raise ValueError("a model with language adapters needs the language of every row")
        return self.adapters(x, language)


class TransformerEncoder(nnx.Module):
    """Positional convolution, `config.layers` layers, final norm.

    The layers form one stacked module, whose parameters have a leading axis (layers,), and run under `lax.scan`: only
    one layer is compiled, regardless of their number.
    """

    def __init__(self, config: Wav2Vec2Config, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.positions = PositionalConvolution(config, dtype=dtype, rngs=rngs)

        def make_layer(key: Array) -> EncoderLayer:
            return EncoderLayer(config, dtype=dtype, rngs=nnx.Rngs(params=key))

        self.layers = nnx.vmap(make_layer)(jax.random.split(rngs.params(), config.layers))
        self.norm = layer_norm(config.hidden, dtype=dtype, rngs=rngs)
        self.config = config

    def __call__(self, x: Array, mask: Array, key: Array | None = None, language: Array | None = None) -> Array:
        """Encodes.

        Args:
          x: (batch, frames, hidden).
          mask: bool (batch, frames), True for real frames.
          key: random key that enables dropout and LayerDrop; None for inference.
          language: int (batch,), rows of the adapter banks; only for a model that has them.

        Returns:
          (batch, frames, hidden); padded frames are undefined.
        """
        config = self.config
        input_key, layerdrop_key, layers_key = split_key(key, 3)
        x = jnp.where(mask[:, :, None], x, 0.0)
        x = x + self.positions(x)
        x = dropout(x, config.dropout, input_key)

        structure, stacked = nnx.split(self.layers)
        per_layer: dict = {"params": stacked}
        if layerdrop_key is not None and layers_key is not None:
            per_layer["keep"] = jax.random.bernoulli(layerdrop_key, 1.0 - config.layerdrop, (config.layers,))
            per_layer["key"] = jax.random.split(layers_key, config.layers)

        def body(x: Array, layer_inputs: dict) -> tuple[Array, None]:
            y = nnx.merge(structure, layer_inputs["params"])(x, mask, layer_inputs.get("key"), language)
            if "keep" in layer_inputs and config.layerdrop > 0.0:
                y = jnp.where(layer_inputs["keep"], y, x)
            return y, None

        x, _ = jax.lax.scan(_rematerialized(body, config.remat), x, per_layer)
        return self.norm(x)


def _rematerialized(body, remat: str):
    if remat == "full":
        return jax.checkpoint(body, prevent_cse=False)
    if remat == "dots":
        policies = jax.checkpoint_policies
        # A kernel is no matrix product, but is made of them.
        kept = policies.save_from_both_policies(
            policies.dots_with_no_batch_dims_saveable, policies.save_only_these_names(attention.SAVED)
        )
        return jax.checkpoint(body, prevent_cse=False, policy=kept)
    return body
