"""wav2vec 2.0 pretraining as a task: which module, which loss."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from mms_jax.audio.waveform import NORM_EPSILON
from mms_jax.models.layers import length_mask
from mms_jax.models.wav2vec2.config import Wav2Vec2Config
from mms_jax.models.wav2vec2.heads import Wav2Vec2ForPretraining
from mms_jax.models.wav2vec2.masking import Masking
from mms_jax.models.wav2vec2.quantizer import gumbel_temperature
from mms_jax.tasks.descent import descend
from mms_jax.tasks.pretrain import loss as losses
from mms_jax.tasks.sums import Loss, Weighted

Array = jax.Array


class PretrainTask:
    """Contrastive prediction of masked frames."""

    name = "pretrain"
    parts = ()  # one optimizer moves all
    vocabulary = None
    waveform_epsilon = NORM_EPSILON
    update = descend

    def __init__(self, model: Wav2Vec2Config, config: ConfigDict, dtype: jnp.dtype):
        """Keeps what the loss needs.

        Args:
          model: the geometry.
          config: the experiment.
          dtype: in which the backbone computes.
        """
        self.model = model
        self.dtype = dtype
        self.masking = Masking(**config.masking)
        self.settings = config.pretrain.to_dict()

    def build(self, key: Array) -> Wav2Vec2ForPretraining:
        """A fresh module."""
        return Wav2Vec2ForPretraining(self.model, dtype=self.dtype, rngs=nnx.Rngs(params=key))

    def describe(self) -> dict[str, Any]:
        """What a checkpoint says of its model."""
        return {"task": self.name, "model": self.model.to_json()}

    def loss(
        self, module: Wav2Vec2ForPretraining, batch: dict[str, Array], key: Array, step: Array, *, train: bool = True
    ) -> Loss:
        """InfoNCE + weighted diversity + weighted feature penalty, each a mean over masked (or real) frames.

        Args:
          module: from `build`.
          batch: waveforms (rows, samples) and lengths (rows,).
          key: randomness of this step.
          step: int, for the temperature of the Gumbel softmax.
          train: False for evaluation: no noise, no dropout, but masked all the same.
        """
        s = self.settings
        forward_key, negative_key = jax.random.split(key)
        temperature = gumbel_temperature(step, s["gumbel_start"], s["gumbel_end"], s["gumbel_decay"])
        out = module(
            batch["waveforms"],
            batch["lengths"],
            masking=self.masking,
            key=forward_key,
            temperature=temperature,
            train=train,
        )
        negatives = losses.sample_negatives(negative_key, out.valid, s["negatives"])
        codes = out.quantized.codes
        contrastive, accuracy = losses.contrastive_loss(
            out.predicted, out.target, codes, negatives, out.valid, s["temperature"]
        )
        diversity = losses.diversity_loss(out.quantized.logits, out.valid)
        frames = length_mask(out.encoded.frames, out.encoded.masked.shape[1])
        penalty = losses.feature_penalty(out.encoded.extracted, frames)
        extra = s["diversity_weight"] * diversity.mean() + s["penalty_weight"] * penalty.mean()
        total = Weighted(contrastive.sum + extra * contrastive.weight, contrastive.weight)
        perplexity = losses.code_perplexity(out.quantized.logits, out.valid)
        return Loss(
            total,
            {
                "contrastive": contrastive,
                "accuracy": accuracy,
                "diversity": diversity,
                "feature_penalty": penalty,
                "code_perplexity": Weighted(perplexity, jnp.ones(())),
            },
        )
