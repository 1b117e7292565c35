"""Recognition with CTC as a task."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from ml_collections import ConfigDict

from input_pipeline.corpora.storage import Corpus
from input_pipeline.dataset import DataNeeds, corpus_alphabets
from input_pipeline.decode import Batch
from mms_jax.checkpoint import StoredModel
from mms_jax.errors import ConfigError
from mms_jax.models.description import RECOGNIZER, Description
from mms_jax.models.functional import FunctionalModel, Params
from mms_jax.models.layers import compute_dtype
from mms_jax.models.wav2vec2.banks import batch_languages, only_banks, overlaid, put_rows, take_rows
from mms_jax.models.wav2vec2.config import Wav2Vec2Config
from mms_jax.models.wav2vec2.heads import Wav2Vec2ForCTC, restrict_to_language
from mms_jax.models.wav2vec2.masking import Masking
from mms_jax.tasks.asr import config as defaults
from mms_jax.tasks.asr import metrics, scores
from mms_jax.tasks.asr.carry_over import carry_over_symbols
from mms_jax.tasks.asr.loss import ctc_feasible, ctc_loss
from mms_jax.tasks.asr.published import check_published
from mms_jax.tasks.backbone import check_backbone, fine_tuned_geometry, frozen_parts
from mms_jax.tasks.base import CarriedOver, Evaluation, LoadModel, Result, Task, Updated
from mms_jax.tasks.gradient_update import gradient_update
from mms_jax.tasks.weighted import Loss, Weighted
from mms_jax.text.roman_labels import RomanLabels, is_romanized, roman_text
from mms_jax.text.vocabulary import AnyVocabulary, Vocabulary, VocabularyBank, vocabulary_from_json

Array = jax.Array

LONGEST_LETTER = 8  # letters that a character is romanized to, at most: room for the labels of any corpus


def _converted(state: nnx.State, dtype: jnp.dtype) -> nnx.State:
    """The matrices of the encoder's layers in another dtype; they are most of a large model."""

    def convert(path: tuple, variable: nnx.Variable) -> nnx.Variable:
        of_layer = path[:3] == ("backbone", "encoder", "layers") and path[-1] == "kernel"
        return variable.replace(variable[...].astype(dtype)) if of_layer else variable

    return nnx.map_state(convert, state)


@dataclasses.dataclass(frozen=True)
class _Overlaid:
    """A model some of whose parameters are fixed; `bind` takes the others."""

    model: FunctionalModel
    fixed: Params

    def bind(self, params: Params) -> Wav2Vec2ForCTC:
        return self.model.bind(overlaid(self.fixed, params))


