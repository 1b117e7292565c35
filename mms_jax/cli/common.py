"""Help texts, models and progress that several subcommands share."""

import contextlib
import dataclasses
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from mms_jax.audio.decode import seconds_of
from mms_jax.audio.inputs import STDIN, AudioInput
from mms_jax.errors import AudioError
from mms_jax.inference import load as loading

if TYPE_CHECKING:  # an exported recognizer loads no model code
    from mms_jax.inference.identifier import Identifier
    from mms_jax.inference.recognizer import Recognizer

MODEL_HELP = "a run's folder, a Hugging Face folder or repository (OWNER/NAME), a .pt file of fairseq or MMS_FA"
FILES_HELP = "recordings of any format, rate and length; folders of them; - for standard input"
_BAR = "{desc}: {percentage:3.0f}%|{bar}| {n:.0f} of {total:.0f} s of audio, {elapsed} so far, {remaining} left"
_BAR_OF_UNKNOWN_LENGTH = "{desc}: {n:.0f} s of audio, {elapsed}"


def split_languages(given: str | None) -> list[str] | None:
    """The languages of a --lang L1,L2."""
    return None if given is None else given.split(",")


def load_recognizer(name: str, languages: Sequence[str] | None = None) -> "Recognizer":
    """A recognizer for recordings, with a warning where it has learned from synthetic speech only."""
    model = loading.load_recognizer(name, languages)
    _warn_of_synthetic(name, model)
    return model


def load_identifier(name: str) -> "Identifier":
    """An identifier for recordings, see `load_recognizer`."""
    model = loading.load_identifier(name)
    _warn_of_synthetic(name, model)
    return model


def _warn_of_synthetic(name: str, model: "Recognizer | Identifier") -> None:
    history = getattr(model, "origin", {}).get("history", {})
    if history.get("synthetic"):
        print(
            f"warning: {name} has learned from synthetic speech only ({', '.join(history['corpora'])}); on real recordings "
            "most of its answers are wrong",
            file=sys.stderr,
        )


def json_line(name: str, result: Any) -> str:
    """A result as one JSON object, with its file."""
    return json.dumps({"file": name, **dataclasses.asdict(result)}, ensure_ascii=False)


def text_line(name: str, text: str, *, single: bool) -> str:
    """A result as a line of text, which names its file unless there is only one."""
    return text if single else f"{name}\t{text}"


@contextlib.contextmanager
def audio_progress(title: str, paths: Sequence[str]) -> Iterator[Callable[[float], None]]:
    """A bar of the seconds of audio that are done, on terminals.

    Yields:
      A function that takes the seconds of each further piece.
    """
    shown = sys.stderr.isatty()
    lengths = [seconds_of(path) for path in paths] if shown else []
    total = sum(filter(None, lengths)) if lengths and None not in lengths else None
    bar_format = _BAR if total else _BAR_OF_UNKNOWN_LENGTH
    with contextlib.closing(
        tqdm(total=total, desc=title, disable=not shown, leave=False, bar_format=bar_format)
    ) as bar:
        yield lambda seconds: bar.update(min(seconds, total - bar.n) if total else seconds) and None


def write_each(inputs: Sequence[AudioInput], results: Iterable[Any], write: Callable[[int, Any], None]) -> int:
    """Writes results as they come, in input order; a bad file is reported and does not stop the others.

    Args:
      inputs: the recordings.
      results: of each, or its AudioError.
      write: called with the number of an input and its result.

    Returns:
      The exit status: 1 if any file was bad.
    """
    failed = False
    for number, (given, result) in enumerate(zip(inputs, results)):
        if isinstance(result, AudioError):
            failed = True
            message = str(result).replace(given.path, "standard input") if given.name == STDIN else str(result)
            tqdm.write(f"error: {message}", file=sys.stderr)
        else:
            write(number, result)
    return 1 if failed else 0
