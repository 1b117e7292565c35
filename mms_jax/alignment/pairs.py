"""Pairs of recordings and text files."""

import collections
import dataclasses
import os
import pathlib
from collections.abc import Iterator

from mms_jax.audio.inputs import SUFFIXES, files_below, recordings_in
from mms_jax.errors import AlignmentError
from mms_jax.files import read_text


@dataclasses.dataclass(frozen=True)
class Pair:
    """A recording and its text.

    Attributes:
      name: the recording's path below the given folder, without suffix.
      audio: its path.
      text: the text's path.
    """

    name: str
    audio: pathlib.Path
    text: pathlib.Path

    def lines(self) -> list[str]:
        """The text, one verse a line.

        Raises:
          AlignmentError: it cannot be read, or is no text.
        """
        try:
            return read_text(self.text, AlignmentError).splitlines()
        except OSError as error:
            raise AlignmentError(f"{self.text}: cannot be read ({os.strerror(error.errno or 0)})") from error


def find_pairs(audio: str, text: str) -> tuple[list[Pair], list[str], list[str]]:
    """The recordings that `audio` names, with their texts.

    Args:
      audio: a recording, or a folder with recordings at any depth.
      text: its text file, or a folder (the same or another) with NAME.txt for every NAME.mp3.

    Returns:
      Pairs by name; a message for every file without a partner; and one for every recording whose name another has, so that
      its text and its result would be the other's.

    Raises:
      AlignmentError: one argument is a folder and the other a file, or there is no pair.
      AudioError: the folder holds no recordings.
    """
    sound, script = pathlib.Path(audio), pathlib.Path(text)
    _check_order(sound, script)
    if not sound.is_dir():
        if script.is_dir():
            raise AlignmentError(f"{audio} is a recording and {text} a folder; name its text file")
        if not script.exists():
            raise AlignmentError(f"{text}: cannot be read (No such file or directory); name the text of {audio}")
        return [Pair(sound.stem, sound, script)], [], []
    if not script.is_dir():
        raise AlignmentError(
            f"{audio} is a folder and {text} is not; name the folder that holds a .txt file for each recording"
        )
    pairs = list(_pairs(sound, script))
    counts = collections.Counter(pair.name.casefold() for pair in pairs if pair.text.exists())
    alone = [pair for pair in pairs if not pair.text.exists()]
    doubled = [pair for pair in pairs if counts[pair.name.casefold()] > 1]
    whole = [pair for pair in pairs if counts[pair.name.casefold()] == 1 and pair.text.exists()]
    texts = {pair.text for pair in pairs}
    left_out = [f"{pair.audio}: no text {pair.text}; it is left out" for pair in alone]
    conflicts = [f"{pair.audio}: another recording has this name; rename one of them" for pair in doubled]
    left_out += [
        f"{file}: no recording of this name; it is left out"
        for file in sorted(files_below(script))
        if file.suffix.lower() == ".txt" and file not in texts
    ]
    if not whole and conflicts:
        raise AlignmentError(conflicts[0])
    if not whole:
        raise AlignmentError(f"{audio}: no recording has a text; NAME.mp3 belongs to {script}/NAME.txt")
    return whole, left_out, conflicts


def _check_order(sound: pathlib.Path, script: pathlib.Path) -> None:
    """Raises AlignmentError where a text comes first and its recording second."""
    if sound.is_dir() and script.is_dir():
        first, second = ({file.suffix.lower() for file in files_below(folder)} for folder in (sound, script))
        swapped = not first & SUFFIXES and ".txt" in first and bool(second & SUFFIXES)
    else:
        wrong = script.suffix.lower() in SUFFIXES and script.is_file() and not sound.is_dir()
        if wrong and sound.suffix.lower() in SUFFIXES:
            raise AlignmentError(f"{script} is a recording, not a text; name the text of {sound}")
        swapped = wrong
    if swapped:
        raise AlignmentError(
            f"{sound} is the text and {script} the recording; write the recording first: {script} {sound}"
        )


def _pairs(sound: pathlib.Path, script: pathlib.Path) -> Iterator[Pair]:
    for file in recordings_in(sound):
        name = file.relative_to(sound).with_suffix("")
        yield Pair(str(name), file, script / f"{name}.txt")
