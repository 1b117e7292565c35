"""`mms_jax.align`: one recording and its text in, verses with times and scores out."""

import os
from collections.abc import Sequence

from mms_jax.alignment.chapters import align_chapters
from mms_jax.alignment.spans import Verse
from mms_jax.errors import InputError
from mms_jax.inference.load import load_recognizer
from mms_jax.inference.recognizer import Recognizer


def align(
    file: str | os.PathLike, lines: Sequence[str], *, language: str, model: Recognizer | str | os.PathLike
) -> list[Verse]:
    """Finds every verse, word and character of a text in its recording.

    Args:
      file: a recording of any format, rate and length.
      lines: its text, one verse a line.
      language: ISO 639-3. A language-independent model of romanized text accepts any code.
      model: a CTC recognizer, or a name or path from which `load` makes one.

    Returns:
      For each line a span with text, start and end in seconds, score, and its words; see mms_jax.alignment.spans.

    Raises:
      AudioError: the recording cannot be used. AlignmentError: the text cannot be aligned; the message says why.
      CheckpointError: the model does not exist or is not a recognizer.
      LanguageError: the model does not support the language.
      InputError: one string in place of the list of lines, or an array in place of the path.
    """
    if isinstance(lines, str):
        raise InputError("one string where a list of lines is expected; write text.splitlines(), one verse a line")
    if not isinstance(file, str | os.PathLike):
        raise InputError(f"{type(file).__name__} where the path of a recording is expected")
    if isinstance(model, str | os.PathLike):
        model = load_recognizer(model, [language])
    if not isinstance(model, Recognizer):
        raise InputError(f"{type(model).__name__} where a recognizer is expected")
    [result] = align_chapters(model, [str(file)], [lines], language)
    if isinstance(result, Exception):
        raise result
    return result.verses
