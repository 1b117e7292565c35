"""Evaluation of tasks that predict masked frames: means of their loss's figures on held-out speech."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from input_pipeline.decode import Batch
from mms_jax.models.functional import FunctionalModel, Params
from mms_jax.tasks.base import Evaluation, EvaluationData, Metrics, Result
from mms_jax.tasks.weighted import Loss, pooled_means


def make_evaluation(
    loss: Callable[..., Loss], model: FunctionalModel, gathered: jax.sharding.Sharding, figures: Sequence[str]
) -> Evaluation:
    """A function that measures a task's loss on corpora.

    Args:
      loss: the task's method of that name.
      model: its module.
      gathered: the sharding of the figures: every process sees them.
      figures: those of the loss's metrics that are reported.

    Returns:
      (params, data) -> means of the figures over masked frames; those that the loss gives once a batch, over batches.
    """

    def predict(params: Params, batch: Batch) -> Metrics:
        # Masks are a function of the batch, so that two evaluations of one checkpoint agree.
        key = jax.random.fold_in(jax.random.key(0), jnp.maximum(batch["item"][0], 0))
        return loss(model.bind(params), batch, key, jnp.zeros((), jnp.int32), train=False).metrics

    jitted = jax.jit(predict, out_shardings=gathered)

    def evaluate(params: Params, data: EvaluationData) -> Result:
        means = pooled_means(jitted, params, data.batches())
        # Of shares of clusters, the largest.
        return {name: float(np.max(means[name])) for name in figures}

    return evaluate
