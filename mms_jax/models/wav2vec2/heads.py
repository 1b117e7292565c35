"""What sits on the backbone: contrastive pretraining, and CTC recognition."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from mms_jax.models.layers import dropout, length_mask, linear, split_key
from mms_jax.models.wav2vec2.adapters import HeadBank
from mms_jax.models.wav2vec2.config import Wav2Vec2Config
from mms_jax.models.wav2vec2.masking import Masking
from mms_jax.models.wav2vec2.model import Encoded, Wav2Vec2
from mms_jax.models.wav2vec2.quantizer import GumbelQuantizer, Quantized

Array = jax.Array

ACTIVATIONS = {
    "linear": lambda x: x,
    "relu": jax.nn.relu,
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "tanh": jnp.tanh,
}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Predictions:
    """Masked frames, gathered to the front of each row.

    Attributes:
      predicted: float32 (batch, masked, projected), from the context.
      target: float32 (batch, masked, projected), from the quantiser.
      valid: bool (batch, masked), True for the frames that were masked; the rest of a row is padding.
      quantized: the quantiser's choices at the same frames.
      encoded: the backbone's outputs.
    """

    predicted: Array
    target: Array
    valid: Array
    quantized: Quantized
    encoded: Encoded


class Wav2Vec2ForPretraining(nnx.Module):
    """Predicts the quantised features of masked frames from their context."""

    def __init__(self, config: Wav2Vec2Config, *, dtype: jnp.dtype = jnp.float32, rngs: nnx.Rngs):
        self.backbone = Wav2Vec2(config, dtype=dtype, rngs=rngs)
        self.quantizer = GumbelQuantizer(config, rngs=rngs)
        self.project_target = linear(config.quantized, config.projected, (None, None), dtype=jnp.float32, rngs=rngs)
        self.project_context = linear(config.hidden, config.projected, ("embed", None), dtype=jnp.float32, rngs=rngs)

    def __call__(
        self,
        waveforms: Array,
        lengths: Array,
        *,
        masking: Masking,
        key: Array,
        temperature: Array | float = 1.0,
        train: bool = True,
    ) -> Predictions:
        """Masks, encodes and quantises a batch.

        Args:
          waveforms, lengths: see Wav2Vec2.
          masking: which frames to hide.
          key: randomness of the mask, and in training of the Gumbel noise and the dropouts.
          temperature: of the Gumbel softmax.
          train: False takes the most probable codes and drops nothing, but still masks.
        """
        config = self.backbone.config
        mask_key, gumbel_key, feature_key, dropout_key = jax.random.split(key, 4)
        encoded = self.backbone(
            waveforms, lengths, masking=masking, mask_key=mask_key, key=dropout_key if train else None
        )
        most = masking.most_frames(encoded.masked.shape[1])
        # A stable sort keeps the masked frames in their order and brings them to the front of the row.
        positions = jnp.argsort(~encoded.masked, axis=1, stable=True)[:, :most]
        valid = jnp.take_along_axis(encoded.masked, positions, axis=1)
        features = jnp.take_along_axis(encoded.features, positions[:, :, None], axis=1)
        context = jnp.take_along_axis(encoded.context, positions[:, :, None], axis=1)
        if train:
            features = dropout(features, config.feature_dropout, feature_key)
        quantized = self.quantizer(features, temperature, gumbel_key if train else None)
        return Predictions(
            predicted=self.project_context(context.astype(jnp.float32)),
            target=self.project_target(quantized.vectors),
            valid=valid,
            quantized=quantized,
            encoded=encoded,
        )


class Wav2Vec2ForCTC(nnx.Module):
    """Scores every symbol of a vocabulary at every frame."""

    def __init__(self, config: Wav2Vec2Config, vocabulary: int, *, dtype: jnp.dtype = jnp.float32, rngs: nnx.Rngs):
        self.backbone = Wav2Vec2(config, dtype=dtype, rngs=rngs)
        if config.adapter_languages:
            self.heads = HeadBank(config.adapter_languages, config.hidden, vocabulary, rngs=rngs)
        else:
            self.head = linear(config.hidden, vocabulary, ("embed", "vocabulary"), dtype=jnp.float32, rngs=rngs)

    def __call__(
        self,
        waveforms: Array,
        lengths: Array,
        *,
        language: Array | None = None,
        masking: Masking | None = None,
        key: Array | None = None,
    ) -> tuple[Array, Array]:
        """Scores a batch.

        Args:
          waveforms, lengths, language, masking: see Wav2Vec2.
          key: randomness of masking and dropout; None for inference.

        Returns:
          logits, float32 (batch, frames, vocabulary); and the real frames of each row, int (batch,).
        """
        mask_key, backbone_key, head_key = split_key(key, 3)
        banked = language if self.backbone.config.adapter_languages else None
        encoded = self.backbone(
            waveforms, lengths, masking=masking, mask_key=mask_key, key=backbone_key, language=banked
        )
        context = dropout(encoded.context, self.backbone.config.dropout, head_key).astype(jnp.float32)
        return self.head(context) if banked is None else self.heads(context, banked), encoded.frames


class Wav2Vec2ForIdentification(nnx.Module):
    """Scores every language for a whole recording: projection, mean over frames, classifier.

    The checkpoints that Hugging Face publishes have nothing between mean and classifier; fairseq's class allows a GELU.
    """

    def __init__(
        self, config: Wav2Vec2Config, latent: int, languages: int, *, activation: str = "linear",
        dtype: jnp.dtype = jnp.float32, rngs: nnx.Rngs,
    ):  # fmt: skip
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation={activation!r}; choose {', '.join(ACTIVATIONS)}")
        self.backbone = Wav2Vec2(config, dtype=dtype, rngs=rngs)
        self.projection = linear(config.hidden, latent, ("embed", None), dtype=jnp.float32, rngs=rngs)
        self.classifier = linear(latent, languages, (None, None), dtype=jnp.float32, rngs=rngs)
        self.activation = activation

    def __call__(self, waveforms: Array, lengths: Array, *, key: Array | None = None) -> Array:
        """Waveforms and lengths as in Wav2Vec2 -> logits, float32 (batch, languages)."""
        latent, frames = self.project(waveforms, lengths, key=key)
        real = length_mask(frames, latent.shape[1])[:, :, None]
        mean = jnp.sum(jnp.where(real, latent, 0.0), axis=1) / jnp.maximum(frames, 1)[:, None]
        return self.classify(mean)

    def project(self, waveforms: Array, lengths: Array, *, key: Array | None = None) -> tuple[Array, Array]:
        """Latent vectors, float32 (batch, frames, latent), and the real frames of each row."""
        encoded = self.backbone(waveforms, lengths, key=key)
        return self.projection(encoded.context.astype(jnp.float32)), encoded.frames

    def classify(self, mean: Array) -> Array:
        """A recording's mean latent vector, (..., latent) -> logits, float32 (..., languages)."""
        return self.classifier(ACTIVATIONS[self.activation](mean))
