"""The keys of every task that trains a wav2vec 2.0 backbone: `config.model` and `config.masking`."""

import dataclasses
from collections.abc import Sequence

from ml_collections import ConfigDict

from input_pipeline.corpora.storage import Corpus
from mms_jax.audio.waveform import SAMPLE_RATE
from mms_jax.errors import CorpusError
from mms_jax.models.layers import compute_dtype
from mms_jax.models.wav2vec2.config import Wav2Vec2Config, geometry
from mms_jax.models.wav2vec2.masking import Masking

# Fields of Wav2Vec2Config that regularize training, or trade time for memory; the others are the geometry's.
_TRAINING_FIELDS = (
    "dropout", "input_dropout", "attention_dropout", "activation_dropout", "feature_dropout", "layerdrop",
    "feature_gradient_scale", "remat",
)  # fmt: skip


MOST_FROZEN_UPDATES = 10_000


def backbone_config() -> ConfigDict:
    """Defaults: those of Wav2Vec2Config and of Masking."""
    config = ConfigDict()
    config.model = ConfigDict({"geometry": "tiny"})
    defaults = {field.name: field.default for field in dataclasses.fields(Wav2Vec2Config)}
    for name in _TRAINING_FIELDS:
        config.model[name] = defaults[name]
    config.masking = ConfigDict(dataclasses.asdict(Masking()))
    return config


def fine_tuning_config(freeze_backbone: float) -> ConfigDict:
    """The keys of runs that start from another model, see `config.init_from`."""
    config = ConfigDict()
    config.freeze_extractor = True  # for the whole run
    # Share of the updates in which only the head learns, at most 10,000 updates: fairseq's number.
    config.freeze_backbone = freeze_backbone
    return config


def fine_tuned_geometry(config: ConfigDict) -> Wav2Vec2Config:
    """The geometry of `config.model`; the extractor has no gradient where `config.fine_tuning` says so."""
    model = backbone_geometry(config)
    if config.init_from and config.fine_tuning.freeze_extractor:
        return dataclasses.replace(model, feature_gradient_scale=0.0)
    return model


def frozen_parts(config: ConfigDict, model: Wav2Vec2Config) -> tuple[str, ...]:
    """The entries of `Task.frozen` for a run with `config.fine_tuning`."""
    updates = min(MOST_FROZEN_UPDATES, round(config.fine_tuning.freeze_backbone * config.total_steps))
    return frozen_extractor(model) + ((f"backbone:{updates}",) if config.init_from and updates else ())


def frozen_extractor(model: Wav2Vec2Config) -> tuple[str, ...]:
    """The entries of `Task.frozen` for a backbone whose extractor has no gradient: weight decay leaves it alone, too."""
    return ("backbone/extractor:-1",) if model.feature_gradient_scale == 0.0 else ()


def check_backbone(config: ConfigDict) -> None:
    """`Task.check_config` of these tasks. Raises ConfigError for an impossible geometry or dtype."""
    compute_dtype(config.compute_dtype)
    backbone_geometry(config)


def check_maskable(config: ConfigDict, corpora: Sequence[Corpus], model: Wav2Vec2Config) -> None:
    """Raises CorpusError where no recording is longer than a mask: nothing would be predicted, and nothing learned."""
    longest = max(float(corpus.index.seconds.max()) for corpus in corpora)
    cropped = min(longest, max(config.input.bucket_seconds))
    if model.frames(int(cropped * SAMPLE_RATE)) <= config.masking.time_length:
        raise CorpusError(
            f"no recording is longer than a mask of config.masking.time_length={config.masking.time_length} frames "
            f"({config.masking.time_length * model.stride / SAMPLE_RATE:.2f} s); the longest lasts {cropped:.2f} s. Join "
            "recordings to longer ones, or lower config.masking.time_length"
        )


def backbone_geometry(config: ConfigDict) -> Wav2Vec2Config:
    """The geometry that `config.model` names, with its changes.

    Raises:
      ConfigError: no such geometry, or an impossible value.
    """
    changes = {name: value for name, value in config.model.items() if name != "geometry"}
    return geometry(config.model.geometry, **changes)
