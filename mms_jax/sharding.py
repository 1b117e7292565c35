"""The mesh, and the placement of arrays on it, independent of the task.

Parameters carry logical axis names in their NNX metadata (`axes=("embed", "mlp")`); RULES maps those to mesh axes. An
axis whose size the mesh axis does not divide is replicated.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from flax import nnx
from jax.experimental import mesh_utils, multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, Sharding

from mms_jax.errors import ConfigError

BatchT = TypeVar("BatchT")

MESH_AXES = ("data", "fsdp", "tensor")
BATCH_AXES = ("data", "fsdp")  # rows of a batch are spread over both
RULES: dict[str, str] = {
    "embed": "fsdp",
    "conv": "fsdp",
    "language": "fsdp",
    "mlp": "tensor",
    "heads": "tensor",
    "vocabulary": "tensor",
}


def make_mesh(
    data: int = -1, fsdp: int = 1, tensor: int = 1, *, explicit: bool = False, devices: Sequence[Any] | None = None
) -> Mesh:
    """Makes the one mesh of the program.

    Args:
      data, fsdp, tensor: devices along each axis; one of them may be -1, for all that are left.
      explicit: whether shardings are part of array types, for programs that are written that way; see `automatic`.
      devices: the devices to use; by default all devices of the job. Where they are several slices, joined by a network
        that is slower than the links inside a slice (slices of TPUs, hosts of GPUs), replicas of the data axis lie in
        different slices, then parts of the fsdp axis; the tensor axis never leaves a slice.

    Raises:
      ConfigError: the product is not the number of devices, or slices do not divide data x fsdp.
    """
    devices = jax.devices() if devices is None else devices
    sizes = [data, fsdp, tensor]
    if sizes.count(-1) == 1:
        known = int(np.prod([size for size in sizes if size != -1]))
        sizes[sizes.index(-1)] = len(devices) // known
    if min(sizes) < 1 or np.prod(sizes) != len(devices):
        wanted = " x ".join(f"{name}={size}" for name, size in zip(MESH_AXES, (data, fsdp, tensor)))
        raise ConfigError(
            f"mesh {wanted} does not fit {len(devices)} devices; set config.mesh so that the product does"
        )
    kinds = (AxisType.Explicit if explicit else AxisType.Auto,) * 3
    slices = len({getattr(device, "slice_index", 0) for device in devices})
    if slices > 1:
        arranged = arrange_slices(sizes, slices, devices)
    else:  # an axis may be a part of one of a torus, where `jax.make_mesh` refuses
        arranged = mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=True)
    return Mesh(arranged, MESH_AXES, axis_types=kinds)


def arrange_slices(sizes: Sequence[int], slices: int, devices: Sequence[Any]) -> np.ndarray:
    """The devices of several slices as (data, fsdp, tensor), so that the least traffic leaves a slice.

    Raises:
      ConfigError: the slices do not divide data x fsdp.
    """
    data, fsdp, tensor = sizes
    replicas = math.gcd(data, slices)
    parts = slices // replicas
    if fsdp % parts:
        raise ConfigError(
            f"mesh data={data} x fsdp={fsdp} x tensor={tensor} does not fill {slices} slices (or hosts of GPUs); set "
            f"config.mesh.data to a multiple of {slices}, or data x fsdp"
        )
    return mesh_utils.create_hybrid_device_mesh(
        (data // replicas, fsdp // parts, tensor), (replicas, parts, 1), devices, allow_split_physical_axes=True
    )


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of an array that every device holds in full."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The sharding of an array whose first axis is split over the data and fsdp axes."""
    return NamedSharding(mesh, PartitionSpec(BATCH_AXES))


def row_devices(mesh: Any) -> int:
    """The devices among which a mesh, real or abstract, cuts the rows of a batch."""
    return math.prod(mesh.shape[axis] for axis in BATCH_AXES)


def check_rows(multiple: int, accumulate: int, mesh: Mesh) -> None:
    """Checks that batches whose number of rows is a multiple of `multiple` can be split over the mesh, and into parts.

    Raises:
      ConfigError: they cannot.
    """
    devices = row_devices(mesh)
    if multiple % (devices * accumulate):
        raise ConfigError(
            f"config.input.rows_multiple={multiple} must be a multiple of {devices * accumulate}: the mesh cuts a batch "
            f"into {devices} (mesh.data x mesh.fsdp), and config.optimizer.accumulate each of these into {accumulate}"
        )


def parameter_shardings(state: nnx.State, mesh: Mesh) -> dict:
    """The sharding of every parameter.

    Args:
      state: the parameters as `nnx.split` gives them, real or abstract, with `axes` metadata.

    Returns:
      The pure dict of the same structure, holding a NamedSharding for each array.
    """

    def one(variable: nnx.Variable) -> NamedSharding:
        axes = variable.get_metadata().get("axes", ())
        # Stacked layers have one more axis in front than their module declared.
        axes = (None,) * (len(variable.shape) - len(axes)) + tuple(axes)
        names: list[str | None] = []
        for size, axis in zip(variable.shape, axes):
            name = RULES.get(axis) if axis else None
            names.append(name if name and name not in names and size % mesh.shape[name] == 0 else None)
        return NamedSharding(mesh, PartitionSpec(*names))

    shardings = jax.tree.map(one, state, is_leaf=lambda leaf: isinstance(leaf, nnx.Variable))
    return nnx.to_pure_dict(shardings)


