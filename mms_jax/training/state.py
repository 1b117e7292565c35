"""The state of a run: everything that changes from step to step; made, restored, and placed on the mesh."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from absl import logging
from ml_collections import ConfigDict

from mms_jax import sharding
from mms_jax.checkpoint import Checkpoints
from mms_jax.errors import TrainingError
from mms_jax.models.description import Description
from mms_jax.models.functional import FunctionalModel, Params
from mms_jax.optimizers import Averaged
from mms_jax.tasks.base import Task
from mms_jax.training.warm_start import warm_start


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """Parameters, optimizer and step.

    Attributes:
      params: the parameters.
      optimizer: optax state.
      step: int32, updates so far. Randomness and data order are functions of it and the seed.
    """

    params: Params = dataclasses.field(repr=False)
    optimizer: optax.OptState = dataclasses.field(repr=False)
    step: jax.Array


def starting_state(
    config: ConfigDict,
    checkpoints: Checkpoints,
    task: Task,
    model: FunctionalModel,
    optimizer: optax.GradientTransformation,
    mesh: jax.sharding.Mesh,
) -> tuple[TrainState, dict[str, Any] | None]:
    """The state of this run's newest checkpoint, or a fresh one, warm-started where the config names a model.

    Returns:
      The state; and the history of the model that the run started from, None where there is none.
    """
    abstract = abstract_state(task, model, optimizer, mesh)
    restored = restore_state(checkpoints, abstract)
    origin, started_from = "fresh start", None
    if restored is not None:
        state, description = restored
        origin = f"resuming at step {int(state.step)}"
        _check_same_labels(task.describe(), description)
        started_from = description.get("history", {}).get("started_from")
    else:
        state = initial_state(task, model, optimizer, abstract, config.seed)
        if config.init_from:
            params, other = warm_start(state.params, config.init_from, task)
            state, started_from = dataclasses.replace(state, params=params), other.get("history")
            if isinstance(state.optimizer, Averaged):
                average = jax.tree.map(jnp.copy, state.params)
                state = dataclasses.replace(state, optimizer=state.optimizer._replace(average=average))
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    logging.info("%s parameters; %s", f"{parameters:,}", origin)
    return state, started_from


def _check_same_labels(now: Description, stored: Mapping[str, Any]) -> None:
    """Raises TrainingError where the numbers of symbols, languages or speakers mean something else than they did.

    Shapes do not tell: another alphabet may have as many letters, and banks hold languages by position.
    """
    for name in ("vocabulary", "languages", "text", "speakers"):
        before, after = (_plain(fields.get(name)) for fields in (stored, now))
        if before is not None and before != after:
            raise TrainingError(
                f"the {name} of the corpora is no longer that of the checkpoint ({_difference(before, after)}): the corpora "
                "were prepared anew; restore them, or start a new --workdir with config.init_from"
            )


def _plain(value: Any) -> Any:
    """A part of a description as JSON has it; version 0.1 stored alphabets as an object."""
    value = json.loads(json.dumps(value))
    if isinstance(value, dict) and isinstance(value.get("alphabets"), dict):
        value["alphabets"] = [[language, letters] for language, letters in sorted(value["alphabets"].items())]
    return value


def _difference(before: Any, after: Any) -> str:
    """The first parts in which two descriptions differ, shortened."""
    if isinstance(before, dict) and isinstance(after, dict):
        name = next((name for name in sorted(before | after) if before.get(name) != after.get(name)), "")
        return f"{name}: {_difference(before.get(name), after.get(name))}"
    if isinstance(before, list) and isinstance(after, list):
        pairs = zip([*before, None], [*after, None])
        one, other = next((pair for pair in pairs if pair[0] != pair[1]), (before, after))
        return f"{one!r} there, {other!r} now"[:300]
    return f"{before!r} there, {after!r} now"[:300]


def abstract_state(
    task: Task, model: FunctionalModel, optimizer: optax.GradientTransformation, mesh: jax.sharding.Mesh
) -> TrainState:
    """The state as ShapeDtypeStructs with shardings, for initializing and restoring."""
    shapes, shardings = model.shapes(), model.shardings(mesh)
    params = jax.tree.map(
        lambda shape, place: jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=place), shapes, shardings
    )
    everywhere = sharding.replicated(mesh)
    places = {(_names(path), leaf.shape): leaf.sharding for path, leaf in jax.tree_util.tree_leaves_with_path(params)}

    def place(path: tuple, leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        # Moments are sharded like their parameters, with whose names their own path ends; sums of Adafactor are small.
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=places.get((_names(path), leaf.shape), everywhere))

    optimizer_state = jax.tree_util.tree_map_with_path(place, jax.eval_shape(optimizer.init, task.trained(shapes)))
    step = jax.ShapeDtypeStruct((), jnp.int32, sharding=everywhere)
    return TrainState(params, optimizer_state, step)  # type: ignore[arg-type]


def _names(path: tuple) -> tuple[str, ...]:
    """The dict keys at the end of a path."""
    keys = [getattr(key, "key", None) if isinstance(key, jax.tree_util.DictKey) else None for key in path]
    behind = max((place + 1 for place, key in enumerate(keys) if key is None), default=0)
    return tuple(str(key) for key in keys[behind:])


def initial_state(
    task: Task, model: FunctionalModel, optimizer: optax.GradientTransformation, abstract: TrainState, seed: int
) -> TrainState:
    """A fresh state, initialized on the mesh with its sharding."""

    def init(key: jax.Array) -> TrainState:
        params = model.init(key)
        return TrainState(params, optimizer.init(task.trained(params)), jnp.zeros((), jnp.int32))

    shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract)
    return jax.jit(init, out_shardings=shardings)(jax.random.key(seed))


def restore_state(checkpoints: Checkpoints, abstract: TrainState) -> tuple[TrainState, Description] | None:
    """The state and description of this run's newest readable checkpoint, or None where there is none."""
    restored = checkpoints.restore(abstract.params, {"optimizer": abstract.optimizer, "step": abstract.step})
    if restored is None:
        return None
    params, rest, description = restored
    return swap_average(TrainState(params, rest["optimizer"], rest["step"])), description


def save_state(checkpoints: Checkpoints, state: TrainState, task: Task, history: dict[str, Any]) -> None:
    """Starts saving a state, in which the running average, if any, takes the place of the parameters."""
    stored = swap_average(state)
    train_entry = {"optimizer": stored.optimizer, "step": stored.step}
    checkpoints.save(int(state.step), stored.params, train_entry, describe(task, history))


def describe(task: Task, history: dict[str, Any]) -> Description:
    """The description of a checkpoint of a run."""
    return {**task.describe(), "task": task.name, "history": history}


def swap_average(state: TrainState) -> TrainState:
    """Swaps the average and the parameters, as checkpoints store them; without an average, the state is unchanged.

    Inference then loads the average without special treatment. Applied twice, the swap is the identity.
    """
    if not isinstance(state.optimizer, Averaged):
        return state
    return TrainState(state.optimizer.average, state.optimizer._replace(average=state.params), state.step)
