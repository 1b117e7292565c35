"""Which foreign tensor is which parameter, for any naming scheme: the machinery both ways, and no names."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Self

import numpy as np
from tqdm import tqdm

Params = dict[str, Any]


class ConversionError(ValueError):
    """A checkpoint that does not fit. The message lists the tensors."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """How an array is turned from their order of axes into ours, and back.

    Attributes:
      ours: their array -> ours.
      theirs: our array -> theirs.
    """

    ours: Callable[[np.ndarray], np.ndarray]
    theirs: Callable[[np.ndarray], np.ndarray]


SAME = Layout(lambda x: x, lambda x: x)
TRANSPOSED = Layout(np.transpose, np.transpose)  # a linear map: (outputs, inputs) there


def convolution(kernel: int) -> Layout:
    """(outputs, inputs, kernel) there, (kernel * inputs, outputs) here."""
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
    """One foreign tensor and its place.

    Attributes:
      key: its name there.
      path: of our array, by dict keys.
      index: where in our array it goes, such as a layer's number; () for all of it.
      layout: the order of its axes.
      optional: may be missing there; ours is then 0.
    """

    key: str
    path: tuple[str, ...]
    index: tuple[int | slice, ...] = ()
    layout: Layout = SAME
    optional: bool = False


@dataclasses.dataclass(frozen=True)
class Place:
    """A prefix of their names, and where that lies in our tree; makes the entries below it."""

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
    """A tensor of a file that is read when it is asked for.

    Attributes:
      shape: there.
      read: gives the array.
    """

    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]


def fill(shapes: Params, entries: Iterable[Entry], tensors: Mapping[str, Tensor], source: str) -> Params:
    """Builds our parameters from foreign tensors, one tensor at a time.

    Args:
      shapes: our tree, of anything with a shape.
      entries: every tensor that is wanted.
      tensors: every tensor that is there.
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
    # JAX takes an array over without a copy only where it begins at a multiple of 64 bytes, which NumPy does not promise.
    size = math.prod(shapes.shape)
    room = np.zeros(size + 16, np.float32)
    start = -room.ctypes.data % 64 // 4
    return room[start : start + size].reshape(shapes.shape)
