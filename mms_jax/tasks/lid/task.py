"""Identification of the spoken language as a task (Pratap et al. 2023, section 5.4)."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from input_pipeline.corpora.storage import Corpus
from input_pipeline.dataset import DataNeeds, language_hours
from input_pipeline.decode import Batch
from mms_jax import sharding
from mms_jax.checkpoint import StoredModel
from mms_jax.errors import ConfigError, CorpusError
from mms_jax.models.description import IDENTIFIER, Description
from mms_jax.models.functional import FunctionalModel, Params
from mms_jax.models.layers import compute_dtype
from mms_jax.models.wav2vec2.config import Wav2Vec2Config
from mms_jax.models.wav2vec2.heads import ACTIVATIONS, Wav2Vec2ForIdentification
from mms_jax.models.wav2vec2.masking import Masking
from mms_jax.tasks.backbone import check_backbone, fine_tuned_geometry, frozen_parts
from mms_jax.tasks.base import CarriedOver, Evaluation, Task
from mms_jax.tasks.gradient_update import gradient_update
from mms_jax.tasks.lid import config as defaults
from mms_jax.tasks.lid import metrics
from mms_jax.tasks.lid.loss import language_loss
from mms_jax.tasks.weighted import Loss
from mms_jax.text.language_list import LanguageList, spoken_language

Array = jax.Array

CLASSIFIER = "classifier"


class LidTask(Task):
    """Names the language of a recording: projection of the context, mean over frames, classifier."""

    name = "lid"
    kind = IDENTIFIER
    figures = metrics.FIGURES
    default_config = staticmethod(defaults.default_config)
    format_result = staticmethod(metrics.format_table)
    write_result = staticmethod(metrics.write_result)
    update = gradient_update

    def __init__(
        self,
        config: ConfigDict,
        model: Wav2Vec2Config,
        languages: Sequence[str],
        latent: int,
        activation: str,
        calibration: dict[str, Any] | None = None,
    ):
        """Stores the settings of the loss.

        Args:
          config: the experiment.
          model: the geometry.
          languages: in the order of the scores.
          latent, activation: see Wav2Vec2ForIdentification.
          calibration: of a best checkpoint, "temperature" and "threshold" on its dev corpora.
        """
        self.model, self.languages = model, LanguageList(tuple(languages))
        self.latent, self.activation, self.calibration = latent, activation, calibration
        self.dtype = compute_dtype(config.compute_dtype)
        self.masking = Masking(**config.masking)
        self.needs = DataNeeds(
            tokenizer=self.languages, transcripts=False, crop=True, waveform_epsilon=model.waveform_epsilon
        )
        self.frozen = frozen_parts(config, model)

    @classmethod
    def check_config(cls, config: ConfigDict) -> None:
        """See Task."""
        check_backbone(config)
        if config.lid.activation not in ACTIVATIONS:
            raise ConfigError(f"config.lid.activation={config.lid.activation!r}; choose {', '.join(ACTIVATIONS)}")

    @classmethod
    def from_corpora(cls, config: ConfigDict, corpora: Sequence[Corpus]) -> "LidTask":
        """See Task. The languages are those of the corpora; scripts of a language are one."""
        languages = sorted({spoken_language(language) for language in language_hours(corpora)})
        if len(languages) < 2:
            raise CorpusError(
                f"the corpora hold one language, {' '.join(languages)}; an identifier needs two or more to tell apart"
            )
        return cls(config, fine_tuned_geometry(config), languages, config.lid.latent, config.lid.activation)

    @classmethod
    def from_description(cls, config: ConfigDict, description: Description) -> "LidTask":
        """See Task."""
        chosen = description.get("chosen")
        calibration = {name: chosen[name] for name in ("temperature", "threshold")} if chosen else None
        return cls(
            config, Wav2Vec2Config.from_json(description["model"]), description["languages"], description["latent"],
            description["activation"], calibration,
        )  # fmt: skip

    def build(self, key: Array) -> Wav2Vec2ForIdentification:
        """See Task."""
        return Wav2Vec2ForIdentification(
            self.model, self.latent, len(self.languages.languages), activation=self.activation, dtype=self.dtype,
            rngs=nnx.Rngs(params=key),
        )  # fmt: skip

    def describe(self) -> Description:
        """See Task."""
        return {
            "kind": self.kind,
            "model": self.model.to_json(),
            "languages": list(self.languages.languages),
            "latent": self.latent,
            "activation": self.activation,
        }

    def loss(
        self, module: Wav2Vec2ForIdentification, batch: Batch, key: Array, step: Array, *, train: bool = True
    ) -> Loss:
        """Cross-entropy, a mean over recordings; see `language_loss`.

        Args:
          module: from `build`.
          batch: with waveforms, lengths, language, counted.
          key: randomness of this step.
          step: unused.
          train: False for evaluation: no masking, no dropout.
        """
        del step
        logits = module(batch["waveforms"], batch["lengths"], masking=self.masking, key=key if train else None)
        return language_loss(logits, batch["language"], batch["counted"])

    def make_evaluation(self, model: FunctionalModel, gathered: jax.sharding.Sharding) -> Evaluation:
        """See Task; the figures of `identification_scores`."""
        return metrics.make_evaluation(model, self.languages, gathered, self.calibration)

    def carry_over(self, params: Params, stored: StoredModel) -> CarriedOver:
        """See Task. Of another identifier, the classifier's columns are taken for the languages that both know."""
        if stored.description["kind"] != IDENTIFIER:
            return CarriedOver(stored.params)
        theirs = list(stored.description["languages"])
        kernel, bias = (np.array(sharding.to_host(params[CLASSIFIER][name])) for name in ("kernel", "bias"))
        if stored.description["latent"] != self.latent:
            raise ConfigError(
                f"config.lid.latent={self.latent}, and the identifier to start from has {stored.description['latent']}; set "
                "it to that"
            )
        shared = [language for language in self.languages.languages if language in theirs]
        for language in shared:
            ours, other = self.languages.language_index(language), theirs.index(language)
            kernel[:, ours] = stored.params[CLASSIFIER]["kernel"][:, other]
            bias[ours] = stored.params[CLASSIFIER]["bias"][other]
        note = f"{len(shared)} of {len(self.languages.languages)} languages taken"
        carried = {**stored.params, CLASSIFIER: {"kernel": kernel, "bias": bias}}
        return CarriedOver(carried, {CLASSIFIER: note})
