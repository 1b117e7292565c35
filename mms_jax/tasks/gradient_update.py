"""The update of tasks that minimize one loss with one optimizer."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from input_pipeline.decode import Batch
from mms_jax.models.functional import Bindable, Params
from mms_jax.tasks.base import Updated
from mms_jax.tasks.parts import split_rows, sum_over_parts
from mms_jax.tasks.weighted import Loss, Weighted


def gradient_update(
    task: Any,
    model: Bindable,
    optimizer: optax.GradientTransformation,
    params: Params,
    optimizer_state: optax.OptState,
    batch: Batch,
    key: jax.Array,
    step: jax.Array,
    parts: int = 1,
) -> Updated:
    """One step down the gradient of `task.loss(module, batch, key, step)`; tasks use it as their method `update`.

    A task whose loss is not a sum over rows has a method `totals(module, batch, key)`, a tree of sums over rows. Its loss
    takes the totals of the whole batch as the argument `totals`, and its sum is then the part's share.

    For the other arguments and the result see `mms_jax.tasks.base.Task.update`.
    """
    if parts == 1:
        gradients, loss = _mean_gradient(task, model, params, batch, key, step)
    else:
        gradients, loss = _gradient_by_parts(task, model, params, batch, key, step, parts)
    updates, optimizer_state = optimizer.update(gradients, optimizer_state, params)
    norm = Weighted(optax.tree.norm(gradients), jnp.ones(()))
    return (
        optax.apply_updates(params, updates),
        optimizer_state,
        loss.metrics | {"loss": loss.total, "gradient_norm": norm},
    )


def _mean_gradient(task: Any, model: Bindable, params: Params, batch: Batch, key: jax.Array, step: jax.Array):
    def loss_fn(params: Params) -> tuple[jax.Array, Loss]:
        loss = task.loss(model.bind(params), batch, key, step)
        return loss.total.mean(), loss

    return jax.grad(loss_fn, has_aux=True)(params)


def _gradient_by_parts(
    task: Any, model: Bindable, params: Params, batch: Batch, key: jax.Array, step: jax.Array, parts: int
) -> tuple[Params, Loss]:
    """The same gradient, up to the randomness, from sums over the parts and their weight."""
    divided = (split_rows(batch, parts), jax.random.split(key, parts))
    shared = {}
    if hasattr(task, "totals"):
        shared["totals"] = sum_over_parts(lambda part: task.totals(model.bind(params), *part), divided)

    def of_part(part: tuple[Batch, jax.Array]) -> tuple[Params, Loss]:
        def loss_fn(params: Params) -> tuple[jax.Array, Loss]:
            loss = task.loss(model.bind(params), *part, step, **shared)
            return loss.total.sum, loss

        return jax.grad(loss_fn, has_aux=True)(params)

    gradients, loss = sum_over_parts(of_part, divided)
    weight = jnp.maximum(loss.total.weight, 1e-9)
    return jax.tree.map(lambda gradient: gradient / weight, gradients), loss
