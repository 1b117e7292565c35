"""VITS as a task: a voice is trained against discriminators, each with its own optimizer, in one step."""

from collections.abc import Callable, Sequence

import jax
import numpy as np
from absl import logging
from flax import nnx
from ml_collections import ConfigDict

from input_pipeline.corpora.storage import Corpus
from input_pipeline.dataset import DataNeeds, corpus_alphabets, corpus_speakers
from input_pipeline.decode import Batch
from mms_jax import sharding
from mms_jax.audio.waveform import SAMPLE_RATE
from mms_jax.checkpoint import StoredModel
from mms_jax.errors import ConfigError, CorpusError
from mms_jax.models.description import VOICE as VOICE_KIND
from mms_jax.models.description import Description
from mms_jax.models.functional import FunctionalModel, Params
from mms_jax.models.layers import compute_dtype
from mms_jax.models.vits.config import VitsConfig, geometry
from mms_jax.models.vits.model import AdversarialVits
from mms_jax.tasks.base import CarriedOver, Evaluation, Examples, LoadModel, Result, Task
from mms_jax.tasks.tts import config as defaults
from mms_jax.tasks.tts import metrics, scoring
from mms_jax.tasks.tts.adversarial import DISCRIMINATORS, VOICE
from mms_jax.tasks.tts.step import adversarial_step
from mms_jax.text.voice_tokenizer import VoiceTokenizer, known_rows

Array = jax.Array


