"""A batch in parts, computed one after another: gradients of large batches in the memory of small ones."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp

Tree = TypeVar("Tree")
Summed = TypeVar("Summed")


def split_rows(tree: Tree, parts: int) -> Tree:
    """Arrays (rows, ...) -> (parts, rows / parts, ...); rows that a device holds stay on it."""
    return jax.tree.map(lambda x: jnp.swapaxes(x.reshape(-1, parts, *x.shape[1:]), 0, 1), tree)


def zeros_of(shapes: Tree) -> Tree:
    """Zeros in the place of ShapeDtypeStructs."""
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)


def sum_over_parts(function: Callable[[Tree], Summed], parts: Tree) -> Summed:
    """The sum of `function` over the leading axis of the arrays in `parts`; one call is in memory at a time."""
    first = jax.tree.map(lambda x: x[0], parts)
    zeros = zeros_of(jax.eval_shape(function, first))

    def add(total: Summed, part: Tree) -> tuple[Summed, None]:
        return jax.tree.map(jnp.add, total, function(part)), None

    return jax.lax.scan(add, zeros, parts)[0]
