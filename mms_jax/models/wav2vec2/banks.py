"""Rows of the banks of adapters and heads: the languages of a batch, without the cost of all others.

A bank of 1,107 languages is larger than the backbone. A step therefore takes the rows that its batch needs out of the banks
(and out of the moments of the optimizer), works on these, and puts them back.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array

ADAPTERS, HEADS = "adapters", "heads"
_AXES = {ADAPTERS: 1, HEADS: 0}  # of the languages; the arrays of adapters begin with the layers


def language_axis(path: tuple) -> int | None:
    """The axis of the languages in the array at a path of a tree (parameters, optimizer state); None outside the banks."""
    names = [str(key.key) for key in path if isinstance(key, jax.tree_util.DictKey)]
    return _AXES.get(names[-2]) if len(names) > 1 else None


def batch_languages(language: Array, counted: Array, languages: int) -> tuple[Array, Array]:
    """The rows of a bank that a batch needs, each once.

    Args:
      language: int (batch,), rows of the bank.
      counted: bool (batch,), False for rows of the batch that are padding: they need none.
      languages: rows of the bank.

    Returns:
      Rows of the bank, int (min(batch, languages),), ascending; where the batch has fewer languages, `languages`, which
      names no row. And for each row of the batch its place among these, int (batch,).
    """
    wanted = jnp.where(counted, language, languages)
    rows = jnp.unique(wanted, size=min(len(language), languages), fill_value=languages)
    return rows, jnp.minimum(jnp.searchsorted(rows, wanted), len(rows) - 1)


def take_rows(tree: Any, rows: Array) -> Any:
    """The tree with these rows of its banks only; a row beyond the last is read as the last."""

    def take(path: tuple, leaf: Array) -> Array:
        axis = language_axis(path)
        return leaf if axis is None else jnp.take(leaf, rows, axis=axis, mode="clip")

    return jax.tree_util.tree_map_with_path(take, tree)


def put_rows(tree: Any, rows: Array, part: Any) -> Any:
    """The inverse of `take_rows`: the tree of `part`, whose banks have their other rows from `tree`.

    A row beyond the last is dropped.
    """

    def put(path: tuple, whole: Array, some: Array) -> Array:
        axis = language_axis(path)
        return some if axis is None else whole.at[(slice(None),) * axis + (rows,)].set(some, mode="drop")

    return jax.tree_util.tree_map_with_path(put, tree, part)


def adapters_of(params: Any) -> dict[str, Any]:
    """The banks of adapters by name, arrays (layers, languages, ...); empty for a model without adapters."""
    return params["backbone"]["encoder"]["layers"].get(ADAPTERS, {})


def with_adapters(params: Any, adapters: dict[str, Any]) -> Any:
    """The parameters with these banks of adapters in the place of their own, if they have any."""
    backbone = params["backbone"]
    encoder = backbone["encoder"]
    layers = {**encoder["layers"], ADAPTERS: adapters}
    return {**params, "backbone": {**backbone, "encoder": {**encoder, "layers": layers}}}


def identity_adapters(layers: int, languages: int, hidden: int, width: int) -> dict[str, np.ndarray]:
    """A bank of adapters that change nothing and can learn, with the initial weights of AdapterBank.

    Only `up` is zero: were `down` or `scale` zero too, neither would ever have a gradient.

    Args:
      layers, languages, hidden, width: sizes of the bank.

    Returns:
      The arrays by name, float32 (layers, languages, ...).
    """
    lead = (layers, languages)
    down = np.random.default_rng(0).standard_normal((*lead, hidden, width), np.float32) / np.float32(math.sqrt(hidden))
    zeros = {"bias": (hidden,), "down_bias": (width,), "up": (width, hidden), "up_bias": (hidden,)}
    bank = {name: np.zeros((*lead, *shape), np.float32) for name, shape in zeros.items()}
    return bank | {"scale": np.ones((*lead, hidden), np.float32), "down": down}


def for_rows(params: Any, language: Array) -> tuple[Any, Array]:
    """Parameters with a bank row for each row of a batch, and the place of each, for a forward pass without gradient."""
    if HEADS not in params and not adapters_of(params):
        return params, language
    return take_rows(params, language), jnp.arange(language.shape[0])  # the shape may be symbolic, in an export


def only_banks(params: Any) -> Any:
    """The banks alone: the tree without all other arrays."""
    if not isinstance(params, dict):
        return params
    kept = {}
    for name, value in params.items():
        if name in _AXES and isinstance(value, dict):
            kept[name] = value
        elif isinstance(value, dict) and (below := only_banks(value)):
            kept[name] = below
    return kept


def overlaid(params: Any, part: Any) -> Any:
    """The tree with the arrays of `part` in the place of its own."""
    if not isinstance(part, dict):
        return part
    return {name: overlaid(value, part[name]) if name in part else value for name, value in params.items()}
