"""The state of a run: everything that changes from step to step; made, restored, and placed on the mesh."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from absl import logging
from ml_collections import ConfigDict

from mms_jax import sharding
from mms_jax.checkpoint import Checkpoints
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
    state = restore_state(checkpoints, abstract)
    origin = "fresh start" if state is None else f"resuming at step {int(state.step)}"
    started_from = None
    if state is not None:
        started_from = checkpoints.description().get("history", {}).get("started_from")
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


def abstract_state(
    task: Task, model: FunctionalModel, optimizer: optax.GradientTransformation, mesh: jax.sharding.Mesh
) -> TrainState:
    """The state as ShapeDtypeStructs with shardings, for initializing and restoring."""
    shapes, shardings = model.shapes(), model.shardings(mesh)
    params = jax.tree.map(
        lambda shape, place: jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=place), shapes, shardings
    )
    everywhere = sharding.replicated(mesh)
    places = {_names(path): leaf.sharding for path, leaf in jax.tree_util.tree_leaves_with_path(params)}

    def place(path: tuple, leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        # Moments are sharded like their parameters, with whose names their own path ends.
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=places.get(_names(path), everywhere))

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


def restore_state(checkpoints: Checkpoints, abstract: TrainState) -> TrainState | None:
    """The state of this run's newest readable checkpoint, or None where there is none."""
    restored = checkpoints.restore(abstract.params, {"optimizer": abstract.optimizer, "step": abstract.step})
    if restored is None:
        return None
    params, rest = restored
    return swap_average(TrainState(params, rest["optimizer"], rest["step"]))


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
