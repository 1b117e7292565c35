"""One update, as a jitted function."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from input_pipeline.decode import Batch
from mms_jax import sharding
from mms_jax.audio.waveform import SAMPLE_RATE
from mms_jax.models.functional import FunctionalModel
from mms_jax.optimizers import skipped_updates
from mms_jax.tasks.base import Metrics, Task
from mms_jax.tasks.weighted import Weighted
from mms_jax.training.state import TrainState


def make_train_step(
    task: Task, model: FunctionalModel, optimizer: optax.GradientTransformation, seed: int, parts: int = 1
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """One jitted update; the state is donated. Sharding follows from the arguments."""

    def update(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        params, optimizer_state, metrics = task.update(
            model, optimizer, state.params, state.optimizer, batch, key, state.step, parts
        )
        before, after = skipped_updates(state.optimizer), skipped_updates(optimizer_state)
        if before is not None and after is not None:
            # Figures of a step that has no effect would make those of its window infinite.
            metrics = jax.tree.map(lambda figure: jnp.where(after > before, 0.0, figure), metrics)
            # A voice has two optimizers, either of which may skip.
            metrics["skipped"] = Weighted(jnp.minimum(after - before, 1), jnp.ones(()))
        metrics |= {
            "audio_seconds": Weighted(jnp.sum(batch["lengths"]) / SAMPLE_RATE, jnp.ones(())),
            "bad": Weighted(jnp.sum((batch["item"] >= 0) & ~batch["counted"]), jnp.sum(batch["item"] >= 0)),
        }
        return TrainState(params, optimizer_state, state.step + 1), metrics

    @functools.partial(jax.jit, donate_argnums=0)
    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        return sharding.automatic(update, state)(state, batch)

    return train_step
