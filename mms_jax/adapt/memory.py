"""The memory that a run will need, before it starts."""

import dataclasses
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from input_pipeline.dataset import open_corpora, training_data
from mms_jax import sharding
from mms_jax.config import current_config
from mms_jax.models.functional import FunctionalModel
from mms_jax.optimizers import make_optimizer
from mms_jax.tasks import find_task
from mms_jax.training.state import abstract_state
from mms_jax.training.step import make_train_step


@dataclasses.dataclass(frozen=True)
class Memory:
    """Sizes in bytes.

    Attributes:
      weights: of the parameters that stand still, over all devices.
      trained: number of parameters that learn.
      state: of these, their moments, and the step, over all devices.
      batch: of everything else at the peak of a step on one device: activations, gradients, the batch.
    """

    weights: int
    trained: int
    state: int
    batch: int


def step_memory(config: ConfigDict) -> Memory:
    """The memory of the largest training step of an experiment, as the compiler plans it."""
    config = current_config(config)
    mesh = sharding.make_mesh(**config.mesh)
    corpora = open_corpora(config.input.corpora, config.input.data_dir)
    task = find_task(config.task).from_corpora(config, corpora)
    model = FunctionalModel.abstract(task.build)
    plan, decoder = training_data(config.input, corpora, task.needs, config.seed)
    optimizer, _ = make_optimizer(config.optimizer, config.total_steps, plan.pass_batches, task.parts, task.frozen)
    largest = max(
        (plan.batch(step) for step in range(plan.batches)), key=lambda batch: batch.samples * len(batch.items)
    )
    arrays: dict[str, np.ndarray] = dict(decoder(largest))  # type: ignore[arg-type]
    with jax.set_mesh(mesh):
        state = abstract_state(task, model, optimizer, mesh)
        place = sharding.batch_sharding(mesh)
        batch = {name: jax.ShapeDtypeStruct(value.shape, value.dtype, sharding=place) for name, value in arrays.items()}
        step = make_train_step(task, model, optimizer, config.seed, config.optimizer.accumulate)
        analysis: Any = step.lower(state, batch).compile().memory_analysis()  # type: ignore[attr-defined]
        trained = task.trained(state.params)
    moving = _bytes(trained) + _bytes(state.optimizer)
    return Memory(
        weights=_bytes(state.params) - _bytes(trained),
        trained=sum(leaf.size for leaf in jax.tree.leaves(trained)),
        state=moving,
        batch=int(analysis.temp_size_in_bytes) + _bytes(batch),
    )


def _bytes(tree: Any) -> int:
    return sum(int(np.prod(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def format_memory(memory: Memory) -> str:
    """The sizes for people."""
    total = memory.weights + memory.state + memory.batch
    return (
        f"memory: {total / 1e9:.2f} GB; {memory.weights / 1e9:.2f} of weights that stand still, {memory.state / 1e9:.2f} of "
        f"{memory.trained:,} trained numbers and their moments, {memory.batch / 1e9:.2f} of a batch"
    )