class AsrTask(Task):
    """Recognizes the characters of all languages: with one head, restricted to a language's symbols, or a head for each.

    With `config.adapters.width`, every language has an adapter in each layer (MMS's LSAH). A step takes the languages of
    its batch out of the banks, see `mms_jax.models.wav2vec2.banks`: the others, and their moments, stay as they are.
    """

    name = "asr"
    kind = RECOGNIZER
    figures = ("cer", "wer", "macro_cer", "macro_wer")
    older_values = defaults.OLDER_VALUES
    free_keys = ("scoring",)
    default_config = staticmethod(defaults.default_config)
    format_result = staticmethod(scores.format_table)
    write_result = staticmethod(metrics.write_result)

    def __init__(
        self, config: ConfigDict, model: Wav2Vec2Config, vocabulary: AnyVocabulary, labels: RomanLabels | None = None
    ):
        """Stores the settings of the loss.

        Args:
          config: the experiment.
          model: the geometry.
          vocabulary: symbols and languages.
          labels: of romanized transcripts; None where they stay in their scripts.
        """
        self.model, self.vocabulary = model, vocabulary
        self.dtype = compute_dtype(config.compute_dtype)
        self.masking = Masking(**config.masking)
        self.romanized = labels is not None
        self.needs = DataNeeds(tokenizer=labels or vocabulary, waveform_epsilon=model.waveform_epsilon)
        self.adapters_alone = config.adapters.alone
        self.normalization = config.scoring.normalization
        self.frozen = () if self.adapters_alone else frozen_parts(config, model)

    @classmethod
    def check_config(cls, config: ConfigDict) -> None:
        """See Task."""
        check_backbone(config)
        adapters = config.adapters
        for name in ("shared_head", "alone"):
            if adapters[name] and not adapters.width:
                raise ConfigError(f"config.adapters.{name} needs adapters: set config.adapters.width=16, as MMS does")
        scores.normalized([], [], config.scoring.normalization)
        check_published(config.scoring.published)
        if adapters.width and config.labels.romanized:
            raise ConfigError(
                "config.labels.romanized makes one language of all; it takes no adapters: set config.adapters.width=0"
            )
        if adapters.width and config.optimizer.name == "adafactor":
            raise ConfigError(
                "config.optimizer.name='adafactor' keeps sums over all languages, and a step of adapters updates a few; "
                "set config.optimizer.name='adam', with moments='bfloat16' to save memory"
            )
        if adapters.alone and adapters.shared_head:
            raise ConfigError(
                "config.adapters.alone would change the shared head, and with it all languages; give each a head: set "
                "config.adapters.shared_head=False"
            )
        if adapters.alone and not config.init_from:
            raise ConfigError("config.adapters.alone needs a trained model to adapt: name it with config.init_from")
        if adapters.alone and config.optimizer.average:
            raise ConfigError("config.adapters.alone keeps no running average; set config.optimizer.average=0")

    @classmethod
    def from_corpora(cls, config: ConfigDict, corpora: Sequence[Corpus]) -> "AsrTask":
        """See Task. The vocabulary is that of the corpora's transcripts; each language has its own where it has a head."""
        model = fine_tuned_geometry(config)
        alphabets, adapters = corpus_alphabets(corpora), config.adapters
        if config.labels.romanized:
            labels = RomanLabels.from_alphabets(alphabets)
            return cls(config, model, labels.vocabulary, labels)
        if not adapters.width:
            return cls(config, model, Vocabulary.from_alphabets(alphabets))
        model = dataclasses.replace(
            model, adapter_width=adapters.width, adapter_languages=len(alphabets), shared_head=adapters.shared_head
        )
        kind = Vocabulary if adapters.shared_head else VocabularyBank
        return cls(config, model, kind.from_alphabets(alphabets))

    @classmethod
    def from_description(cls, config: ConfigDict, description: Description) -> "AsrTask":
        """See Task."""
        model = Wav2Vec2Config.from_json(description["model"])
        vocabulary = vocabulary_from_json(description["vocabulary"])
        if isinstance(vocabulary, VocabularyBank) and is_romanized(vocabulary):
            return cls(config, model, vocabulary, RomanLabels(vocabulary, LONGEST_LETTER))
        return cls(config, model, vocabulary)

    def build(self, key: Array) -> Wav2Vec2ForCTC:
        """See Task."""
        module = Wav2Vec2ForCTC(self.model, len(self.vocabulary), dtype=self.dtype, rngs=nnx.Rngs(params=key))
        if self.adapters_alone and self.dtype != jnp.float32:
            # Layers convert their matrices to the compute dtype in any case, and these never move: the same numbers in
            # half the memory.
            nnx.update(module, _converted(nnx.state(module, nnx.Param), self.dtype))
        return module

    def trained(self, params: Params) -> Params:
        """See Task: the banks, where nothing else learns."""
        return only_banks(params) if self.adapters_alone else params

    def update(
        self,
        model: FunctionalModel,
        optimizer: optax.GradientTransformation,
        params: Params,
        optimizer_state: optax.OptState,
        batch: Batch,
        key: Array,
        step: Array,
        parts: int = 1,
    ) -> Updated:
        """See Task. Of the banks, only the rows of the batch's languages are differentiated and updated."""
        if not self.model.adapter_languages:
            return gradient_update(self, model, optimizer, params, optimizer_state, batch, key, step, parts)
        rows, places = batch_languages(batch["language"], batch["counted"], self.model.adapter_languages)
        needed = take_rows(params, rows)
        moved, state, figures = gradient_update(
            self,
            _Overlaid(model, needed),
            optimizer,
            self.trained(needed),
            take_rows(optimizer_state, rows),
            {**batch, "bank_row": places},
            key,
            step,
            parts,
        )
        return put_rows(params, rows, overlaid(needed, moved)), put_rows(optimizer_state, rows, state), figures

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
            language=batch.get("bank_row", batch["language"]),
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
        """See Task: error rates of greedy transcripts, see `scores.error_rates`, and "undecodable" utterances."""
        spelling = roman_text if self.romanized else None
        return metrics.make_evaluation(model, self.vocabulary, gathered, self.normalization, spelling)

    def score_checkpoint(
        self, config: ConfigDict, stored: StoredModel, corpora: Sequence[Corpus], load: LoadModel
    ) -> Result:
        """See Task: the name of the published figures to print beside these."""
        del stored, load
        check_published(config.scoring.published, [corpus.name for corpus in corpora])
        return {"published": config.scoring.published} if config.scoring.published else {}

    def carry_over(self, params: Params, stored: StoredModel) -> CarriedOver:
        """See Task. Head and adapters of a recognizer are rearranged for this vocabulary and these languages."""
        if stored.description["kind"] != RECOGNIZER:
            return CarriedOver(stored.params)
        theirs = vocabulary_from_json(stored.description["vocabulary"])
        return carry_over_symbols(params, self.vocabulary, stored.params, theirs)
