"""Runs that start from another model: this file decides and logs which parameters carry over.

A part of the parameters (a top-level key, the language adapters, or the conditioning on speakers) is taken where both
models have it, stays fresh where the other model lacks it, and is left where the new model lacks it. Tasks translate
parameters that depend on symbols, languages or speakers, see `Task.carry_over`.
"""

from typing import Any

import jax
import numpy as np
from absl import logging

from mms_jax import sharding
from mms_jax.checkpoint import StoredModel
from mms_jax.errors import TrainingError
from mms_jax.inference.find import find_model
from mms_jax.models.description import Description
from mms_jax.models.functional import Params
from mms_jax.tasks.base import Task

MASK, EPSILON = "mask_embedding", "waveform_epsilon"
# Parts of their own, wherever they lie: models with and without them share the rest.
ADAPTERS, SPEAKERS = "adapters", "speakers"
_APART = {"adapters": ADAPTERS, "speakers": SPEAKERS, "speaker": SPEAKERS}
Leaves = dict[tuple[str, ...], Any]


def warm_start(params: Params, init_from: str, task: Task) -> tuple[Params, Description]:
    """Replaces fresh parameters by another model's.

    Args:
      params: fresh, sharded.
      init_from: a run or any other model that `mms_jax.load` takes.
      task: of the new run.

    Returns:
      Parameters in the same structure and sharding; and the description of the other model.

    Raises:
      TrainingError: a model without a common part, or of another geometry; the message names the first parameter that
        differs.
      CheckpointError, ConversionError: no such model, or one that cannot be read.
    """
    labels = task.needs.labels
    stored = find_model(init_from, labels.languages if labels else (), skip_unknown=True)
    carried = task.carry_over(params, stored)
    fresh, theirs = _parts(params), _parts(_without_empty_mask(carried.params))
    if not set(fresh) & set(theirs):
        raise TrainingError(
            f"config.init_from={init_from} holds a model of kind {stored.description['kind']}, which has no part in common "
            f"with a {task.kind}; choose another model to start from"
        )
    for name in fresh:
        if name in theirs:
            _check(fresh[name], theirs[name], init_from)
    logging.info(
        "from %s (%s, step %d):\n%s",
        init_from, stored.description["kind"], stored.step, _table(fresh, theirs, dict(carried.notes)),
    )  # fmt: skip
    _compare_normalization(stored, task)
    taken = {path: value for name in fresh if name in theirs for path, value in theirs[name].items()}

    def choose(path: tuple, leaf: jax.Array) -> jax.Array:
        value = taken.get(_keys(path))
        return leaf if value is None else sharding.put_array(np.asarray(value, leaf.dtype), leaf.sharding)

    return jax.tree_util.tree_map_with_path(choose, params), stored.description


def _without_empty_mask(params: Params) -> Params:
    """Leaves out a mask embedding of zeros: it stands for models that were never trained with masks."""
    backbone = params.get("backbone", {})
    if MASK not in backbone or np.any(np.asarray(backbone[MASK])):
        return params
    return params | {"backbone": {name: value for name, value in backbone.items() if name != MASK}}


def _compare_normalization(stored: StoredModel, task: Task) -> None:
    there, here = stored.description["model"].get(EPSILON, task.needs.waveform_epsilon), task.needs.waveform_epsilon
    if there != here:
        logging.info("waveforms are normalized with %s=%s, by the model to start from with %s", EPSILON, here, there)


def _keys(path: tuple) -> tuple[str, ...]:
    return tuple(str(key.key) for key in path)


def _parts(params: Params) -> dict[str, Leaves]:
    """The arrays of each part, by path."""
    parts: dict[str, Leaves] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        keys = _keys(path)
        apart = next((_APART[key] for key in keys if key in _APART), keys[0])
        parts.setdefault(apart, {})[keys] = leaf
    return parts


def _check(fresh: Leaves, theirs: Leaves, init_from: str) -> None:
    """Raises TrainingError where a part that both models have differs in structure or shape."""
    missing = sorted(path for path in set(fresh) ^ set(theirs) if path[-1] != MASK)
    if missing:
        where = "here" if missing[0] in fresh else "there"
        raise TrainingError(
            f"config.init_from={init_from} holds a model of another structure ({'/'.join(missing[0])} exists only {where}); "
            "set config.model.geometry to that model's"
        )
    for path, leaf in fresh.items():
        if path in theirs and leaf.shape != theirs[path].shape:
            raise TrainingError(
                f"config.init_from={init_from}: {'/'.join(path)} is {theirs[path].shape} there and {leaf.shape} here; set "
                "config.model.geometry to that model's"
            )


def _table(fresh: dict[str, Leaves], theirs: dict[str, Leaves], notes: dict[str, str]) -> str:
    """A line for each part: taken, fresh or left."""
    lines = []
    for name in [*fresh, *(name for name in theirs if name not in fresh)]:
        verdict = "left" if name not in fresh else "taken" if name in theirs else "fresh"
        leaves = fresh.get(name) or theirs[name]
        note = f"; {notes[name]}" if name in notes else ""
        if verdict == "taken" and len(theirs[name]) < len(fresh[name]):
            note += f"; fresh: {MASK}, which the model to start from never trained"
        lines.append(f"  {verdict:<6} {name:<16} {_shapes(leaves)}{note}")
    return "\n".join(lines)


def _shapes(leaves: Leaves) -> str:
    """The shapes of a small part, the size of a large one."""
    if len(leaves) <= 4:
        return ", ".join(f"{'/'.join(path[1:]) or path[0]} {tuple(leaf.shape)}" for path, leaf in leaves.items())
    return f"{len(leaves)} arrays, {sum(leaf.size for leaf in leaves.values()):,} parameters"
