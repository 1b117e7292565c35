"""Floating-point operations of a traced function: products and sums of matrix products and convolutions."""

import math
from typing import Any

import jax
import jax.extend
import numpy as np


def count_flops(jaxpr: Any) -> float:
    """The operations of a jaxpr; bodies of loops count as often as they run, a conditional as its longest branch.

    Element-wise work is left out, as is usual for model FLOPs (Chowdhery et al. 2022, appendix B). A `while` loop whose
    length is not known counts once.

    Args:
      jaxpr: a Jaxpr or ClosedJaxpr.
    """
    total = 0.0
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        name, parameters = equation.primitive.name, equation.params
        if name == "dot_general":
            total += _of_product(equation)
        elif name == "conv_general_dilated":
            total += _of_convolution(equation)
        elif name == "cond":
            total += max(count_flops(branch) for branch in parameters["branches"])
        else:
            total += _times(name, parameters) * sum(count_flops(inner) for inner in _inner(parameters))
    return total


def _inner(parameters: dict[str, Any]) -> list[Any]:
    """The jaxprs among the parameters of an equation. Rules of differentiation are functions, and not among them."""
    found = []
    for value in parameters.values():
        for one in value if isinstance(value, tuple | list) else (value,):
            if isinstance(one, jax.extend.core.ClosedJaxpr | jax.extend.core.Jaxpr):
                found.append(one)
    return found


def _times(name: str, parameters: dict[str, Any]) -> int:
    """How often an equation runs the jaxprs among its parameters."""
    if name == "scan":
        return parameters["length"]
    if name == "pallas_call":  # the programs that a kernel starts
        return math.prod(int(size) for size in parameters["grid_mapping"].grid)
    if name == "shard_map":  # the devices that share the work, each on its part
        specs = (part for spec in parameters["in_specs"] for part in spec if part)
        axes = {axis for part in specs for axis in np.atleast_1d(part).tolist()}
        return math.prod(parameters["mesh"].shape[axis] for axis in axes)
    return 1


def _of_product(equation: Any) -> float:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left, out = equation.invars[0].aval.shape, equation.outvars[0].aval.shape
    return 2.0 * math.prod(out) * math.prod(left[axis] for axis in contracted)


def _of_convolution(equation: Any) -> float:
    parameters = equation.params
    numbers = parameters["dimension_numbers"]
    left, right = (variable.aval.shape for variable in equation.invars[:2])
    out = equation.outvars[0].aval.shape
    pairs = 1.0
    for place, (low, _) in enumerate(parameters["padding"]):
        pairs *= pairs_along(
            inputs=left[numbers.lhs_spec[2 + place]],
            taps=right[numbers.rhs_spec[2 + place]],
            outputs=out[numbers.out_spec[2 + place]],
            stride=parameters["window_strides"][place],
            low=low,
            input_dilation=parameters["lhs_dilation"][place],
            tap_dilation=parameters["rhs_dilation"][place],
        )
    batch, features = out[numbers.out_spec[0]], out[numbers.out_spec[1]]
    return 2.0 * batch * features * right[numbers.rhs_spec[1]] * pairs


def pairs_along(
    *,
    inputs: int,
    taps: int,
    outputs: int,
    stride: int = 1,
    low: int = 0,
    input_dilation: int = 1,
    tap_dilation: int = 1,
) -> int:
    """The pairs of an output and a tap of a kernel that meet an input, and neither padding nor a hole, along one axis."""
    place = np.arange(outputs)[:, None] * stride - low + np.arange(taps)[None] * tap_dilation
    return int(((place >= 0) & (place <= (inputs - 1) * input_dilation) & (place % input_dilation == 0)).sum())
