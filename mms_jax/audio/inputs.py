"""What people name on a command line: files, folders, and - for standard input."""

import contextlib
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence

from mms_jax.audio.errors import AudioError

_KNOWN = ("aac aif aiff amr au caf flac m4a mka mkv mov mp2 mp3", "mp4 mpga oga ogg opus wav webm wma")
SUFFIXES = frozenset(f".{name}" for names in _KNOWN for name in names.split())


def recordings_in(folder: pathlib.Path) -> list[pathlib.Path]:
    """The recordings at any depth of a folder, by name.

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
      names: files; folders, of which every recording below is taken, by name; "-" for what standard input brings.

    Yields:
      (what to call it, path) for each. What standard input brought is deleted afterwards.

    Raises:
      AudioError: a folder without recordings.
    """
    with tempfile.TemporaryDirectory() as scratch:
        found: list[tuple[str, str]] = []
        for name in names:
            path = pathlib.Path(name)
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
