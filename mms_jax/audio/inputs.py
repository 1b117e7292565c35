"""Input recordings: files, folders and "-" on a command line, and lists of files or arrays in Python."""

import contextlib
import os
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence

import numpy as np

from mms_jax.audio.waveform import SAMPLE_RATE, SHORTEST_SAMPLES
from mms_jax.errors import AudioError, InputError

_KNOWN = ("aac aif aiff amr au caf flac m4a mka mkv mov mp2 mp3", "mp4 mpga oga ogg opus wav webm wma")
SUFFIXES = frozenset(f".{name}" for names in _KNOWN for name in names.split())


def recordings_in(folder: pathlib.Path) -> list[pathlib.Path]:
    """The recordings in a folder and its subfolders, sorted by name.

    Raises:
      AudioError: there are none.
    """
    inside = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)
    if not inside:
        raise AudioError(f"{folder}: no recordings in this folder ({', '.join(sorted(SUFFIXES))})")
    return inside


@contextlib.contextmanager
def audio_files(names: Sequence[str]) -> Iterator[list[tuple[str, str]]]:
    """The recordings that `names` stand for.

    Args:
      names: files; folders, for all recordings below them, sorted by name; "-" for a recording on standard input.

    Yields:
      (name for messages, path) of each. The copy of standard input is deleted afterward.

    Raises:
      AudioError: a folder without recordings.
    """
    with tempfile.TemporaryDirectory() as scratch:
        found: list[tuple[str, str]] = []
        for name in names:
            path = pathlib.Path(name)
            if not name:
                raise InputError("an AUDIO argument is empty; name a file, a folder, or - for standard input")
            if name == "-":
                copy = pathlib.Path(scratch) / "stdin"
                with copy.open("wb") as stream:
                    shutil.copyfileobj(sys.stdin.buffer, stream)
                found.append(("-", str(copy)))
            elif path.is_dir():
                found += [(str(file), str(file)) for file in recordings_in(path)]
            else:
                found.append((name, name))
        yield found


def check_files(files: Sequence[str | os.PathLike]) -> None:
    """Refuses values that are easily confused with a list of files.

    Raises:
      InputError: a single path, or arrays.
    """
    if isinstance(files, str | bytes | os.PathLike):
        raise InputError(f"{files!r} is one file where a list of files is expected; write [{str(files)!r}]")
    for file in files:
        if not isinstance(file, str | os.PathLike):
            raise InputError(
                f"{type(file).__name__} where the path of a recording is expected; arrays go to the methods that take "
                "waveforms, such as logits"
            )


def check_waveforms(waveforms: Sequence[np.ndarray], rate: int = SAMPLE_RATE) -> None:
    """Refuses values that are easily confused with a list of waveforms.

    Args:
      waveforms: float (samples,), mono, 16 kHz, in [-1, 1] as recorded.
      rate: sampling rate in Hz.

    Raises:
      InputError: one array instead of a list, paths, integers, several channels, NaN, too few samples, or another rate.
    """
    if rate != SAMPLE_RATE:
        raise InputError(
            f"rate={rate}: models take {SAMPLE_RATE} Hz; resample first, as in "
            f"mms_jax.audio.waveform.resample(waveform, {rate})"
        )
    if isinstance(waveforms, str | os.PathLike):
        raise InputError(f"{str(waveforms)!r} is a path; read it with mms_jax.audio.read.read_audio, and give a list")
    if hasattr(waveforms, "shape"):
        raise InputError(f"an array of shape {waveforms.shape} where a list of waveforms is expected; write [waveform]")
    for number, waveform in enumerate(waveforms):
        _check_waveform(np.asarray(waveform), f"waveform {number}")


def _check_waveform(waveform: np.ndarray, name: str) -> None:
    if waveform.dtype.kind in "iu":
        scale = np.iinfo(waveform.dtype).max + 1
        raise InputError(f"{name} holds {waveform.dtype} samples; models take floats in [-1, 1]: divide by {scale}")
    if waveform.dtype.kind != "f":
        raise InputError(f"{name} has dtype {waveform.dtype}; give float samples")
    if waveform.ndim != 1:
        channels = int(np.argmin(waveform.shape)) if waveform.ndim else 0
        raise InputError(
            f"{name} has shape {waveform.shape}; give one channel, (samples,), as in waveform.mean(axis={channels})"
        )
    if len(waveform) < SHORTEST_SAMPLES:
        raise InputError(f"{name} has {len(waveform)} samples; models need at least {SHORTEST_SAMPLES} (25 ms)")
    if not np.isfinite(waveform).all():
        raise InputError(f"{name} holds NaN or infinite samples")
