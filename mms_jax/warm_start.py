"""Runs that begin with what another model has learnt: a recogniser with a backbone, a voice with a voice."""

from typing import Any

import jax
import numpy as np
from absl import logging

from mms_jax.checkpoint import StoredModel, load_model
from mms_jax.errors import TrainingError
from mms_jax.loading import find_model
from mms_jax.models.functional import Params
from mms_jax.tasks import Task
from mms_jax.tasks.tts.step import DISCRIMINATORS, VOICE, TtsTask
from mms_jax.text.voice_text import known_rows


def warm_start(params: Params, init_from: str, task: Task) -> Params:
    """Replaces fresh parameters by another model's.

    Args:
      params: fresh, sharded.
      init_from: a run whose backbone is taken; for a voice, any voice that can be loaded, published ones among them.
      task: what is to be trained.

    Raises:
      TrainingError: a model of another kind or shape; the message names the first parameter that differs.
      CheckpointError, ConversionError: nothing there that can be read.
    """
    if isinstance(task, TtsTask):
        return _with_voice(params, init_from, find_model(init_from), task)
    return _with_backbone(params, init_from, load_model(init_from), task)


def _with_backbone(params: Params, init_from: str, stored: StoredModel, task: Task) -> Params:
    if "backbone" not in stored.params:
        raise TrainingError(f"config.init_from={init_from} holds another kind of model than {task.model}")
    backbone = _taken(params["backbone"], stored.params["backbone"], init_from, "config.model.geometry")
    logging.info("backbone from %s (%s, step %d)", init_from, stored.description["task"], stored.step)
    return params | {"backbone": backbone}


def _with_voice(params: Params, init_from: str, stored: StoredModel, task: TtsTask) -> Params:
    """All of a voice; of its embeddings those of the symbols that the new voice knows too."""
    if stored.description["task"] != task.name:
        raise TrainingError(f"config.init_from={init_from} holds no voice (task {stored.description['task']!r})")
    tokens = stored.description["text"]["tokens"]
    rows = known_rows(task.vocabulary.tokens, tokens)
    fresh = params[VOICE]["text_encoder"]["embedding"]
    embedding = np.array(fresh)
    for new, old in rows:
        embedding[new] = np.asarray(stored.params[VOICE]["text_encoder"]["embedding"])[old]
    theirs = stored.params[VOICE]
    theirs = theirs | {"text_encoder": theirs["text_encoder"] | {"embedding": embedding}}
    found = params | {VOICE: _taken(params[VOICE], theirs, init_from, "config.tts.geometry")}
    left = [token for token in tokens[1:] if token not in task.vocabulary.tokens]
    logging.info(
        "voice from %s (step %d): %d of %d symbols known, %s begin anew, %s are not in this corpus and are dropped",
        init_from, stored.step, len(rows), len(task.vocabulary),
        sorted(set(task.vocabulary.tokens[1:]) - set(tokens)) or "none", left or "none",
    )  # fmt: skip
    if DISCRIMINATORS not in stored.params:
        logging.warning(
            "%s has no discriminators: they begin anew, and the voice is worse until they have learnt", init_from
        )
        return found
    return found | {
        DISCRIMINATORS: _taken(params[DISCRIMINATORS], stored.params[DISCRIMINATORS], init_from, "config.tts.geometry")
    }


def _taken(fresh: Params, stored: Params, init_from: str, key: str) -> Params:
    """The stored parameters, placed like the fresh ones."""

    def take(path: tuple, fresh: Any, old: Any) -> jax.Array:
        if fresh.shape != old.shape:
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            raise TrainingError(
                f"config.init_from={init_from}: {name} is {old.shape} there and {fresh.shape} here; set {key} to that "
                "model's"
            )
        return jax.device_put(old, fresh.sharding)

    try:
        return jax.tree_util.tree_map_with_path(take, fresh, stored)
    except (KeyError, ValueError) as error:
        raise TrainingError(
            f"config.init_from={init_from} holds a model of another structure; set {key} to that model's"
        ) from error
