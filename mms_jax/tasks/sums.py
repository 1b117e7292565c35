"""The contract between losses and the loop: sums and weights, divided once.

A loss that returns a mean is wrong as soon as two batches, hosts or microbatches hold different amounts of speech. So
every figure here is a sum with the weight it is to be divided by, over the global batch.
"""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import jax

Array = jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Weighted:
    """A sum and its weight, both float32 scalars.

    Attributes:
      sum: over the examples (or frames) of the global batch.
      weight: how many there were; 0 makes the mean 0.
    """

    sum: Array
    weight: Array

    def mean(self) -> Array:
        """sum / weight, and 0 where there was nothing."""
        return self.sum / jax.numpy.maximum(self.weight, 1e-9)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Loss:
    """What a task's loss returns.

    Attributes:
      total: what is minimised.
      metrics: further figures for the log, by name.
    """

    total: Weighted
    metrics: dict[str, Weighted]


def pooled_means(predict: Callable, params: Any, batches: Iterable[dict[str, Array]]) -> dict[str, float]:
    """The mean of each figure over all batches.

    Args:
      predict: (params, batch) -> figures by name, as Weighted.
      params: the parameters.
      batches: of an evaluation.
    """
    sums: dict[str, float] = {}
    weights: dict[str, float] = {}
    for batch in batches:
        for name, value in jax.device_get(predict(params, batch)).items():
            sums[name] = sums.get(name, 0.0) + float(value.sum)
            weights[name] = weights.get(name, 0.0) + float(value.weight)
    return {name: sums[name] / max(weights[name], 1e-9) for name in sums}
