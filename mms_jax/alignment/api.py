"""`mms_jax.align`: one recording and its text in, verses with times and scores out."""

import os
import warnings
from collections.abc import Sequence

import numpy as np

from mms_jax.alignment.chapters import align_chapters
from mms_jax.alignment.spans import Verse
from mms_jax.audio.inputs import check_recordings
from mms_jax.audio.waveform import SAMPLE_RATE
from mms_jax.errors import InputError
from mms_jax.inference.load import load_recognizer
from mms_jax.inference.recognizer import Recognizer


class DoubtWarning(UserWarning):
    """An alignment that is probably wrong; the confidence of each verse tells which parts of it are."""


def align(
    recording: str | os.PathLike | np.ndarray,
    lines: Sequence[str],
    *,
    language: str,
    model: Recognizer | str | os.PathLike,
    rate: int = SAMPLE_RATE,
) -> list[Verse]:
    """Finds every verse, word and character of a text in its recording.

    Args:
      recording: the path of a file of any format, rate and length; or a waveform, float (samples,), mono.
      lines: its text, one verse a line.
      language: ISO 639-3. A language-independent model of romanized text accepts any code.
      model: a CTC recognizer, or a name or path from which `load` makes one.
      rate: samples per second of a waveform; files state their own.

    Returns:
      For each line a span with text, start and end in seconds, score, and its words; see mms_jax.alignment.spans. A
      DoubtWarning says that the whole is not believed.

    Raises:
      AudioError: the recording cannot be used. AlignmentError: the text cannot be aligned; the message says why.
      CheckpointError: the model does not exist or is not a recognizer.
      LanguageError: the model does not support the language.
      InputError: one string or path in place of the list of lines, or a list in place of the recording.
    """
    check_lines(lines)
    if isinstance(recording, Sequence) and not isinstance(recording, str):
        raise InputError(f"a {type(recording).__name__} where one recording is expected: its path, or a waveform")
    check_recordings([recording], rate)
    if isinstance(model, str | os.PathLike):
        model = load_recognizer(model, [language])
    if not isinstance(model, Recognizer):
        raise InputError(f"{type(model).__name__} where a recognizer is expected")
    [result] = align_chapters(model, [recording], [lines], language, rate=rate)
    if isinstance(result, Exception):
        raise result
    if result.doubt:
        warnings.warn(
            f"the alignment is not believed (confidence {result.confidence:.2f}): {result.doubt}",
            DoubtWarning,
            stacklevel=2,
        )
    return result.verses


def check_lines(lines: Sequence[str]) -> None:
    """Raises InputError for values that are easily confused with a list of lines."""
    if isinstance(lines, str):
        raise InputError("one string where a list of lines is expected; write text.splitlines(), one verse a line")
    if isinstance(lines, os.PathLike):
        raise InputError(
            f"{os.fspath(lines)!r} is a path where a list of lines is expected; write path.read_text().splitlines()"
        )
    if not isinstance(lines, Sequence):
        raise InputError(f"a {type(lines).__name__} where a list of lines is expected; write list(...)")
    for number, line in enumerate(lines):
        if not isinstance(line, str):
            raise InputError(f"line {number} is a {type(line).__name__}; give the text's lines as strings")
