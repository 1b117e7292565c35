"""How well a voice explains speech that it has not seen."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp

from mms_jax.models.functional import FunctionalModel, Params
from mms_jax.tasks.sums import pooled_means
from mms_jax.tasks.tts.step import TtsTask


def make_predict(task: TtsTask, model: FunctionalModel, gathered: jax.sharding.Sharding) -> Callable:
    """A jitted function from parameters and a batch to the sums and weights of its losses, on every process."""

    def predict(params: Params, batch: dict[str, jax.Array]):
        # What is drawn is a function of the batch, so that two evaluations of one checkpoint agree.
        key = jax.random.fold_in(jax.random.key(0), jnp.maximum(batch["item"][0], 0))
        return task.generate(model.bind(params).voice, batch, task.draw(batch, key, train=False)).losses

    return jax.jit(predict, out_shardings=gathered)


def losses_of(predict: Callable, params: Params, batches: Iterable[dict[str, jax.Array]]) -> dict[str, Any]:
    """The losses over all utterances.

    Returns:
      {"mel", "kl", "duration"}: the mean absolute difference of log mel energies between recordings and what is generated
      from their latents; nats a frame; nats a symbol.
    """
    return pooled_means(predict, params, batches)


def format_table(result: dict[str, Any]) -> str:
    """The figures as a table for people."""
    return "\n".join(
        [
            f"mel difference   {result['mel']:8.3f}   (log energies, recordings against what their latents give)",
            f"prior            {result['kl']:8.3f} nats a frame",
            f"durations        {result['duration']:8.3f} nats a symbol",
        ]
    )
