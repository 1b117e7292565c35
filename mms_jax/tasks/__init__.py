"""Tasks: what a batch is turned into. Each folder has loss.py, step.py and metrics.py.

Pretraining and recognition are not merged: they share the backbone, which lives in `models`, and nothing else.
"""

from typing import Any

import jax.numpy as jnp
from ml_collections import ConfigDict

from mms_jax.models.wav2vec2.config import Wav2Vec2Config, geometry
from mms_jax.tasks.asr.step import AsrTask
from mms_jax.tasks.pretrain.step import PretrainTask
from mms_jax.text.vocabulary import AnyVocabulary, vocabulary_from_json

Task = AsrTask | PretrainTask


def model_config(config: ConfigDict) -> Wav2Vec2Config:
    """The geometry that `config.model` describes."""
    changes = {name: value for name, value in config.model.items() if name != "geometry"}
    return geometry(config.model.geometry, **changes)


def make_task(config: ConfigDict, vocabulary: AnyVocabulary | None, model: Wav2Vec2Config | None = None) -> Task:
    """The task of an experiment.

    Args:
      config: the experiment.
      vocabulary: of the recogniser; None for pretraining.
      model: of an existing checkpoint; None for what the config says.

    Raises:
      ValueError: no such task or compute dtype.
    """
    if config.compute_dtype not in ("float32", "bfloat16"):
        raise ValueError(f"config.compute_dtype={config.compute_dtype!r}; choose float32 or bfloat16")
    dtype = jnp.dtype(config.compute_dtype)
    model = model or model_config(config)
    if config.task == "pretrain":
        return PretrainTask(model, config, dtype)
    if config.task == "asr":
        assert vocabulary is not None
        return AsrTask(model, config, dtype, vocabulary)
    raise ValueError(f"config.task={config.task!r}; choose pretrain or asr")


def stored_vocabulary(description: dict[str, Any]) -> AnyVocabulary | None:
    """The vocabulary in a checkpoint's description, or None where its task has none."""
    return vocabulary_from_json(description["vocabulary"]) if "vocabulary" in description else None