def rows_apart(function: Callable[[jax.Array, jax.Array], jax.Array]) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """Lets every device run `function(rows, weight)` on its own rows, with the whole weight, without a partitioner.

    Args:
      function: processes each row independently; rows is (batch, ...), and so is the result.

    Returns:
      The same function; `function` itself if no mesh is set.
    """
    if jax.sharding.get_abstract_mesh().empty:
        return function

    def on_one_device(rows: jax.Array, weight: jax.Array) -> jax.Array:
        # Each device has its own copy, so that the function's gradient of it is of these rows, and they are added here.
        return function(rows, jax.lax.pcast(weight, BATCH_AXES, to="varying"))

    rows = PartitionSpec(BATCH_AXES)
    return jax.shard_map(on_one_device, in_specs=(rows, PartitionSpec()), out_specs=rows)


def rows_and_heads_apart(function: Callable[..., jax.Array], heads: int) -> Callable[..., jax.Array]:
    """Lets every device run `function(q, k, v, segments)` on its own rows and heads, without a partitioner.

    Args:
      function: processes each row and head independently; q, k, v and its result are (batch, heads, ...), segments is
        (batch, ...).
      heads: their number; where the tensor axis does not divide it, every device has all.

    Returns:
      The same function; `function` itself if no mesh is set.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return function
    over_heads = "tensor" if heads % mesh.shape["tensor"] == 0 else None
    both, rows = PartitionSpec(BATCH_AXES, over_heads), PartitionSpec(BATCH_AXES)
    # Kernels do not say along which axes their results vary, which JAX would check.
    return jax.shard_map(function, in_specs=(both, both, both, rows), out_specs=both, check_vma=False)


def divides_rows(rows: int) -> bool:
    """Whether the mesh that is set, if any, cuts so many rows into equal parts."""
    mesh = jax.sharding.get_abstract_mesh()
    return mesh.empty or rows % row_devices(mesh) == 0


def platform() -> str:
    """What the program that is traced will run on: the devices of the mesh that is set, or JAX's default."""
    device = jax.sharding.get_abstract_mesh().abstract_device
    return device.platform if device is not None else jax.default_backend()


def automatic(update: Callable, state: Any) -> Callable:
    """Lets the compiler choose the shardings of `update(state, batch) -> (state, metrics)`, on an Explicit mesh too.

    Call while tracing. The new state is sharded as the old one; metrics are replicated.
    """
    if AxisType.Explicit not in jax.sharding.get_abstract_mesh().axis_types:
        return update
    places = jax.tree.map(lambda leaf: jax.typeof(leaf).sharding, state)
    return jax.sharding.auto_axes(update, out_sharding=(places, PartitionSpec()))


def parts_of_process(mesh: Mesh) -> dict[str, Any]:
    """The parts of a batch that this process reads: those of its devices, of all into which the mesh cuts the rows.

    Processes read the same part where the tensor axis spans them. Devices of a process need not follow each other.

    Returns:
      {"parts": their numbers, ascending, "of": the number of all parts}.
    """
    count = row_devices(mesh)
    places = batch_sharding(mesh).addressable_devices_indices_map((count,))
    return {"parts": sorted({index[0].start or 0 for index in places.values() if index}), "of": count}


def put_batch(batch: BatchT, mesh: Mesh) -> BatchT:
    """Places the rows that this process has read as global arrays sharded over the mesh.

    Args:
      batch: a dict of arrays, whose rows are the parts that `parts_of_process` names, in this order.
      mesh: over which the rows are spread.
    """
    place = batch_sharding(mesh)
    cut = parts_of_process(mesh)

    def put(rows: np.ndarray) -> jax.Array:
        size = len(rows) // len(cut["parts"])

        def of_device(index: tuple[slice, ...] | None) -> np.ndarray:
            assert index is not None  # each device here holds some rows
            start = cut["parts"].index((index[0].start or 0) // size) * size
            return rows[start : start + size]

        return jax.make_array_from_callback((size * cut["of"], *rows.shape[1:]), place, of_device)

    return jax.tree.map(put, batch)


def put_array(array: Any, place: Sharding) -> jax.Array:
    """Places an array that every process holds in full, as one global array; the inverse of `to_host`."""
    # From NumPy: JAX does not move an array of one device to a mesh that spans processes.
    return jax.device_put(np.asarray(array), place)


def to_host(array: Any) -> np.ndarray:
    """A NumPy copy of an array, even if it is distributed over the processes of a job; all of them must call this."""
    if isinstance(array, jax.Array) and not array.is_fully_addressable:
        return np.asarray(multihost_utils.process_allgather(array, tiled=True))
    return np.asarray(array)
