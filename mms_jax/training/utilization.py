"""How much of the accelerators' arithmetic a run uses."""

import math
from typing import Any

import jax
from absl import logging
from ml_collections import ConfigDict

from input_pipeline.decode import Batch
from mms_jax import sharding
from mms_jax.hardware.chips import peak_of
from mms_jax.hardware.flops import count_flops
from mms_jax.models.functional import FunctionalModel
from mms_jax.optimizers import make_optimizer
from mms_jax.tasks.base import Task
from mms_jax.training.state import abstract_state
from mms_jax.training.step import make_train_step

Shapes = dict[str, jax.ShapeDtypeStruct]


def model_flops(config: ConfigDict, task: Task, batch: Shapes) -> float:
    """Products and sums of one update, on all devices together: of the written-out model, which recomputes nothing.

    Args:
      config: the experiment.
      task: of the run.
      batch: its shapes.
    """
    description = task.describe()
    if "remat" in description["model"]:
        description["model"] = description["model"] | {"remat": "none"}
    plain = type(task).from_description(config, description)
    model = FunctionalModel.abstract(plain.build)
    optimizer, _ = make_optimizer(config.optimizer, config.total_steps, 1, plain.parts, plain.frozen)
    # Kernels of accelerators hide their products; the CPU's form of the model has none.
    mesh = sharding.make_mesh(devices=jax.local_devices(backend="cpu")[:1])
    with jax.set_mesh(mesh):
        rows = sharding.batch_sharding(mesh)
        placed = {name: jax.ShapeDtypeStruct(value.shape, value.dtype, sharding=rows) for name, value in batch.items()}
        state = abstract_state(plain, model, optimizer, mesh)
        step = make_train_step(plain, model, optimizer, config.seed)
        return count_flops(step.trace(state, placed).jaxpr)  # type: ignore[attr-defined]


def _has_cpu() -> bool:
    """Whether JAX knows the CPU, on whose form of the model operations are counted: JAX_PLATFORMS may leave it out."""
    try:
        return bool(jax.local_devices(backend="cpu"))
    except RuntimeError:
        logging.warning(
            "no mfu in the log: JAX_PLATFORMS leaves out the CPU; write JAX_PLATFORMS=tpu,cpu (or cuda,cpu)"
        )
        return False


class Utilization:
    """The operations of batches, counted once for each length, as a share of what the mesh's devices could do.

    Attributes:
      peak: products and sums of bfloat16 a second of all devices; None where it is not known, as of CPUs.
    """

    def __init__(self, config: ConfigDict, task: Task, mesh: jax.sharding.Mesh):
        """Args: the experiment, its task, and the mesh that it runs on."""
        self._config, self._task = config, task
        one = peak_of(mesh.devices.flat[0].device_kind) if _has_cpu() else None
        self.peak = one * mesh.size if one else None
        self._known: dict[tuple[int, ...], float] = {}

    def seconds(self, batch: Batch) -> float:
        """The time that a batch would take at the peak; NaN where the peak is not known."""
        if not self.peak:
            return math.nan
        shape = batch["waveforms"].shape
        if shape not in self._known:
            arrays: dict[str, Any] = {**batch}
            shapes = {name: jax.ShapeDtypeStruct(value.shape, value.dtype) for name, value in arrays.items()}
            self._known[shape] = model_flops(self._config, self._task, shapes)
        return self._known[shape] / self.peak
