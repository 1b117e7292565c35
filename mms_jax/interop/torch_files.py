"""Reader of torch.save archives that needs no PyTorch and executes no code in them.

A pickle is a small program. The reader below supports tensors, plain containers and two inert stand-ins for classes
whose data fairseq stores. A file that refers to anything else is refused before its code runs, and the message names
the class.
"""

import collections
import contextlib
import pathlib
import pickle
import zipfile
from typing import Any

import ml_dtypes
import numpy as np

from mms_jax.errors import ConversionError
from mms_jax.interop.keys import Tensor

_DTYPES: dict[str, Any] = {
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "DoubleStorage": np.float64,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}
# Classes whose attributes are read and whose code is never run.
_INERT = {("fairseq.data.dictionary", "Dictionary"), ("argparse", "Namespace")}


class TorchFileError(ConversionError):
    """A file that is not a torch.save archive, is damaged, or refers to more than tensors. The message names it."""


class Inert:
    """A stand-in for an object of a foreign class, with its attributes and none of its code."""

    def __init__(self, *arguments: Any, **attributes: Any):
        self.arguments = arguments
        self.__dict__.update(attributes)


def read_torch(path: pathlib.Path) -> Any:
    """Reads an archive of torch.save (PyTorch 1.6 and newer).

    Args:
      path: a .pt, .pth or .bin file.

    Returns:
      Its containers, with a Tensor for each tensor, whose data is not read yet.

    Raises:
      TorchFileError: the file is no such archive, is damaged, or refers to anything but tensors and plain containers.
    """
    with contextlib.ExitStack() as stack:
        archive = _open_archive(path)
        stack.callback(archive.close)
        contents = _read_archive(archive, path)
        stack.pop_all()  # tensors are read later: the archive is closed with the last of them
        return contents


def _open_archive(path: pathlib.Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise _no_archive(path, error) from error


def _no_archive(path: pathlib.Path, error: Exception) -> TorchFileError:
    return TorchFileError(
        f"{path}: is no archive of torch.save ({error}); files older than PyTorch 1.6 must be loaded and saved again "
        "with a newer one"
    )


def _read_archive(archive: zipfile.ZipFile, path: pathlib.Path) -> Any:
    try:
        [name] = [name for name in archive.namelist() if name.endswith("/data.pkl") or name == "data.pkl"]
        with archive.open(name) as stream:
            return _Reader(stream, archive, name.removesuffix("data.pkl"), path).load()
    except TorchFileError:
        raise
    except (zipfile.BadZipFile, ValueError) as error:
        raise _no_archive(path, error) from error
    except Exception as error:  # damaged pickles raise many kinds of exceptions
        raise TorchFileError(f"{path}: is damaged ({type(error).__name__}: {error}); download it again") from error


class _Reader(pickle.Unpickler):
    """An unpickler that finds only what is listed here."""

    def __init__(self, stream: Any, archive: zipfile.ZipFile, folder: str, path: pathlib.Path):
        super().__init__(stream)
        self._archive, self._folder, self._path = archive, folder, path

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda *arguments: self._tensor(*arguments)
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda tensor, *_: tensor
        if (module, name) == ("torch", "Size"):
            return lambda sizes: tuple(sizes)
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        if (module, name) in _INERT:
            return type("Inert", (Inert,), {"foreign": f"{module}.{name}"})
        raise TorchFileError(
            f"{self._path}: is refused: its pickle refers to {module}.{name}, which is neither a tensor nor a plain "
            "container; only load it with the program that wrote it, and only if you trust where it comes from"
        )

    def persistent_load(self, identity: Any) -> tuple[Any, str, int]:
        kind, dtype, key, _, count = identity
        if kind != "storage":
            raise TorchFileError(f"{self._path}: is refused: it refers to {kind!r} outside of the file")
        return np.dtype(dtype), str(key), int(count)

    def _tensor(self, storage: tuple, offset: int, size: tuple, stride: tuple, *_: Any) -> Tensor:
        dtype, key, count = storage
        shape = tuple(int(length) for length in size)
        steps = tuple(int(step) for step in stride)
        reach = offset + sum((length - 1) * step for length, step in zip(shape, steps)) + 1
        if (
            len(shape) != len(steps)
            or min((*shape, *steps, offset), default=0) < 0
            or (0 not in shape and reach > count)
        ):
            raise TorchFileError(f"{self._path}: is damaged: a tensor reaches outside of its storage {key}")

        def read() -> np.ndarray:
            raw = self._archive.read(f"{self._folder}data/{key}")
            values = np.frombuffer(raw, dtype)
            if len(values) < count:
                raise TorchFileError(f"{self._path}: is damaged: storage {key} has {len(values)} of {count} values")
            bytes_ = [step * dtype.itemsize for step in steps]
            return np.lib.stride_tricks.as_strided(values[offset:], shape, bytes_, writeable=False)

        return Tensor(shape, read)
