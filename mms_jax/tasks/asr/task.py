"""Recognition with CTC as a task."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from input_pipeline.corpora.storage import Corpus
from input_pipeline.dataset import DataNeeds, corpus_alphabets
from input_pipeline.decode import Batch
from mms_jax.checkpoint import StoredModel
from mms_jax.models.description import RECOGNIZER, Description
from mms_jax.models.functional import FunctionalModel, Params
from mms_jax.models.layers import compute_dtype
from mms_jax.models.wav2vec2.config import Wav2Vec2Config
from mms_jax.models.wav2vec2.heads import Wav2Vec2ForCTC, restrict_to_language
from mms_jax.models.wav2vec2.masking import Masking
from mms_jax.tasks.asr import config as defaults
from mms_jax.tasks.asr import metrics
from mms_jax.tasks.asr.carry_over import carry_over_symbols
from mms_jax.tasks.asr.loss import ctc_feasible, ctc_loss
from mms_jax.tasks.backbone import backbone_geometry, check_backbone, frozen_extractor
from mms_jax.tasks.base import CarriedOver, Evaluation, Task
from mms_jax.tasks.gradient_update import gradient_update
from mms_jax.tasks.weighted import Loss, Weighted
from mms_jax.text.vocabulary import AnyVocabulary, Vocabulary, vocabulary_from_json

Array = jax.Array

MOST_FROZEN_UPDATES = 10_000


class AsrTask(Task):
    """Recognizes the characters of all languages with one head; each language is restricted to its own symbols."""

    name = "asr"
    kind = RECOGNIZER
    figures = ("cer", "wer")
    older_values = defaults.OLDER_VALUES
    default_config = staticmethod(defaults.default_config)
    check_config = staticmethod(check_backbone)
    format_result = staticmethod(metrics.format_table)
    update = gradient_update

    def __init__(self, config: ConfigDict, model: Wav2Vec2Config, vocabulary: AnyVocabulary):
        """Stores the settings of the loss.

        Args:
          config: the experiment.
          model: the geometry.
          vocabulary: symbols and languages.
        """
        self.model, self.vocabulary = model, vocabulary
        self.dtype = compute_dtype(config.compute_dtype)
        self.masking = Masking(**config.masking)
        self.needs = DataNeeds(tokenizer=vocabulary, waveform_epsilon=model.waveform_epsilon)
        self.frozen = frozen_extractor(model)
        updates = min(MOST_FROZEN_UPDATES, round(config.fine_tuning.freeze_backbone * config.total_steps))
        if config.init_from and updates:
            self.frozen += (f"backbone:{updates}",)

    @classmethod
    def from_corpora(cls, config: ConfigDict, corpora: Sequence[Corpus]) -> "AsrTask":
        """See Task. The vocabulary is that of the corpora's transcripts."""
        model = backbone_geometry(config)
        if config.init_from and config.fine_tuning.freeze_extractor:
            model = dataclasses.replace(model, feature_gradient_scale=0.0)
        return cls(config, model, Vocabulary.from_alphabets(corpus_alphabets(corpora)))

    @classmethod
    def from_description(cls, config: ConfigDict, description: Description) -> "AsrTask":
        """See Task."""
        model = Wav2Vec2Config.from_json(description["model"])
        return cls(config, model, vocabulary_from_json(description["vocabulary"]))

    def build(self, key: Array) -> Wav2Vec2ForCTC:
        """See Task."""
        return Wav2Vec2ForCTC(self.model, len(self.vocabulary), dtype=self.dtype, rngs=nnx.Rngs(params=key))

    def describe(self) -> Description:
        """See Task."""
        return {"kind": self.kind, "model": self.model.to_json(), "vocabulary": self.vocabulary.to_json()}

    def loss(self, module: Wav2Vec2ForCTC, batch: Batch, key: Array, step: Array, *, train: bool = True) -> Loss:
        """The CTC loss, a mean over utterances (fairseq's `sentence_avg`).

        Args:
          module: from `build`.
          batch: with waveforms, lengths, labels, label_lengths, language, counted.
          key: randomness of this step.
          step: unused.
          train: False for evaluation: no masking, no dropout.
        """
        del step
        logits, frames = module(
            batch["waveforms"],
            batch["lengths"],
            language=batch["language"],
            masking=self.masking,
            key=key if train else None,
        )
        logits = restrict_to_language(logits, batch["language"], self.vocabulary.allowed)
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

    def make_evaluation(self, model: FunctionalModel, gathered: jax.sharding.Sharding) -> Evaluation:
        """See Task: error rates of greedy transcripts, see `metrics.error_rates`, and "undecodable" utterances."""
        return metrics.make_evaluation(model, self.vocabulary, gathered)

    def carry_over(self, params: Params, stored: StoredModel) -> CarriedOver:
        """See Task. Head and adapters of a recognizer are rearranged for this vocabulary and these languages."""
        if stored.description["kind"] != RECOGNIZER:
            return CarriedOver(stored.params)
        theirs = vocabulary_from_json(stored.description["vocabulary"])
        return carry_over_symbols(params, self.vocabulary, stored.params, theirs)
