"""Accelerators by the name of their topology: peak, memory, and bandwidths."""

import dataclasses
import os
import re
from collections.abc import Sequence
from typing import Any

import jax

from mms_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Chip:
    """Figures of one chip, as its vendor states them.

    Attributes:
      peak: products and sums of bfloat16 a second.
      memory: bytes.
      bandwidth: of the memory, bytes a second.
      link: of one link to a neighbor, bytes a second in each direction.
      network: between slices, bytes a second for each chip.
      closed: chips of a dimension of the torus from which on its ends are linked.
    """

    peak: float
    memory: float
    bandwidth: float
    link: float
    network: float
    closed: int


# Google Cloud's pages "TPU v4", "TPU v5e", "TPU v5p", "TPU v6e" (system architecture): peak in bfloat16, HBM, and the
# interconnect of a chip divided by its ports: 6 for v4 and v5p, 4 for v5e and v6e. The network is a host's, divided by its
# chips. Dimensions of 16 chips are closed in v5e and v6e, those of multiples of 4 in v4 and v5p.
CHIPS = {
    "v4": Chip(275e12, 32e9, 1200e9, 50e9, 6.25e9, 4),
    "v5e": Chip(197e12, 16e9, 819e9, 50e9, 3.1e9, 16),
    "v5p": Chip(459e12, 95e9, 2765e9, 100e9, 6.25e9, 4),
    "v6e": Chip(918e12, 32e9, 1640e9, 112e9, 12.5e9, 16),
}

_CUBES = ("v4", "v5p")  # whose torus has three dimensions

# How JAX calls them, `device.device_kind`, as it begins; the longer names first.
KINDS = {"TPU v6": "v6e", "TPU v5p": "v5p", "TPU v5 lite": "v5e", "TPU v5e": "v5e", "TPU v5": "v5p", "TPU v4": "v4"}
# NVIDIA's data sheets: products and sums of bfloat16 a second, without sparsity.
GPU_PEAKS = {"A100": 312e12, "H100 PCIe": 756e12, "H100": 989e12, "H200": 989e12, "B200": 2250e12}


def peak_of(kind: str) -> float | None:
    """Products and sums of bfloat16 a second of a device, by its `device_kind`; None where it is not known."""
    for start, name in KINDS.items():
        if kind.startswith(start):
            return CHIPS[name].peak
    return next((peak for name, peak in GPU_PEAKS.items() if name in kind), None)


def chip_of(topology: str) -> Chip:
    """The chip of a topology, "v5e:16x16".

    Raises:
      ConfigError: an unknown chip, or no shape.
    """
    name, _, shape = topology.partition(":")
    sizes = 3 if name in _CUBES else 2
    if name not in CHIPS or not re.fullmatch(r"\d+(x\d+)+", shape) or shape.count("x") != sizes - 1:
        raise ConfigError(
            f"--topology={topology}: write CHIP:SHAPE, as in v5e:16x16 or v5p:4x4x4, with three sizes for "
            f"{' and '.join(_CUBES)}, two for others; chips: {', '.join(CHIPS)}"
        )
    return CHIPS[name]


def tpu_devices(topology: str, slices: int) -> Sequence[Any]:
    """Devices for which the TPU compiler works, without a TPU.

    Args:
      topology: "v5e:16x16", of each slice.
      slices: their number.

    Raises:
      ConfigError: libtpu is missing, or knows no such topology.
    """
    chip_of(topology)
    # Without these, libtpu asks Google Cloud's metadata server for its machine, and locks out other processes.
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    from jax.experimental import topologies

    options: dict[str, Any] = {"num_slices": slices} if slices > 1 else {}
    if topology.startswith("v4:"):
        options["chip_config_name"] = "megacore"  # the two cores of a chip are one device, as on Cloud TPU
    try:
        return topologies.get_topology_desc(topology, "tpu", **options).devices
    except (RuntimeError, ValueError, jax.errors.JaxRuntimeError) as error:
        message = " ".join(str(error).split())[:300]
        raise ConfigError(
            f"--topology={topology}: {message}; the TPU compiler comes with pip install 'mms-jax[tpu]'"
        ) from error
