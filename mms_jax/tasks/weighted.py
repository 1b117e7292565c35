"""The contract between losses and the training loop: sums and weights, divided once.

A loss that returns a mean is wrong as soon as two batches, hosts or microbatches hold different amounts of speech.
Therefore every figure is a sum over the global batch, with the weight by which it is to be divided.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np

Array = jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Weighted:
    """A sum and its weight, both float32 scalars; the sum may also be a vector of counts.

    Attributes:
      sum: over the examples (or frames) of the global batch.
      weight: the number of these; the mean is 0 where the weight is 0.
    """

    sum: Array
    weight: Array

    def mean(self) -> Array:
        """sum / weight, or 0 where the weight is 0."""
        return self.sum / jax.numpy.maximum(self.weight, 1e-9)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Loss:
    """The value of a task's loss.

    Attributes:
      total: the quantity to minimize.
      metrics: further figures for the log, by name.
    """

    total: Weighted
    metrics: dict[str, Weighted]


def pooled_means(predict: Callable, params: Any, batches: Iterable[Any]) -> dict[str, Any]:
    """The mean of each figure over all batches; NaN where nothing had a weight.

    Args:
      predict: (params, batch) -> figures by name, as Weighted.
      params: the parameters.
      batches: of an evaluation.
    """
    sums: dict[str, Any] = {}
    weights: dict[str, float] = {}
    for batch in batches:
        for name, value in jax.device_get(predict(params, batch)).items():
            sums[name] = sums.get(name, 0.0) + np.asarray(value.sum, np.float64)
            weights[name] = weights.get(name, 0.0) + float(value.weight)
    return {name: sums[name] / weights[name] if weights[name] else math.nan for name in sums}
