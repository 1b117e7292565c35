"""The heads on the backbone: contrastive pretraining, CTC recognition and language identification."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from mms_jax.errors import ConfigError
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


NEVER = -1e9  # the logit of a symbol that a row's language does not use


def restrict_to_language(logits: Array, language: Array, allowed: np.ndarray) -> Array:
    """Sets to -1e9 the logits of symbols that a row's language does not use.

    Args:
      logits: (batch, frames, vocabulary).
      language: int (batch,), rows of `allowed`.
      allowed: bool (languages, vocabulary), see `Vocabulary.allowed`.
    """
    return jnp.where(jnp.asarray(allowed)[language][:, None, :], logits, NEVER)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Predictions:
    """Predictions and targets of the masked frames, which are moved to the front of each row.

    Attributes:
      predicted: float32 (batch, masked, projected), from the context.
      target: float32 (batch, masked, projected), from the quantizer.
      valid: bool (batch, masked), True for the frames that were masked; the rest of a row is padding.
      quantized: the quantizer's outputs at the same frames.
      encoded: the backbone's outputs.
    """

    predicted: Array
    target: Array
    valid: Array
    quantized: Quantized
    encoded: Encoded


class Wav2Vec2ForPretraining(nnx.Module):
    """Predicts the quantized features of masked frames from their context."""

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
        """Masks, encodes and quantizes a batch.

        Args:
          waveforms, lengths: see Wav2Vec2.
          masking: the settings of span masking.
          key: random key for the mask and, in training, for the Gumbel noise and dropout.
          temperature: temperature of the Gumbel softmax.
          train: if False, the most probable codes are chosen and dropout is disabled; masking is still applied.
        """
        config = self.backbone.config
        mask_key, gumbel_key, feature_key, dropout_key = jax.random.split(key, 4)
        encoded = self.backbone(
            waveforms, lengths, masking=masking, mask_key=mask_key, key=dropout_key if train else None
        )
        most = masking.most_frames(encoded.masked.shape[1])
        # A stable sort moves the masked frames to the front of the row and keeps their order.
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


class Wav2Vec2ForClusters(nnx.Module):
    """Predicts the clusters of masked frames from their context (Hsu et al. 2021).

    Attributes:
      centers: float32 (clusters, width), of the targets; part of the model, so that a run resumes with the same. They have
        no gradient.
    """

    def __init__(self, config: Wav2Vec2Config, centers: np.ndarray, *, dtype: jnp.dtype = jnp.float32, rngs: nnx.Rngs):
        self.backbone = Wav2Vec2(config, dtype=dtype, rngs=rngs)
        self.cluster_head = linear(config.hidden, len(centers), ("embed", None), dtype=jnp.float32, rngs=rngs)
        self.centers = nnx.Param(jnp.asarray(centers))

    def __call__(
        self, waveforms: Array, lengths: Array, *, masking: Masking, key: Array, train: bool = True
    ) -> tuple[Array, Array]:
        """Waveforms and lengths as in Wav2Vec2 -> logits (batch, frames, clusters) and masked, bool (batch, frames)."""
        mask_key, dropout_key = jax.random.split(key)
        encoded = self.backbone(
            waveforms, lengths, masking=masking, mask_key=mask_key, key=dropout_key if train else None
        )
        return self.cluster_head(encoded.context.astype(jnp.float32)), encoded.masked


class Wav2Vec2ForCTC(nnx.Module):
    """Scores every symbol of a vocabulary at every frame."""

    def __init__(self, config: Wav2Vec2Config, vocabulary: int, *, dtype: jnp.dtype = jnp.float32, rngs: nnx.Rngs):
        self.backbone = Wav2Vec2(config, dtype=dtype, rngs=rngs)
        self.banked_heads = bool(config.adapter_languages) and not config.shared_head
        if self.banked_heads:
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
          key: random key for masking and dropout; None for inference.

        Returns:
          logits, float32 (batch, frames, vocabulary); and the real frames of each row, int (batch,).
        """
        mask_key, backbone_key, head_key = split_key(key, 3)
        banked = language if self.backbone.config.adapter_languages else None
        encoded = self.backbone(
            waveforms, lengths, masking=masking, mask_key=mask_key, key=backbone_key, language=banked
        )
        context = dropout(encoded.context, self.backbone.config.dropout, head_key).astype(jnp.float32)
        return self.head(context) if banked is None or not self.banked_heads else self.heads(
            context, banked
        ), encoded.frames


class Wav2Vec2ForIdentification(nnx.Module):
    """Scores every language for a whole recording: projection, mean over frames, classifier.

    Hugging Face's checkpoints have no activation between the mean and the classifier; fairseq's class allows a GELU.
    """

    def __init__(
        self, config: Wav2Vec2Config, latent: int, languages: int, *, activation: str = "linear",
        dtype: jnp.dtype = jnp.float32, rngs: nnx.Rngs,
    ):  # fmt: skip
        if activation not in ACTIVATIONS:
            raise ConfigError(f"activation={activation!r}; choose {', '.join(ACTIVATIONS)}")
        self.backbone = Wav2Vec2(config, dtype=dtype, rngs=rngs)
        self.projection = linear(config.hidden, latent, ("embed", None), dtype=jnp.float32, rngs=rngs)
        self.classifier = linear(latent, languages, (None, "vocabulary"), dtype=jnp.float32, rngs=rngs)
        self.activation = activation

    def __call__(
        self, waveforms: Array, lengths: Array, *, masking: Masking | None = None, key: Array | None = None
    ) -> Array:
        """Waveforms, lengths, masking as in Wav2Vec2; key as in Wav2Vec2ForCTC -> logits, float32 (batch, languages)."""
        latent, frames = self.project(waveforms, lengths, masking=masking, key=key)
        real = length_mask(frames, latent.shape[1])[:, :, None]
        mean = jnp.sum(jnp.where(real, latent, 0.0), axis=1) / jnp.maximum(frames, 1)[:, None]
        return self.classify(mean)

    def project(
        self, waveforms: Array, lengths: Array, *, masking: Masking | None = None, key: Array | None = None
    ) -> tuple[Array, Array]:
        """Latent vectors, float32 (batch, frames, latent), and the real frames of each row."""
        mask_key, backbone_key = split_key(key, 2)
        encoded = self.backbone(waveforms, lengths, masking=masking, mask_key=mask_key, key=backbone_key)
        return self.projection(encoded.context.astype(jnp.float32)), encoded.frames

    def classify(self, mean: Array) -> Array:
        """A recording's mean latent vector, (..., latent) -> logits, float32 (..., languages)."""
        return self.classifier(ACTIVATIONS[self.activation](mean))
