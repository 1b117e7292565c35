"""The update of tasks that minimize one loss with one optimizer."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from input_pipeline.decode import Batch
from mms_jax.models.functional import FunctionalModel, Params
from mms_jax.tasks.base import Updated
from mms_jax.tasks.weighted import Weighted


def gradient_update(
    task: Any,
    model: FunctionalModel,
    optimizer: optax.GradientTransformation,
    params: Params,
    optimizer_state: optax.OptState,
    batch: Batch,
    key: jax.Array,
    step: jax.Array,
) -> Updated:
    """One step down the gradient of `task.loss(module, batch, key, step)`; tasks use it as their method `update`.

    For the other arguments and the result see `mms_jax.tasks.base.Task.update`.
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
