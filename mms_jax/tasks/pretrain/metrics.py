"""How well a pretrained model predicts masked frames of speech it has not seen."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp

from mms_jax.models.functional import FunctionalModel, Params
from mms_jax.tasks.pretrain.step import PretrainTask
from mms_jax.tasks.sums import pooled_means


def make_predict(task: PretrainTask, model: FunctionalModel, gathered: jax.sharding.Sharding) -> Callable:
    """A jitted function from parameters and a batch to the sums and weights of its losses, on every process."""

    def predict(params: Params, batch: dict[str, jax.Array]):
        # Masks are a function of the batch, so that two evaluations of one checkpoint agree.
        key = jax.random.fold_in(jax.random.key(0), jnp.maximum(batch["item"][0], 0))
        return task.loss(model.bind(params), batch, key, jnp.zeros((), jnp.int32), train=False).metrics

    return jax.jit(predict, out_shardings=gathered)


def prediction_rates(predict: Callable, params: Params, batches: Iterable[dict[str, jax.Array]]) -> dict[str, Any]:
    """Accuracy, contrastive loss and codes in use, over all masked frames.

    Returns:
      {"accuracy", "contrastive", "code_perplexity"}: how often the true target scored above all distractors (a share),
      the loss in nats, and the codes in use (summed over codebooks, a mean over batches).
    """
    means = pooled_means(predict, params, batches)
    return {name: means[name] for name in ("accuracy", "contrastive", "code_perplexity")}


def format_table(result: dict[str, Any]) -> str:
    """The figures as a table for people."""
    return "\n".join(
        [
            f"accuracy         {100 * result['accuracy']:8.2f} %   (target above all distractors)",
            f"contrastive loss {result['contrastive']:8.3f} nats",
            f"codes in use     {result['code_perplexity']:8.1f}",
        ]
    )
