"""A folder of recordings and a table with their transcripts.

    python -m input_pipeline.prepare audio_folder --data_dir=data --name=dutch \
        --table=recordings/manifest.tsv --language=nld

The table is tab-separated, without quoting, with a header line. Columns: `path` (relative to the table; also `file` or
`audio`), `text` (also `sentence`, `transcript`), and optionally `language` (or `lang`), `speaker`, `split` and `id`.
Without a `split` column, a twentieth of the recordings becomes "validation" and another "test", chosen by their id.
"""

import argparse
import collections
import dataclasses
import hashlib
import os
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow_datasets as tfds
from absl import logging

from input_pipeline.corpora.storage import (
    SPLITS,
    UNKNOWN_SPEAKER,
    MakeErrorRate,
    Rejections,
    make_utterance,
    read_rows,
    synthetic_mark,
    utterance_features,
)
from mms_jax.audio.read import read_audio
from mms_jax.errors import AudioError, CorpusError, LanguageError
from mms_jax.text.languages import check_code
from mms_jax.text.normalize import has_digits, normalize

_COLUMNS = {
    "path": ("path", "file", "audio", "filename"),
    "text": ("text", "sentence", "transcript", "transcription"),
    "language": ("language", "lang"),
    "speaker": ("speaker", "client_id"),
    "split": ("split",),
    "id": ("id",),
}
_PART = 1 << 16  # bytes
_SPLIT_NAMES = {"dev": "validation", "val": "validation", "valid": "validation", "training": "train"}


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table, its audio not yet read."""

    identity: str
    path: pathlib.Path
    text: str
    language: str
    speaker: str
    split: str


def read_table(table: pathlib.Path, language: str | None) -> list[Row]:
    """Reads and checks a table.

    Args:
      table: the TSV file.
      language: ISO 639-3, where the table has no language column.

    Raises:
      CorpusError: no such file, a column is missing, or two rows have the same id; the message says which.
    """
    if table.is_dir():
        raise CorpusError(f"{table} is a folder; name the TSV file in it with --table")
    if not table.is_file():
        raise CorpusError(f"{table}: no such table; give the TSV file with --table")
    header, lines = read_rows(table)
    if len(header) == 1 and "," in header[0]:
        raise CorpusError(f"{table}: its columns are separated by commas; save it as TSV, separated by tabs")
    columns = {field: next((name for name in names if name in header), None) for field, names in _COLUMNS.items()}
    for field in ("path", "text"):
        if columns[field] is None:
            raise CorpusError(f"{table}: has no column {' or '.join(_COLUMNS[field])}; its first line must name it")
    if columns["language"] is None and not language:
        raise CorpusError(f"{table}: has no language column; give --language=ISO (three letters, as in swh)")
    if language:
        check_code(language)
    rows = [_make_row(table.parent, line, columns, language) for line in lines]
    _check_codes(table, rows)
    counts = collections.Counter(row.identity for row in rows)
    doubled = [identity for identity, count in counts.items() if count > 1]
    if doubled:
        raise CorpusError(f"{table}: {len(doubled)} ids occur twice, as {doubled[0]!r}; make them different")
    if not rows:
        raise CorpusError(f"{table}: has no rows")
    missing = [split for split in SPLITS if columns["split"] is None and split not in {row.split for row in rows}]
    if missing:
        logging.warning("no recording fell to %s; give the table a column split", " and ".join(missing))
    for split in sorted({row.split for row in rows}):
        if not re.fullmatch(r"\w+", split) or split == "all":
            raise CorpusError(f"{table}: {split!r} cannot name a split; use {', '.join(SPLITS)}")
    return rows


def _check_codes(table: pathlib.Path, rows: Sequence[Row]) -> None:
    """Raises CorpusError where a row names a language that nobody could ask for."""
    first = {row.language: row.identity for row in reversed(rows)}
    for language, identity in first.items():
        try:
            check_code(language)
        except LanguageError as error:
            raise CorpusError(f"{table}: row {identity!r}: {error}") from error


def _make_row(folder: pathlib.Path, line: dict[str, str], columns: dict[str, str | None], language: str | None) -> Row:
    def cell(field: str, default: str) -> str:
        column = columns[field]
        return ((line.get(column) or "").strip() or default) if column else default

    path = cell("path", "")
    identity = cell("id", path)
    file = folder / path
    if "\\" in path and not file.exists():  # a table from Windows
        file = folder / path.replace("\\", "/")
    split = cell("split", _split_by_id(identity)).lower()
    return Row(
        identity=identity,
        path=file,
        text=cell("text", ""),
        language=cell("language", language or ""),
        speaker=cell("speaker", UNKNOWN_SPEAKER),
        split=_SPLIT_NAMES.get(split, split),
    )


def _split_by_id(identity: str) -> str:
    draw = hashlib.sha256(identity.encode()).digest()[0]
    return "test" if draw < 13 else "validation" if draw < 26 else "train"


class AudioFolder(tfds.core.GeneratorBasedBuilder):
    """TFDS builder of one table."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS: list[tfds.core.BuilderConfig] = []

    def __init__(
        self,
        *,
        name: str,
        table: str,
        language: str | None,
        max_bad_share: float,
        data_dir: str,
        synthetic: bool = False,
        **kwargs,
    ):
        """Checks the table.

        Args:
          name: of the corpus, which is opened as "audio_folder/NAME".
          table: the TSV file.
          language: ISO 639-3, where the table has no language column.
          max_bad_share: recordings that cannot be read are skipped, unless their share exceeds this.
          data_dir: the folder of prepared corpora.
          synthetic: whether a program speaks; models that learn from nothing else say so.
        """
        self._synthetic = synthetic
        self._rows = read_table(pathlib.Path(table).expanduser(), language)
        self._max_bad_share = max_bad_share
        super().__init__(config=tfds.core.BuilderConfig(name=name), data_dir=data_dir, **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(features=utterance_features(), metadata=synthetic_mark(self._synthetic))

    def _split_generators(self, dl_manager):
        del dl_manager
        return {split: self._generate_examples(split) for split in sorted({row.split for row in self._rows})}

    def _generate_examples(self, split: str) -> Iterator:
        rows = [row for row in self._rows if row.split == split]
        rejections = Rejections(self._max_bad_share)
        for row in rows:
            text = normalize(row.text, row.language)
            try:
                if has_digits(text):
                    raise AudioError(f"{row.path}: digits in its transcript {row.text!r}; spell them as they are read")
                if not row.path.exists():
                    raise AudioError(f"{row.path}: no such file; paths in the table are relative to the table's folder")
                waveform = read_audio(row.path)
            except AudioError as error:
                rejections.add(str(error))
                continue
            yield (
                row.identity,
                make_utterance(waveform, identity=row.identity, text=text, language=row.language, speaker=row.speaker),
            )
        rejections.finish(len(rows))


HELP = "your recordings and a table of their transcripts"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds its arguments."""
    parser.add_argument("--name", required=True, help="name of the corpus, opened as audio_folder/NAME")
    parser.add_argument("--table", required=True, help="TSV with columns path, text, ...")
    parser.add_argument("--language", help="ISO 639-3, where the table has no language column")
    parser.add_argument("--synthetic", action="store_true", help="a program speaks; models of nothing else say so")
    parser.add_argument("--max_bad_share", type=float, default=0.05, help="allowed share of unusable recordings")


def make_builder(arguments: argparse.Namespace, data_dir: str, _: MakeErrorRate) -> AudioFolder:
    """The builder that the arguments describe."""
    return AudioFolder(
        name=arguments.name,
        table=arguments.table,
        language=arguments.language,
        max_bad_share=arguments.max_bad_share,
        data_dir=data_dir,
        synthetic=arguments.synthetic,
        file_format="array_record",
    )


def made_from(arguments: argparse.Namespace, _: str) -> dict[str, Any]:
    """What the corpus depends on: options, the table, and its recordings."""
    table = pathlib.Path(arguments.table).expanduser()
    rows = read_table(table, arguments.language)
    recordings = hashlib.sha256()
    for row in rows:
        recordings.update(os.path.relpath(row.path, table.parent).encode("utf-8", "surrogateescape"))
        recordings.update(_digest(row.path))
    return {
        "table": hashlib.sha256(table.read_bytes()).hexdigest(),
        "recordings": recordings.hexdigest(),
        **{name: getattr(arguments, name) for name in ("language", "max_bad_share", "synthetic")},
    }


def _digest(file: pathlib.Path) -> bytes:
    """The size, the first and the last part of a file, which tell recordings apart without reading hours of them."""
    if not file.is_file():
        return b"none"
    size = file.stat().st_size
    with file.open("rb") as stream:
        parts = [str(size).encode(), stream.read(_PART)]
        stream.seek(max(_PART, size - _PART))
        return b"".join([*parts, stream.read()])
