""".safetensors files, one tensor at a time."""

import functools
import os
import pathlib
from collections.abc import Mapping

import numpy as np
import safetensors
import safetensors.numpy

from mms_jax.errors import ConversionError
from mms_jax.interop.keys import Tensor


def read_safetensors(path: pathlib.Path) -> dict[str, Tensor]:
    """The tensors of a file by name; nothing is read yet.

    Raises:
      ConversionError: no such file, or a damaged one.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (safetensors.SafetensorError, OSError) as error:
        raise ConversionError(f"{path}: cannot be read ({error}); download it again") from error

    def read(name: str) -> np.ndarray:
        # The file is opened for each tensor, because mapped pages stay in memory as long as it is open.
        with safetensors.safe_open(path, framework="numpy") as file:
            return file.get_tensor(name)

    return {name: Tensor(shape, functools.partial(read, name)) for name, shape in shapes.items()}


def save_safetensors(path: pathlib.Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Writes a file with the permissions that the umask allows; the library would restrict it to its owner."""
    safetensors.numpy.save_file(dict(tensors), path, metadata={"format": "pt"})
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)
