"""Aligned chapters on disk: one JSON file each, in the folder that `mms-jax align --output-dir` made."""

import hashlib
import json
import pathlib
from typing import Any

from mms_jax.errors import AlignmentError

SETTINGS = "made_with.settings"  # model, language and text rules of the folder


RECORD_FIELDS = ("file", "sha256", "language", "seconds", "dropped", "verses")
VERSE_FIELDS = ("text", "start", "end", "score", "cut_start", "cut_end", "normalized", "readable")


def file_checksum(path: str | pathlib.Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_record(path: pathlib.Path, record: dict[str, Any]) -> None:
    """Writes a chapter atomically: the JSON of `align`, with absolute paths and its recording's "sha256"."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


def read_records(folder: pathlib.Path) -> dict[str, dict[str, Any]]:
    """The chapters of a folder by name: the path of their file below it, without suffix.

    Raises:
      AlignmentError: the folder holds none, or a file is not an aligned chapter.
    """
    records = {}
    for file in sorted(folder.rglob("*.json")):
        try:
            record = json.loads(file.read_text("utf-8"))
            for name in RECORD_FIELDS:
                record[name]
            for verse in record["verses"]:
                for name in VERSE_FIELDS:
                    verse[name]
        except (ValueError, KeyError, TypeError) as error:
            raise AlignmentError(f"{file}: is not an aligned chapter ({error}); move it out of the folder") from error
        records[str(file.relative_to(folder).with_suffix(""))] = record
    if not records:
        raise AlignmentError(f"{folder}: holds no aligned chapters; mms-jax align AUDIO TEXT --output-dir makes them")
    return records
