"""The files of a command's --output-dir: named after the recordings, and never over another recording's result."""

import contextlib
import os
import pathlib
import sys
from collections.abc import Callable, Iterator, Sequence

from mms_jax.audio.inputs import STDIN, AudioInput, distinct_stems, printable
from mms_jax.errors import InputError
from mms_jax.files import read_text, write_text

TABLE = "recordings.tsv"  # which recording each result is of
OUTPUT_HELP = "folder for one file per recording, in the folders of the input; nothing is printed"
_HEADER = "result\trecording\n"

Write = Callable[[int, str], None]


@contextlib.contextmanager
def output_files(
    folder: pathlib.Path | None, inputs: Sequence[AudioInput], suffix: str
) -> Iterator[tuple[list[int], Write | None]]:
    """The results of a command in a folder that mirrors the folders of the input.

    A table in the folder says which recording each result is of, so that a later command replaces a recording's own
    result only. Inputs whose result would replace another's are reported and left out.

    Args:
      folder: the --output-dir; None where results are printed.
      inputs: the recordings.
      suffix: of the files, as "txt".

    Yields:
      The numbers of the inputs to process; and a function that writes the result of an input, None without a folder.
    """
    if folder is None:
        yield list(range(len(inputs))), None
        return
    results = _Results(folder, inputs, suffix)
    for message in results.refused.values():
        print(f"error: {message}", file=sys.stderr)
    try:
        yield [number for number in range(len(inputs)) if number not in results.refused], results.write
    finally:
        if results.replaced:
            print(f"replaced {results.replaced} older results in {folder}", file=sys.stderr)


def check_folder(folder: pathlib.Path) -> None:
    """Raises InputError where an --output-dir is a file."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--output-dir {folder} is a file; name a folder, which is made if it does not exist")


class _Results:
    """Files and their recordings.

    Attributes:
      refused: a message for each input whose result would replace another's; by the input's number.
      replaced: the number of own results that were replaced.
    """

    def __init__(self, folder: pathlib.Path, inputs: Sequence[AudioInput], suffix: str):
        check_folder(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._owners = _read_table(folder / TABLE)
        self._files = [stem.with_name(f"{stem.name}.{suffix}") for stem in distinct_stems(inputs)]
        self._recordings = [_identity(given) for given in inputs]
        self.refused: dict[int, str] = {}
        self.replaced = 0
        self._there = {number for number, file in enumerate(self._files) if (folder / file).exists()}
        for number, (given, file) in enumerate(zip(inputs, self._files)):
            owner = self._owners.get(printable(file))
            if (folder / file).exists() and (owner != self._recordings[number] or given.name == STDIN):
                of = f"holds the result of {owner}" if owner else "is there already, and its recording is not known"
                self.refused[number] = f"{given.name}: {folder / file} {of}; move it, or choose another --output-dir"

    def write(self, number: int, text: str) -> None:
        """Writes the result of an input."""
        file, recording = self._files[number], self._recordings[number]
        target = self._folder / file
        self.replaced += number in self._there
        self._there.discard(number)
        target.parent.mkdir(parents=True, exist_ok=True)
        name = printable(file)
        if self._owners.get(name) != recording:
            self._owners[name] = recording
            table = self._folder / TABLE
            begin = "" if table.exists() else _HEADER
            with table.open("a", encoding="utf-8") as stream:
                stream.write(f"{begin}{name}\t{recording}\n")
        write_text(target, text + "\n")


def _identity(given: AudioInput) -> str:
    path = STDIN if given.name == STDIN else os.path.abspath(given.path)
    return printable(path)


def _read_table(path: pathlib.Path) -> dict[str, str]:
    if not path.exists():
        return {}
    rows = [line.split("\t") for line in read_text(path, InputError).split("\n")[1:]]
    return {row[0]: row[1] for row in rows if len(row) == 2}
