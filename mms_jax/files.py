"""JSON and text files: read with an error that names the file and the fix, written atomically."""

import json
import pathlib
from typing import Any

from mms_jax.errors import MmsError


def read_json(path: pathlib.Path, error_class: type[MmsError]) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
      error_class: the file cannot be decoded, or holds something else; OSError: it cannot be opened.
    """
    try:
        fields = json.loads(read_text(path, error_class))
    except ValueError as error:
        if isinstance(error, MmsError):
            raise
        raise error_class(f"{path}: is damaged ({error}); restore it from its source, or delete its folder") from error
    if not isinstance(fields, dict):
        raise error_class(f"{path}: holds no JSON object; restore it from its source, or delete its folder")
    return fields


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes a JSON file atomically, so that no reader finds it incomplete."""
    temporary = path.with_name(f".{path.name}.partial")
    temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(path)


def read_text(path: pathlib.Path, error_class: type[MmsError]) -> str:
    """Reads a UTF-8 file, with or without a byte order mark.

    Raises:
      error_class: it is not UTF-8; OSError: it cannot be opened.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise error_class(f"{path}: is not UTF-8 (byte {error.start}); save it as UTF-8") from error
