"""Recognition with CTC as a task: which module, which loss."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from mms_jax.audio.waveform import NORM_EPSILON
from mms_jax.models.wav2vec2.config import Wav2Vec2Config
from mms_jax.models.wav2vec2.heads import Wav2Vec2ForCTC
from mms_jax.models.wav2vec2.masking import Masking
from mms_jax.tasks.asr.loss import ctc_feasible, ctc_loss
from mms_jax.tasks.descent import descend
from mms_jax.tasks.sums import Loss, Weighted
from mms_jax.text.vocabulary import AnyVocabulary

Array = jax.Array

NEVER = -1e9  # the logit of a symbol that the language does not write


class AsrTask:
    """Characters of all languages from one head; each language sees only the symbols it writes."""

    name = "asr"
    parts = ()  # one optimizer moves all
    waveform_epsilon = NORM_EPSILON
    update = descend

    def __init__(self, model: Wav2Vec2Config, config: ConfigDict, dtype: jnp.dtype, vocabulary: AnyVocabulary):
        """Keeps what the loss needs.

        Args:
          model: the geometry.
          config: the experiment.
          dtype: in which the backbone computes.
          vocabulary: symbols and languages.
        """
        self.model = model
        self.dtype = dtype
        self.masking = Masking(**config.masking)
        self.vocabulary = vocabulary

    def build(self, key: Array) -> Wav2Vec2ForCTC:
        """A fresh module."""
        return Wav2Vec2ForCTC(self.model, len(self.vocabulary), dtype=self.dtype, rngs=nnx.Rngs(params=key))

    def describe(self) -> dict[str, Any]:
        """What a checkpoint says of its model."""
        return {"task": self.name, "model": self.model.to_json(), "vocabulary": self.vocabulary.to_json()}

    def loss(
        self, module: Wav2Vec2ForCTC, batch: dict[str, Array], key: Array, step: Array, *, train: bool = True
    ) -> Loss:
        """CTC, a mean over utterances (fairseq's `sentence_avg`).

        Args:
          module: from `build`.
          batch: waveforms, lengths, labels, label_lengths, language, counted; see `input_pipeline.decode`.
          key: randomness of this step.
          step: unused.
          train: False for evaluation: nothing masked or dropped.
        """
        del step
        logits, frames = module(
            batch["waveforms"],
            batch["lengths"],
            language=batch["language"],
            masking=self.masking,
            key=key if train else None,
        )
        logits = restrict_to_language(logits, batch["language"], self.vocabulary)
        labels, lengths, counted = batch["labels"], batch["label_lengths"], batch["counted"]
        total = ctc_loss(logits, frames, labels, lengths, counted)
        present = jnp.sum(counted).astype(jnp.float32)
        infeasible = jnp.sum(counted & ~ctc_feasible(frames, labels, lengths)).astype(jnp.float32)
        feasible_labels = jnp.sum(jnp.where(counted & ctc_feasible(frames, labels, lengths), lengths, 0))
        return Loss(
            total,
            {
                "loss_per_character": Weighted(total.sum, feasible_labels.astype(jnp.float32)),
                "infeasible": Weighted(infeasible, present),
            },
        )


def restrict_to_language(logits: Array, language: Array, vocabulary: AnyVocabulary) -> Array:
    """Takes the symbols that a row's language does not write out of the race.

    Args:
      logits: (batch, frames, vocabulary).
      language: int (batch,), positions in `vocabulary.languages`.
      vocabulary: symbols and languages.
    """
    allowed = jnp.asarray(vocabulary.allowed)[language]
    return jnp.where(allowed[:, None, :], logits, NEVER)
