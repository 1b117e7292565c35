"""The update of tasks that minimise one loss with one optimizer."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from mms_jax.models.functional import FunctionalModel, Params
from mms_jax.tasks.sums import Weighted

Updated = tuple[Params, optax.OptState, dict[str, Weighted]]


def descend(
    task: Any,
    model: FunctionalModel,
    optimizer: optax.GradientTransformation,
    params: Params,
    optimizer_state: optax.OptState,
    batch: dict[str, jax.Array],
    key: jax.Array,
    step: jax.Array,
) -> Updated:
    """One step down the gradient of `task.loss`; tasks take it as their method `update`.

    Args:
      task: with `loss(module, batch, key, step)`.
      model: of the task.
      optimizer, optimizer_state: optax's.
      params: the parameters.
      batch: see `input_pipeline.decode`.
      key: randomness of this step.
      step: int32, batches seen.

    Returns:
      Parameters and optimizer state after it; and the figures of the step, "loss" and "gradient_norm" among them.
    """

    def loss_fn(params: Params):
        loss = task.loss(model.bind(params), batch, key, step)
        return loss.total.mean(), loss

    gradients, loss = jax.grad(loss_fn, has_aux=True)(params)
    updates, optimizer_state = optimizer.update(gradients, optimizer_state, params)
    norm = Weighted(optax.tree.norm(gradients), jnp.ones(()))
    return (
        optax.apply_updates(params, updates),
        optimizer_state,
        loss.metrics | {"loss": loss.total, "gradient_norm": norm},
    )
