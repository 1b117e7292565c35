"""The keys of every task that trains a wav2vec 2.0 backbone: `config.model` and `config.masking`."""

import dataclasses

from ml_collections import ConfigDict

from mms_jax.models.wav2vec2.config import Wav2Vec2Config, geometry
from mms_jax.models.wav2vec2.masking import Masking

# Fields of Wav2Vec2Config that regularize training, or trade time for memory; the others are the geometry's.
_TRAINING_FIELDS = (
    "dropout", "activation_dropout", "feature_dropout", "layerdrop", "feature_gradient_scale", "remat",
)  # fmt: skip


def backbone_config() -> ConfigDict:
    """Defaults: those of Wav2Vec2Config and of Masking."""
    config = ConfigDict()
    config.model = ConfigDict({"geometry": "tiny"})
    defaults = {field.name: field.default for field in dataclasses.fields(Wav2Vec2Config)}
    for name in _TRAINING_FIELDS:
        config.model[name] = defaults[name]
    config.masking = ConfigDict(dataclasses.asdict(Masking()))
    return config


def backbone_geometry(config: ConfigDict) -> Wav2Vec2Config:
    """The geometry that `config.model` names, with its changes.

    Raises:
      ConfigError: no such geometry, or an impossible value.
    """
    changes = {name: value for name, value in config.model.items() if name != "geometry"}
    return geometry(config.model.geometry, **changes)
