"""The corpus most users have: a folder of recordings and a table that says what is said in each.

    python -m input_pipeline.prepare audio_folder --data_dir=data --name=dutch \
        --table=recordings/manifest.tsv --language=nld

The table is tab-separated, without quoting, with a header line. Columns: `path` (relative to the table; also `file` or
`audio`), `text` (also `sentence`, `transcript`), and optionally `language` (or `lang`), `speaker`, `split` and `id`.
Without a `split` column, a twentieth of the recordings becomes "validation" and another "test", chosen by their id.
"""

import collections
import csv
import dataclasses
import hashlib
import pathlib
from collections.abc import Iterator

import tensorflow_datasets as tfds
from absl import logging

from input_pipeline.corpora.storage import CorpusError, make_utterance, utterance_features
from mms_jax.audio.errors import AudioError
from mms_jax.audio.read import read_audio
from mms_jax.text.normalize import has_digits, normalize

_COLUMNS = {
    "path": ("path", "file", "audio", "filename"),
    "text": ("text", "sentence", "transcript", "transcription"),
    "language": ("language", "lang"),
    "speaker": ("speaker", "client_id"),
    "split": ("split",),
    "id": ("id",),
}


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
    if not table.is_file():
        raise CorpusError(f"{table}: no such table; give the TSV file with --table")
    with table.open(newline="", encoding="utf-8-sig") as stream:
        lines = csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
        columns = {
            field: next((name for name in names if name in (lines.fieldnames or ())), None)
            for field, names in _COLUMNS.items()
        }
        for field in ("path", "text"):
            if columns[field] is None:
                raise CorpusError(f"{table}: has no column {' or '.join(_COLUMNS[field])}; its first line must name it")
        if columns["language"] is None and not language:
            raise CorpusError(f"{table}: has no language column; give --language=ISO (three letters, as in swh)")
        rows = [_make_row(table.parent, line, columns, language) for line in lines]
    counts = collections.Counter(row.identity for row in rows)
    doubled = [identity for identity, count in counts.items() if count > 1]
    if doubled:
        raise CorpusError(f"{table}: {len(doubled)} ids occur twice, as {doubled[0]!r}; make them different")
    if not rows:
        raise CorpusError(f"{table}: has no rows")
    return rows


def _make_row(folder: pathlib.Path, line: dict[str, str], columns: dict[str, str | None], language: str | None) -> Row:
    def cell(field: str, default: str) -> str:
        column = columns[field]
        return (line.get(column) or default) if column else default

    path = cell("path", "")
    identity = cell("id", path)
    return Row(
        identity=identity,
        path=folder / path,
        text=cell("text", ""),
        language=cell("language", language or ""),
        speaker=cell("speaker", "unknown"),
        split=cell("split", _split_by_id(identity)),
    )


def _split_by_id(identity: str) -> str:
    draw = hashlib.sha256(identity.encode()).digest()[0]
    return "test" if draw < 13 else "validation" if draw < 26 else "train"


class Rejections:
    """Counts and names recordings that could not be used; raises where they are too many."""

    def __init__(self, max_bad_share: float):
        self._max_bad_share = max_bad_share
        self.count = 0

    def add(self, reason: str) -> None:
        """Names one in the log."""
        self.count += 1
        logging.warning("skipped: %s", reason)

    def finish(self, total: int) -> None:
        """Raises CorpusError where the share is too large."""
        if self.count:
            logging.warning("%d of %d recordings skipped", self.count, total)
        if self.count > self._max_bad_share * total:
            raise CorpusError(
                f"{self.count} of {total} recordings could not be used (named in the log above), more than the share of "
                f"{self._max_bad_share} that --max_bad_share allows; repair them, or raise it"
            )


class AudioFolder(tfds.core.GeneratorBasedBuilder):
    """TFDS builder of one table."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS: list[tfds.core.BuilderConfig] = []

    def __init__(self, *, name: str, table: str, language: str | None, max_bad_share: float, data_dir: str, **kwargs):
        """Checks the table.

        Args:
          name: what to call the corpus: it is opened as "audio_folder/NAME".
          table: the TSV file.
          language: ISO 639-3, where the table has no language column.
          max_bad_share: recordings that cannot be read are skipped, unless their share exceeds this.
          data_dir: where prepared corpora lie.
        """
        self._rows = read_table(pathlib.Path(table).expanduser(), language)
        self._max_bad_share = max_bad_share
        super().__init__(config=tfds.core.BuilderConfig(name=name), data_dir=data_dir, **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(features=utterance_features())

    def _split_generators(self, dl_manager):
        del dl_manager
        return {split: self._generate_examples(split) for split in sorted({row.split for row in self._rows})}

    def _generate_examples(self, split: str) -> Iterator:
        rows = [row for row in self._rows if row.split == split]
        rejections = Rejections(self._max_bad_share)
        for row in rows:
            text = normalize(row.text)
            try:
                if has_digits(text):
                    raise AudioError(f"{row.path}: digits in its transcript {row.text!r}; spell them as they are read")
                waveform = read_audio(row.path)
            except AudioError as error:
                rejections.add(str(error))
                continue
            yield (
                row.identity,
                make_utterance(waveform, identity=row.identity, text=text, language=row.language, speaker=row.speaker),
            )
        rejections.finish(len(rows))
