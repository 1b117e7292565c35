"""Accuracy and loss of masked prediction on held-out speech."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from input_pipeline.decode import Batch
from mms_jax.models.functional import FunctionalModel, Params
from mms_jax.tasks.base import Evaluation, EvaluationData, Metrics, Result
from mms_jax.tasks.weighted import Loss, pooled_means


def make_evaluation(loss: Callable[..., Loss], model: FunctionalModel, gathered: jax.sharding.Sharding) -> Evaluation:
    """A function that measures a task's loss on corpora.

    Args:
      loss: `PretrainTask.loss`.
      model: a Wav2Vec2ForPretraining.
      gathered: the sharding of the figures: every process sees them.

    Returns:
      (params, data) -> {"accuracy", "contrastive", "code_perplexity"}: the share of masked frames whose target scored
      above all distractors, the loss in nats, and the codes in use (summed over codebooks, a mean over batches).
    """

    def predict(params: Params, batch: Batch) -> Metrics:
        # Masks are a function of the batch, so that two evaluations of one checkpoint agree.
        key = jax.random.fold_in(jax.random.key(0), jnp.maximum(batch["item"][0], 0))
        return loss(model.bind(params), batch, key, jnp.zeros((), jnp.int32), train=False).metrics

    jitted = jax.jit(predict, out_shardings=gathered)

    def evaluate(params: Params, data: EvaluationData) -> Result:
        means = pooled_means(jitted, params, data.batches())
        return {name: means[name] for name in ("accuracy", "contrastive", "code_perplexity")}

    return evaluate


def format_table(result: Result) -> str:
    """The figures as a table for people."""
    return "\n".join(
        [
            f"accuracy         {100 * result['accuracy']:8.2f} %   (target above all distractors)",
            f"contrastive loss {result['contrastive']:8.3f} nats",
            f"codes in use     {result['code_perplexity']:8.1f}",
        ]
    )
