"""How long a compiled step takes on a chip, by a roofline over its operations.

Each operation takes the longer of its arithmetic, of operands that are padded to the width of the matrix units, at the
chip's peak, and of its traffic at the memory's bandwidth (Williams et al. 2009). Copies that the compiler starts ahead run
beside other operations, as do collectives that are started ahead or fused with arithmetic, and exchanges between slices; the
others add up. A collective runs around a ring, in both directions, over the links of one dimension of the torus, or along a
line, in one, where that dimension is not closed; between slices, over the network. The estimate is thus of a program that
never waits for a host or for a slower chip.
"""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from mms_jax.compile.hlo import Operation
from mms_jax.hardware.chips import Chip

_AHEAD = ("copy-start", "slice-start", "dynamic-slice-start")
# What a ring sends of the arrays, gathered, in units of (devices - 1) / devices of it.
_RING = {"all-reduce": 2.0, "all-gather": 1.0, "reduce-scatter": 1.0, "all-to-all": 0.25, "ragged-all-to-all": 0.25}


@dataclasses.dataclass(frozen=True)
class Traffic:
    """Collectives of one kind over the same axes: how many, and the bytes of their arrays, gathered."""

    kind: str
    axes: str
    count: float
    bytes: float


@dataclasses.dataclass(frozen=True)
class Estimate:
    """One step on one chip.

    Attributes:
      flops: products and sums, without padding.
      compute, memory, network: seconds of each, as if it were alone.
      seconds: of the step.
    """

    flops: float
    compute: float
    memory: float
    network: float
    seconds: float


def estimate(steps: Sequence[Operation], chip: Chip, mesh: jax.sharding.Mesh) -> Estimate:
    """The time of a program, see above."""
    flops = sum(step.times * step.flops for step in steps)
    compute = sum(step.times * step.padded for step in steps) / chip.peak
    memory = sum(step.times * step.bytes for step in steps) / chip.bandwidth
    in_turn = sum(
        step.times * max(step.padded / chip.peak, step.bytes / chip.bandwidth)
        for step in steps
        if step.instruction.opcode not in _AHEAD
    )
    beside, alone = (
        sum(step.times * _sending(step, chip, mesh) for step in steps if step.collective and step.overlaps == overlaps)
        for overlaps in (True, False)
    )
    seconds = max(in_turn + alone, memory, beside + alone)
    return Estimate(flops, compute, memory, beside + alone, seconds)


def _sending(step: Operation, chip: Chip, mesh: jax.sharding.Mesh) -> float:
    devices = len(step.groups) or mesh.size
    between = step.between_slices or _spans_slices(step.groups, mesh)
    bandwidth = chip.network if between else chip.link * _directions(step.groups, chip, mesh)
    if step.between_slices:
        devices = len({getattr(device, "slice_index", 0) for device in mesh.devices.flat})
    if step.collective == "collective-permute":
        return step.sent / bandwidth
    return _RING[step.collective] * step.sent * (devices - 1) / devices / bandwidth


def _directions(group: Sequence[int], chip: Chip, mesh: jax.sharding.Mesh) -> int:
    """In how many directions a collective runs: two around a ring; one along a line, whose ends are not linked."""
    everywhere = [getattr(device, "coords", None) for device in mesh.devices.flat]
    if any(coordinates is None for coordinates in everywhere):
        return 2
    places = np.asarray(everywhere)
    ours = places[list(group)] if group else places
    (varying,) = np.nonzero(np.ptp(ours, axis=0))
    if len(varying) != 1:  # a ring runs through a rectangle
        return 2
    length = int(np.ptp(places[:, varying[0]])) + 1
    return 2 if length >= chip.closed and len(np.unique(ours[:, varying[0]])) == length else 1


def _spans_slices(group: Sequence[int], mesh: jax.sharding.Mesh) -> bool:
    devices = mesh.devices.flatten()[list(group)] if group else mesh.devices.flat
    return len({getattr(device, "slice_index", 0) for device in devices}) > 1


def traffic(steps: Sequence[Operation], mesh: jax.sharding.Mesh) -> list[Traffic]:
    """The collectives by kind and mesh axes, largest first."""
    sums: dict[tuple[str, str], list[float]] = {}
    for step in steps:
        if step.collective:
            axes = "slices" if step.between_slices else _axes(step.groups, mesh)
            entry = sums.setdefault((step.collective, axes), [0.0, 0.0])
            entry[0] += step.times
            entry[1] += step.times * step.sent
    found = [Traffic(kind, axes, count, size) for (kind, axes), (count, size) in sums.items()]
    return sorted(found, key=lambda row: -row.bytes)


def _axes(group: Sequence[int], mesh: jax.sharding.Mesh) -> str:
    """The axes along which the devices of a group differ: "data x fsdp"."""
    if not group:
        return " x ".join(name for name, size in mesh.shape.items() if size > 1)
    coordinates = np.asarray(np.unravel_index(np.asarray(group), mesh.devices.shape))
    return " x ".join(name for name, row in zip(mesh.axis_names, coordinates) if len(set(row.tolist())) > 1)
