"""Conversion between NNX modules and the pytrees that training steps, optimizers and checkpoints operate on.

A module is built once, abstractly; its parameters are kept outside of it as a nested dict with string keys, and are
bound to it inside `jit`.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import jax
from flax import nnx

from mms_jax import sharding

Params = dict[str, Any]


class Bindable(Protocol):
    """Anything that makes a module from parameters."""

    def bind(self, params: Params) -> Any:
        """The module with these parameters."""


@dataclasses.dataclass(frozen=True)
class FunctionalModel:
    """A module without its parameters.

    Attributes:
      build: builds the module from a random key.
      structure: its NNX graph definition.
      state: its abstract parameters with their metadata.
    """

    build: Callable[[jax.Array], nnx.Module]
    structure: nnx.GraphDef
    state: nnx.State

    @classmethod
    def abstract(cls, build: Callable[[jax.Array], nnx.Module]) -> "FunctionalModel":
        """Traces `build` without allocating anything."""
        module = nnx.eval_shape(lambda: build(jax.random.key(0)))
        structure, state = nnx.split(module)
        return cls(build, structure, state)

    def init(self, key: jax.Array) -> Params:
        """Newly initialized parameters; call this under `jit` with `out_shardings` to create them already sharded."""
        return _string_keys(nnx.to_pure_dict(nnx.state(self.build(key), nnx.Param)))

    def shapes(self) -> Params:
        """The parameters as ShapeDtypeStructs."""
        # The key is made inside: on a mesh of devices that are not here, none can be made.
        return jax.eval_shape(lambda: self.init(jax.random.key(0)))

    def shardings(self, mesh: jax.sharding.Mesh) -> Params:
        """The sharding of each parameter, derived from its logical axes."""
        return _string_keys(sharding.parameter_shardings(self.state, mesh))

    def bind(self, params: Params) -> Any:
        """The module with these parameters."""
        leaves = []
        for path, variable in nnx.to_flat_state(self.state):
            value: Any = params
            for key in path:
                value = value[str(key)]
            leaves.append((path, variable.replace(value)))
        return nnx.merge(self.structure, nnx.from_flat_state(leaves))


def _string_keys(tree: Any) -> Any:
    """Converts all keys to strings: JSON and Orbax support only these, while NNX numbers the entries of a list."""
    return {str(key): _string_keys(value) for key, value in tree.items()} if isinstance(tree, dict) else tree
