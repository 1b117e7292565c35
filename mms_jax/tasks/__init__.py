"""Tasks: what a batch is turned into. Each folder has loss.py, step.py and metrics.py.

They are not merged: pretraining and recognition share the backbone, which lives in `models`, and a voice shares nothing
with either.
"""

from typing import Any

import jax.numpy as jnp
from ml_collections import ConfigDict

from mms_jax.models.vits.config import VitsConfig
from mms_jax.models.vits.config import geometry as voice_geometry
from mms_jax.models.wav2vec2.config import Wav2Vec2Config, geometry
from mms_jax.tasks.asr.step import AsrTask
from mms_jax.tasks.pretrain.step import PretrainTask
from mms_jax.tasks.tts.step import TtsTask
from mms_jax.text.vocabulary import vocabulary_from_json
from mms_jax.text.voice_text import Labels, VoiceText

Task = AsrTask | PretrainTask | TtsTask
AnyConfig = Wav2Vec2Config | VitsConfig
TASKS = ("pretrain", "asr", "tts")


def model_config(config: ConfigDict, vocabulary: Labels | None) -> AnyConfig:
    """The geometry that `config.model`, or for voices `config.tts`, describes."""
    if isinstance(vocabulary, VoiceText):
        return voice_geometry(config.tts.geometry, vocabulary=len(vocabulary))
    changes = {name: value for name, value in config.model.items() if name != "geometry"}
    return geometry(config.model.geometry, **changes)


def make_task(config: ConfigDict, vocabulary: Labels | None, model: AnyConfig | None = None) -> Task:
    """The task of an experiment.

    Args:
      config: the experiment.
      vocabulary: of the recogniser or the voice; None for pretraining.
      model: of an existing checkpoint; None for what the config says.

    Raises:
      ValueError: no such task or compute dtype.
    """
    if config.task not in TASKS:
        raise ValueError(f"config.task={config.task!r}; choose one of {', '.join(TASKS)}")
    if config.compute_dtype not in ("float32", "bfloat16"):
        raise ValueError(f"config.compute_dtype={config.compute_dtype!r}; choose float32 or bfloat16")
    dtype = jnp.dtype(config.compute_dtype)
    model = model or model_config(config, vocabulary)
    if isinstance(model, VitsConfig):
        assert isinstance(vocabulary, VoiceText)
        return TtsTask(model, config, dtype, vocabulary)
    if config.task == "pretrain":
        return PretrainTask(model, config, dtype)
    assert vocabulary is not None and not isinstance(vocabulary, VoiceText)
    return AsrTask(model, config, dtype, vocabulary)


def stored_task(config: ConfigDict, description: dict[str, Any]) -> Task:
    """The task of a checkpoint, with the model and vocabulary that it describes; for the rest see `make_task`."""
    fields = description["model"]
    if description["task"] == "tts":
        return make_task(config, VoiceText.from_json(description["text"]), VitsConfig.from_json(fields))
    vocabulary = vocabulary_from_json(description["vocabulary"]) if "vocabulary" in description else None
    return make_task(config, vocabulary, Wav2Vec2Config.from_json(fields))
