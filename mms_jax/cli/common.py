"""Help texts and output that several subcommands share."""

import contextlib
import dataclasses
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tqdm import tqdm

from mms_jax.errors import AudioError

MODEL_HELP = "a run's folder, a Hugging Face folder or repository (OWNER/NAME), a .pt file of fairseq or MMS_FA"
FILES_HELP = "recordings of any format, rate and length; folders of them; - for standard input"


def split_languages(given: str | None) -> list[str] | None:
    """The languages of a --lang L1,L2."""
    return given.split(",") if given else None


def json_line(name: str, result: Any) -> str:
    """A result as one JSON object, with its file."""
    return json.dumps({"file": name, **dataclasses.asdict(result)}, ensure_ascii=False)


def text_line(name: str, text: str, *, single: bool) -> str:
    """A result as a line of text, which names its file unless there is only one."""
    return text if single else f"{name}\t{text}"


def write_each(title: str, names: Sequence[str], results: Iterable[Any], write: Callable[[str, Any], None]) -> int:
    """Writes results as they come, in input order; a bad file is reported and does not stop the others.

    Returns:
      The exit status: 1 if any file was bad.
    """
    failed = False
    progress = tqdm(results, total=len(names), desc=title, unit="file", disable=None, leave=False)
    with contextlib.closing(progress):
        for name, result in zip(names, progress):
            if isinstance(result, AudioError):
                failed = True
                tqdm.write(f"error: {result}", file=sys.stderr)
            else:
                write(name, result)
    return 1 if failed else 0
