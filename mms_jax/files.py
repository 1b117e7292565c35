"""JSON and text files and folders: read with an error that names the file and the fix, written as a whole or not at all."""

import codecs
import contextlib
import importlib.util
import json
import os
import pathlib
import re
import shutil
from collections.abc import Iterator
from typing import Any

from etils import epath

from mms_jax.errors import ConfigError, ConversionError, MmsError

BUCKET = "gs://"  # of Google Cloud Storage


def open_path(path: str | os.PathLike) -> Any:
    """A pathlib.Path; of a name in a bucket, gs://BUCKET/NAME, an object with the same methods.

    Raises:
      ConfigError: it is in a bucket, and the library for it is missing; or it is an address of another kind.
    """
    if not in_bucket(path):
        if is_address(path):
            raise ConfigError(f"{path}: of addresses, only {BUCKET}BUCKET/NAME is known; or name a folder")
        return pathlib.Path(path).expanduser()
    if importlib.util.find_spec("gcsfs") is None:
        raise ConfigError(f"{path}: buckets need pip install 'mms-jax[gcs]'")
    import fsspec.config

    # A listing that was kept would hide what TensorStore and other hosts have written since.
    fsspec.config.conf.setdefault("gcs", {})["use_listings_cache"] = False
    return epath.Path(path)


def is_address(path: str | os.PathLike) -> bool:
    """Whether a path is an address, SCHEME://NAME, also one that pathlib has shortened to SCHEME:/NAME."""
    return "://" in os.fspath(path) or re.match(r"[a-z][a-z0-9]+:/", os.fspath(path)) is not None


def in_bucket(path: str | os.PathLike) -> bool:
    """Whether a path names something in a bucket."""
    return os.fspath(path).startswith(BUCKET)


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
    """Writes a JSON file atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a UTF-8 file atomically, so that no reader finds it incomplete."""
    if in_bucket(path):  # where an object is always whole
        path.write_text(text, encoding="utf-8")
        return
    temporary = path.with_name(f".{path.name}.partial")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_text(path: pathlib.Path, error_class: type[MmsError]) -> str:
    """Reads a text file: UTF-8, with or without a byte order mark, or UTF-16 with one, as Windows saves "Unicode".

    Raises:
      error_class: it is neither, or is a recording; OSError: it cannot be opened.
    """
    content = path.read_bytes()
    encoding = "utf-16" if content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise error_class(f"{path}: is not UTF-8 (byte {error.start}); save it as UTF-8") from error
    if "\0" in text:
        raise error_class(f"{path}: is not text (it holds zero bytes); save it as UTF-8")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def check_local(folder: pathlib.Path) -> None:
    """Raises ConversionError for an address, gs://BUCKET/NAME, where only a folder of this machine can be written."""
    if is_address(folder):
        raise ConversionError(f"{folder}: name a folder of this machine, and copy it afterwards (gcloud storage cp)")


@contextlib.contextmanager
def whole_folder(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """A folder that appears when it is complete: it is filled under another name, and removed where that fails.

    Args:
      folder: the target, whose parents are made; it must not exist, or be empty.

    Yields:
      The folder to fill.

    Raises:
      ConversionError: the target holds files, is one, or is in a bucket.
    """
    check_local(folder)
    folder = folder.expanduser()
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise ConversionError(f"{folder} holds something already; choose a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        if folder.exists():
            folder.rmdir()
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