class TtsTask(Task):
    """A voice, of one speaker or of several, from recordings and transcripts."""

    name = "tts"
    kind = VOICE_KIND
    renamed_keys = defaults.RENAMED_KEYS
    free_keys = defaults.FREE_KEYS
    figures = ("mel", "kl", "duration")
    parts = (VOICE, DISCRIMINATORS)
    update = adversarial_step
    default_config = staticmethod(defaults.default_config)
    format_result = staticmethod(metrics.format_table)

    def __init__(self, config: ConfigDict, model: VitsConfig, tokenizer: VoiceTokenizer, speakers: Sequence[str] = ()):
        """Stores the settings of the losses.

        Args:
          config: the experiment.
          model: the geometry.
          tokenizer: symbols of the voice.
          speakers: names by number, of a voice with several.

        Raises:
          ConfigError: recordings may be too short for a segment, or have another rate than the voice.
        """
        settings = config.tts
        if config.input.min_seconds * SAMPLE_RATE < settings.segment + model.hop:
            raise ConfigError(
                f"config.input.min_seconds={config.input.min_seconds} admits recordings shorter than the segments of "
                f"config.tts.segment={settings.segment} samples; raise it to {settings.segment / SAMPLE_RATE + 0.02:.2f}"
            )
        if settings.segment % model.hop or settings.segment <= model.fft // 2:
            raise ConfigError(
                f"config.tts.segment={settings.segment} must be a multiple of {model.hop} samples, and more than "
                f"{model.fft // 2}"
            )
        if model.rate != SAMPLE_RATE:
            raise ConfigError(f"this voice speaks at {model.rate} Hz, and corpora are stored at {SAMPLE_RATE}")
        self.model, self.tokenizer = model, tokenizer
        self.dtype = compute_dtype(config.compute_dtype)
        self.segment, self.mel_weight, self.kl_weight = settings.segment, settings.mel_weight, settings.kl_weight
        self.diagonal_prior_steps = settings.diagonal_prior_steps
        self.discriminator_start_step = settings.discriminator_start_step
        # Waveforms stay as they were recorded: the voice is to be as loud as its recordings.
        self.needs = DataNeeds(tokenizer=tokenizer, waveform_epsilon=None, speakers=tuple(speakers))

    @classmethod
    def check_config(cls, config: ConfigDict) -> None:
        """See Task."""
        compute_dtype(config.compute_dtype)
        geometry(config.model.geometry)

    @classmethod
    def from_corpora(cls, config: ConfigDict, corpora: Sequence[Corpus]) -> "TtsTask":
        """See Task. The symbols are those of the corpora's transcripts, which are in one language.

        Several speakers get embeddings, which condition all but the text encoder (Kim et al. 2021, section 2.5).
        """
        alphabets = corpus_alphabets(corpora)
        if len(alphabets) != 1:
            raise CorpusError(
                f"config.input.corpora: a voice speaks one language, these hold {', '.join(alphabets)}; choose one "
                "recording with python -m input_pipeline.prepare voice"
            )
        [(language, characters)] = alphabets.items()
        tokenizer = VoiceTokenizer.from_characters(characters, language, uroman=config.tts.uroman)
        speakers = corpus_speakers(corpora)
        if len(speakers) == 1:
            return cls(config, geometry(config.model.geometry, vocabulary=len(tokenizer)), tokenizer)
        logging.info("%d speakers: %s", len(speakers), ", ".join(speakers))
        width = config.tts.speaker_width
        model = geometry(config.model.geometry, vocabulary=len(tokenizer), speakers=len(speakers), speaker_width=width)
        return cls(config, model, tokenizer, speakers)

    @classmethod
    def from_description(cls, config: ConfigDict, description: Description) -> "TtsTask":
        """See Task."""
        tokenizer = VoiceTokenizer.from_json(description["text"])
        model = VitsConfig.from_json(description["model"])
        numbers = [str(number) for number in range(model.speakers)] if model.speakers > 1 else []
        return cls(config, model, tokenizer, description.get("speakers", numbers))

    def build(self, key: Array) -> AdversarialVits:
        """See Task."""
        return AdversarialVits(self.model, dtype=self.dtype, rngs=nnx.Rngs(params=key))

    def describe(self) -> Description:
        """See Task."""
        named: Description = {"kind": self.kind, "model": self.model.to_json(), "text": self.tokenizer.to_json()}
        if self.needs.speakers:
            named["speakers"] = list(self.needs.speakers)
        return named

    def make_evaluation(self, model: FunctionalModel, gathered: jax.sharding.Sharding) -> Evaluation:
        """See Task: the losses of the voice, see `metrics.make_evaluation`."""
        return metrics.make_evaluation(self.model, self.segment, model, gathered)

    def make_examples(
        self, model: FunctionalModel, gathered: jax.sharding.Sharding
    ) -> Callable[[Params, Batch], Examples]:
        """See Task: synthesized and recorded speech, their spectrograms, and alignments."""
        return metrics.make_examples(self.model, self.segment, model, gathered)

    def score_checkpoint(
        self, config: ConfigDict, stored: StoredModel, corpora: Sequence[Corpus], load: LoadModel
    ) -> Result:
        """See Task: distances of synthesized speech from recordings, see `scoring.score_voice`."""
        records = [record for corpus in corpora for record in corpus.source]
        return scoring.score_voice(load(stored), records, config.tts.recognizer, load)

    def carry_over(self, params: Params, stored: StoredModel) -> CarriedOver:
        """See Task. Embeddings of a voice's symbols are rearranged for this voice's."""
        if stored.description["kind"] != self.kind:
            return CarriedOver(stored.params)
        tokens = stored.description["text"]["tokens"]
        rows = known_rows(self.tokenizer.tokens, tokens)
        fresh = params[VOICE]["text_encoder"]["embedding"]
        theirs = stored.params[VOICE]
        old = np.asarray(theirs["text_encoder"]["embedding"])
        embedding = np.array(sharding.to_host(fresh))
        if embedding.shape[1:] == old.shape[1:]:  # another width is rejected later, by name
            for new, row in rows:
                embedding[new] = old[row]
        theirs = theirs | {"text_encoder": theirs["text_encoder"] | {"embedding": embedding}}
        speaker_note = {}
        if self.needs.speakers and "speakers" in theirs:
            known = stored.description.get("speakers", [])
            mine, old = np.array(sharding.to_host(params[VOICE]["speakers"])), np.asarray(theirs["speakers"])
            if mine.shape[1:] == old.shape[1:]:
                taken = [name for name in self.needs.speakers if name in known]
                for name in taken:
                    mine[self.needs.speakers.index(name)] = old[known.index(name)]
                theirs = theirs | {"speakers": mine}
                speaker_note = {"speakers": f"embeddings taken: {', '.join(taken) or 'none'}"}
        unknown = [token for token in self.tokenizer.tokens[1:] if token not in tokens]
        left = [token for token in tokens[1:] if token not in self.tokenizer.tokens]
        notes = speaker_note | {
            VOICE: f"{len(rows)} of {len(self.tokenizer)} symbols taken; fresh: {' '.join(unknown) or 'none'}; "
            f"left: {' '.join(left) or 'none'}"
        }
        if DISCRIMINATORS not in stored.params:
            notes[DISCRIMINATORS] = "the model has none: the voice degrades until they are trained"
        return CarriedOver(stored.params | {VOICE: theirs}, notes)
