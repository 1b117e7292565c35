"""The training step of a config, compiled for a mesh of devices that need not exist."""

import dataclasses
from typing import Any

import jax
from ml_collections import ConfigDict

from mms_jax import sharding
from mms_jax.audio.waveform import SAMPLE_RATE
from mms_jax.compile.stand_ins import abstract_batch, stand_in_corpus
from mms_jax.models.functional import FunctionalModel
from mms_jax.optimizers import make_optimizer
from mms_jax.tasks import find_task
from mms_jax.training.state import abstract_state
from mms_jax.training.step import make_train_step
from mms_jax.training.utilization import model_flops


@dataclasses.dataclass(frozen=True)
class TracedStep:
    """A training step with its arguments.

    Attributes:
      traced: of the jitted function.
      mesh: on which it runs.
      rows, samples: of a batch.
      flops: products and sums of a step on all devices, recomputation left out.
    """

    traced: Any
    mesh: jax.sharding.Mesh
    rows: int
    samples: int
    flops: float

    @property
    def audio_seconds(self) -> float:
        """Of a batch."""
        return self.rows * self.samples / SAMPLE_RATE


def trace_step(config: ConfigDict, devices: Any, languages: int, symbols: int) -> TracedStep:
    """Traces the step of an experiment, as `mms_jax.train` makes it, for the largest batch.

    Args:
      config: the experiment; its corpora need not exist.
      devices: for the mesh.
      languages, symbols: see `stand_in_corpus`.
    """
    mesh = sharding.make_mesh(**config.mesh, devices=devices)
    sharding.check_rows(config.input.rows_multiple, config.optimizer.accumulate, mesh)
    with jax.set_mesh(mesh):
        corpus = stand_in_corpus(config.input, languages, symbols)
        task = find_task(config.task).from_corpora(config, [corpus])
        model = FunctionalModel.abstract(task.build)
        optimizer, _ = make_optimizer(config.optimizer, config.total_steps, 1000, task.parts, task.frozen)
        state = abstract_state(task, model, optimizer, mesh)
        batch = abstract_batch(config, corpus, task, mesh)
        step: Any = make_train_step(task, model, optimizer, config.seed, config.optimizer.accumulate)
        traced = step.trace(state, batch)
    rows, samples = batch["waveforms"].shape
    return TracedStep(traced, mesh, rows, samples, model_flops(config, task, batch))
