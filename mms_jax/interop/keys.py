"""The mapping between foreign tensors and our parameters, in both directions, for any naming scheme."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Self

import numpy as np
from tqdm import tqdm

from mms_jax.errors import ConversionError

Params = dict[str, Any]


class Fields(dict[str, Any]):
    """A foreign configuration; a missing field raises a ConversionError that names it."""

    def __init__(self, source: str, fields: Mapping[str, Any]):
        super().__init__(fields)
        self._source = source

    def __missing__(self, name: str) -> Any:
        raise ConversionError(f"{self._source} lacks {name!r}; download it again")


@dataclasses.dataclass(frozen=True)
class Layout:
    """The conversion of an array between the foreign order of axes and ours.

    Attributes:
      ours: foreign array -> ours.
      theirs: our array -> foreign.
    """

    ours: Callable[[np.ndarray], np.ndarray]
    theirs: Callable[[np.ndarray], np.ndarray]


SAME = Layout(lambda x: x, lambda x: x)
TRANSPOSED = Layout(np.transpose, np.transpose)  # a linear map: (outputs, inputs) in the foreign tensor


def convolution(kernel: int) -> Layout:
    """A convolution: (outputs, inputs, kernel) in the foreign tensor, (kernel * inputs, outputs) in ours."""
    return Layout(
        lambda x: x.transpose(2, 1, 0).reshape(-1, x.shape[0]),
        lambda x: x.reshape(kernel, -1, x.shape[-1]).transpose(2, 1, 0),
    )


REVERSED = Layout(
    lambda x: x.transpose(2, 1, 0), lambda x: x.transpose(2, 1, 0)
)  # (out, in, kernel): (kernel, in, out)
TAPS = Layout(lambda x: x.reshape(-1), lambda x: x.reshape(1, 1, -1))


@dataclasses.dataclass(frozen=True)
class Entry:
    """One foreign tensor and its place in our parameters.

    Attributes:
      key: its foreign name.
      path: the dict keys that lead to our array.
      index: its index in our array, such as a layer's number; () for the whole array.
      layout: the order of its axes.
      optional: whether it may be missing; our array is then 0.
    """

    key: str
    path: tuple[str, ...]
    index: tuple[int | slice, ...] = ()
    layout: Layout = SAME
    optional: bool = False


@dataclasses.dataclass(frozen=True)
class Place:
    """A prefix of foreign names and its path in our tree; its methods create the entries below it."""

    prefix: str
    path: tuple[str, ...]
    index: tuple[int | slice, ...] = ()

    def inside(self, name: str, *path: str, index: tuple[int | slice, ...] = ()) -> Self:
        return type(self)(self.prefix + name, (*self.path, *path), (*self.index, *index))

    def entry(self, name: str, *path: str, layout: Layout = SAME) -> Entry:
        return Entry(self.prefix + name, (*self.path, *path), self.index, layout)

    def linear(self, name: str, *path: str, layout: Layout = TRANSPOSED) -> Iterator[Entry]:
        yield self.entry(f"{name}.weight", *path, "kernel", layout=layout)
        yield self.entry(f"{name}.bias", *path, "bias")

    def norm(self, name: str, *path: str) -> Iterator[Entry]:
        yield self.entry(f"{name}.weight", *path, "scale")
        yield self.entry(f"{name}.bias", *path, "bias")


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A tensor of a file, which is read on demand.

    Attributes:
      shape: its shape in the file.
      read: returns the array.
    """

    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]


def fill(shapes: Params, entries: Iterable[Entry], tensors: Mapping[str, Tensor], source: str) -> Params:
    """Builds our parameters from foreign tensors, one tensor at a time.

    Args:
      shapes: our tree, whose leaves have a shape.
      entries: every expected tensor.
      tensors: every tensor of the file.
      source: named in messages.

    Returns:
      float32 NumPy arrays in the structure of `shapes`.

    Raises:
      ConversionError: tensors are missing, unknown or misshapen; all of them are listed.
    """
    entries = list(entries)
    wanted = {entry.key for entry in entries}
    missing = [entry.key for entry in entries if entry.key not in tensors and not entry.optional]
    unknown = sorted(set(tensors) - wanted)
    misshapen = []
    for entry in entries:
        if entry.key in tensors:
            place = np.broadcast_to(np.float32(0), _at(shapes, entry.path).shape)[(*entry.index, ...)]
            expected = entry.layout.theirs(place).shape
            if tensors[entry.key].shape != expected:
                misshapen.append(f"{entry.key} is {tensors[entry.key].shape}, expected {expected}")
    complaints = [
        f"{len(names)} tensors are {what}: " + ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
        for what, names in (("missing", missing), ("unknown", unknown), ("misshapen", misshapen))
        if names
    ]
    if complaints:
        raise ConversionError(
            f"{source} does not hold the model that its configuration describes\n  " + "\n  ".join(complaints)
        )
    params = _zeros(shapes)
    for entry in tqdm(entries, desc=f"load {source}", unit="tensor", disable=None, leave=False):
        if entry.key in tensors:
            array = entry.layout.ours(tensors[entry.key].read())
            _at(params, entry.path)[(*entry.index, ...)] = array
    return params


def spread(params: Params, entries: Iterable[Entry]) -> dict[str, np.ndarray]:
    """The inverse of `fill`: foreign tensors from our parameters."""
    return {
        entry.key: np.ascontiguousarray(entry.layout.theirs(np.asarray(_at(params, entry.path))[(*entry.index, ...)]))
        for entry in entries
    }


def _at(tree: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        tree = tree[key]
    return tree


def _zeros(shapes: Any) -> Any:
    if isinstance(shapes, dict):
        return {key: _zeros(value) for key, value in shapes.items()}
    # JAX adopts an array without a copy only if it is aligned to 64 bytes, which NumPy does not guarantee.
    size = math.prod(shapes.shape)
    room = np.zeros(size + 16, np.float32)
    start = -room.ctypes.data % 64 // 4
    return room[start : start + size].reshape(shapes.shape)
