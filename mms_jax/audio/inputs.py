"""Input recordings: files, folders and "-" on a command line, and lists of files or arrays in Python."""

import contextlib
import dataclasses
import os
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence

import numpy as np

from mms_jax.audio.waveform import SAMPLE_RATE, SHORTEST_SAMPLES
from mms_jax.errors import AudioError, InputError

_KNOWN = (
    "3g2 3gp 3gpp aac ac3 aif aifc aiff amr ape asf au avi caf eac3 f4a flac flv m2ts m4a m4b m4r m4v mka mkv mov mp2 mp3",
    "mp4 mpc mpeg mpg mpga mts nist oga ogg ogm ogv opus ra rf64 rm snd sph spx tta voc w64 wav wave weba webm wma wmv wv",
)
SUFFIXES = frozenset(f".{name}" for names in _KNOWN for name in names.split())
STDIN = "-"


@dataclasses.dataclass(frozen=True)
class AudioInput:
    """A recording of a command line.

    Attributes:
      name: for messages and results; "-" for standard input.
      path: the file.
      stem: where its results belong below an output folder: its path below the folder that was given (or below the one
        that holds all that was given), without suffix.
    """

    name: str
    path: str
    stem: pathlib.PurePath


def files_below(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """The files in a folder and its subfolders; hidden ones, as macOS puts beside recordings, are none.

    Raises:
      AudioError: a folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise AudioError(f"{error.filename}: cannot be read ({error.strerror}); check its permissions") from error

    seen: set[str] = set()  # links may lead back
    for parent, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        seen.add(os.path.realpath(parent))
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith((".", "__MACOSX")) and os.path.realpath(os.path.join(parent, name)) not in seen
        )
        for name in sorted(names):
            file = pathlib.Path(parent, name)
            if not name.startswith(".") and not file.is_dir():
                yield file


def recordings_in(folder: pathlib.Path) -> list[pathlib.Path]:
    """The recordings in a folder and its subfolders, sorted by name.

    Raises:
      AudioError: there are none, or a folder cannot be read.
    """
    inside = sorted(file for file in files_below(folder) if file.suffix.lower() in SUFFIXES)
    if not inside:
        raise AudioError(f"{folder}: no recordings in this folder (files named {', '.join(sorted(SUFFIXES))})")
    return inside


@contextlib.contextmanager
def audio_files(names: Sequence[str]) -> Iterator[list[AudioInput]]:
    """The recordings that `names` stand for.

    Args:
      names: files; folders, for all recordings below them, sorted by name; "-" for a recording on standard input.

    Yields:
      The recordings. The copy of standard input is deleted afterward.

    Raises:
      AudioError: a folder without recordings, or standard input is empty.
    """
    with tempfile.TemporaryDirectory() as scratch:
        found: list[tuple[str, str]] = []
        parents: list[str] = []
        for name in names:
            path = pathlib.Path(name)
            if not name:
                raise InputError("an AUDIO argument is empty; name a file, a folder, or - for standard input")
            if name == STDIN:
                found.append((STDIN, str(_copy_of_stdin(pathlib.Path(scratch)))))
                continue
            if path.is_dir():
                inside = recordings_in(path)
                found += [(str(file), str(file)) for file in inside]
            else:
                found.append((name, name))
            parents.append(os.path.abspath(path if path.is_dir() else path.parent))
        root = os.path.commonpath(parents) if parents else ""
        yield [AudioInput(printable(name), path, _stem(name, root)) for name, path in found]


def printable(name: str | os.PathLike) -> str:
    """A file's name on one line and in Unicode: bytes that are no UTF-8, tabs and newlines are escaped."""
    text = os.fspath(name).encode("utf-8", "backslashreplace").decode("utf-8")
    return text.replace("\t", "\\t").replace("\n", "\\n")


def _copy_of_stdin(folder: pathlib.Path) -> pathlib.Path:
    copy = folder / "stdin"
    with copy.open("wb") as stream:
        shutil.copyfileobj(sys.stdin.buffer, stream)
    if not copy.stat().st_size:
        raise AudioError(
            "standard input is empty; pipe a recording into it, as in cat a.ogg | mms-jax transcribe - ..."
        )
    return copy


def _stem(name: str, root: str) -> pathlib.PurePath:
    if name == STDIN:
        return pathlib.PurePath("stdin")
    return pathlib.PurePath(os.path.relpath(os.path.abspath(name), root)).with_suffix("")


def distinct_stems(inputs: Sequence[AudioInput]) -> list[pathlib.PurePath]:
    """The stem of each input, made different where two would share a file, also on disks that ignore case.

    A recording whose stem another one has keeps its suffix in the name (a.wav.txt beside a.mp3.txt); if that is taken
    too, it is numbered.
    """
    shared: dict[str, set[str]] = {}
    for given in inputs:
        shared.setdefault(_folded(given.stem), set()).add(os.path.abspath(given.path))
    taken = {key for key, paths in shared.items() if len(paths) == 1}
    chosen: dict[str, pathlib.PurePath] = {}
    for given in inputs:
        path = os.path.abspath(given.path)
        if path not in chosen:
            stem = given.stem
            if len(shared[_folded(stem)]) > 1:
                stem = next(new for new in _variants(given) if _folded(new) not in taken)
                taken.add(_folded(stem))
            chosen[path] = stem
    return [chosen[os.path.abspath(given.path)] for given in inputs]


def _variants(given: AudioInput) -> Iterator[pathlib.PurePath]:
    named = given.stem.with_name(pathlib.PurePath(given.path).name)
    yield named
    number = 2
    while True:
        yield named.with_name(f"{named.name}-{number}")
        number += 1


def _folded(stem: pathlib.PurePath) -> str:
    return str(stem).casefold()


def check_recordings(recordings: Sequence[str | os.PathLike | np.ndarray], rate: int = SAMPLE_RATE) -> None:
    """Refuses values that are easily confused with a list of recordings: of paths, waveforms, or both.

    Raises:
      InputError: a single path or array, or an array that is no waveform; the message names it.
    """
    _check_rate(rate)
    if isinstance(recordings, str | bytes | os.PathLike):
        name = os.fspath(recordings)
        raise InputError(f"{name!r} is one file where a list of recordings is expected; write [{name!r}]")
    if hasattr(recordings, "shape"):
        raise InputError(
            f"an array of shape {recordings.shape} where a list of recordings is expected; write [waveform]"
        )
    if not isinstance(recordings, Sequence):
        raise InputError(f"a {type(recordings).__name__} where a list of recordings is expected; write list(...)")
    for number, recording in enumerate(recordings):
        if isinstance(recording, str | os.PathLike):
            continue
        if not hasattr(recording, "__array__"):
            raise InputError(
                f"recording {number} is a {type(recording).__name__}; give the path of a file, or a waveform as an array"
            )
        _check_form(np.asarray(recording), f"waveform {number}")


def check_waveforms(waveforms: Sequence[np.ndarray], rate: int = SAMPLE_RATE) -> None:
    """Refuses values that are easily confused with a list of waveforms.

    Args:
      waveforms: float (samples,), mono, in [-1, 1] as recorded.
      rate: sampling rate in Hz.

    Raises:
      InputError: one array instead of a list, paths, integers, several channels, NaN, too few samples, or no rate.
    """
    _check_rate(rate)
    if isinstance(waveforms, str | os.PathLike):
        raise InputError(f"{str(waveforms)!r} is a path; read it with mms_jax.audio.read.read_audio, and give a list")
    if hasattr(waveforms, "shape"):
        raise InputError(f"an array of shape {waveforms.shape} where a list of waveforms is expected; write [waveform]")
    for number, given in enumerate(waveforms):
        waveform, name = np.asarray(given), f"waveform {number}"
        _check_form(waveform, name)
        shortest = -(-SHORTEST_SAMPLES * rate // SAMPLE_RATE)
        if len(waveform) < shortest:
            raise InputError(f"{name} has {len(waveform)} samples; models need at least {shortest} (25 ms)")
        if not np.isfinite(waveform).all():
            raise InputError(f"{name}: holds NaN or infinite samples")


def _check_rate(rate: int) -> None:
    if not isinstance(rate, int | np.integer) or rate < 1:
        raise InputError(f"rate={rate!r}: give the samples per second of the waveforms, as in rate=16000")


def _check_form(waveform: np.ndarray, name: str) -> None:
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
