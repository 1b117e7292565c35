"""The recordings of a new language: a table, a folder, or a prepared corpus, in splits that share no speaker."""

import collections
import dataclasses
import hashlib
import os
import pathlib
import shutil
from collections.abc import Sequence

from absl import logging

from input_pipeline.corpora.audio_folder import AudioFolder, Row, read_table
from input_pipeline.corpora.storage import UNKNOWN_SPEAKER, Corpus, as_text, open_splits, read_rows
from mms_jax.errors import CorpusError, LanguageError
from mms_jax.files import write_text
from mms_jax.text.normalize import has_digits, normalize

HELD_OUT = 0.1  # share of the recordings of the validation split, and of the test split
OWN_FILES = frozenset({"data", "table.tsv"})  # in the folder of the results
MOST_DIGITS = 0.05  # share of the texts
MOST_BAD = 0.1  # share of the recordings of a split that may be unreadable
LEAST = 10  # recordings; with fewer there is nothing to choose by
LEAST_SPEAKERS = 5  # to hold out whole speakers
RARE = 5  # a symbol that occurs less often is hardly learned
NAME, TABLE = "mine", "table.tsv"
_SOUNDS = (".wav", ".flac", ".mp3", ".ogg", ".m4a", ".opus")


@dataclasses.dataclass(frozen=True)
class Speech:
    """A prepared corpus of one language.

    Attributes:
      name: as configs name it, without the split.
      data_dir: the folder of prepared corpora.
      splits: train, validation, and test where there is one.
    """

    name: str
    data_dir: str
    splits: dict[str, Corpus]

    @property
    def scored(self) -> Corpus:
        """The split on which error rates are reported: test, or validation where there is no test."""
        return self.splits.get("test", self.splits["validation"])


def open_speech(source: str, language: str, folder: pathlib.Path, data_dir: str) -> Speech:
    """Finds the recordings, and prepares them where they are a table or a folder.

    Args:
      source: a table, TSV, with the columns of `prepare audio_folder`; a folder that holds one table, or recordings with a
        text file beside each; or the name of a corpus that is prepared below `data_dir`, such as audio_folder/mine.
      language: ISO 639-3.
      folder: of the command's results; the corpus goes to FOLDER/data.
      data_dir: of corpora that are prepared already.

    Raises:
      CorpusError: no such recordings, too few, or a corpus without a validation split. LanguageError: recordings in another
        language.
    """
    path = pathlib.Path(source).expanduser()
    if path.exists():
        name, data_dir = f"audio_folder/{NAME}", str(folder / "data")
        _prepare(_readable(_rows(path, language), source, language), folder)
    else:
        name = source.partition(":")[0]
    splits = open_splits(name, data_dir)
    if not splits:
        raise CorpusError(
            f"--data {source}: no such table or folder, and no corpus of this name is prepared in {data_dir}; give a TSV "
            "with the columns path and text"
        )
    if missing := [split for split in ("train", "validation") if split not in splits]:
        raise CorpusError(
            f"--data {source}: no recordings for {' and '.join(missing)} in its column split; leave the column out for new "
            "splits, or fill it with train, validation, and test"
        )
    _check_language(source, {name for corpus in splits.values() for name in corpus.index.languages}, language)
    return Speech(name, data_dir, splits)


def _check_language(source: str, spoken: set[str], language: str) -> None:
    if spoken != {language}:
        raise LanguageError(
            f"--data {source} is in {', '.join(sorted(spoken)) or 'no language'}, and --lang is {language}; give a table of "
            "one language, without a column language or with this one in it"
        )


def _rows(path: pathlib.Path, language: str) -> list[Row]:
    """The recordings of a table or folder, with the splits of the table's column, or new ones."""
    if path.is_dir():
        tables = sorted(path.glob("*.tsv"))
        if len(tables) > 1:
            raise CorpusError(f"--data {path}: holds several tables ({', '.join(t.name for t in tables)}); name one")
        if not tables:
            return with_splits(_pairs(path, language))
        [path] = tables
    rows = read_table(path, language)
    header, _ = read_rows(path)
    if "split" not in header:
        return with_splits(rows)
    if any(row.split == "validation" for row in rows):
        return rows
    given = [row for row in rows if row.split != "train"]
    return given + with_splits([row for row in rows if row.split == "train"], ("validation",))


def _pairs(folder: pathlib.Path, language: str) -> list[Row]:
    """Recordings with a text file of the same name beside each."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SOUNDS)
    pairs = [path for path in found if path.with_suffix(".txt").is_file()]
    if not pairs:
        raise CorpusError(
            f"--data {folder}: holds neither a table (*.tsv) nor recordings with a text file of the same name beside each"
        )
    if len(pairs) < len(found):
        logging.warning("%d of %d recordings have no text file and are left out", len(found) - len(pairs), len(found))
    return [
        Row(
            identity=path.relative_to(folder).as_posix(),
            path=path,
            text=" ".join(path.with_suffix(".txt").read_text(encoding="utf-8").split()),
            language=language,
            speaker=UNKNOWN_SPEAKER,
            split="train",
        )
        for path in pairs
    ]


def with_splits(rows: Sequence[Row], held_out: Sequence[str] = ("validation", "test")) -> list[Row]:
    """The rows with a tenth in each held-out split: whole speakers where five or more are named.

    The choice depends on names only, not on the order of the rows.
    """
    speakers = {row.speaker for row in rows}
    by_speaker = len(speakers) >= LEAST_SPEAKERS

    def group_of(row: Row) -> str:
        return row.speaker if by_speaker else row.identity

    sizes = collections.Counter(map(group_of, rows))
    split_of: dict[str, str] = {}
    filled = dict.fromkeys(held_out, 0)
    for group in sorted(sizes, key=lambda name: hashlib.sha256(name.encode()).digest()):
        for split, count in filled.items():
            # A group that would take more than twice its share stays in training.
            if count < HELD_OUT * len(rows) and count + sizes[group] <= 2 * HELD_OUT * len(rows):
                split_of[group] = split
                filled[split] += sizes[group]
                break
    if by_speaker and not all(filled.values()):  # every speaker has too large a share
        alike = with_splits([dataclasses.replace(row, speaker=UNKNOWN_SPEAKER) for row in rows], held_out)
        return [dataclasses.replace(row, speaker=old.speaker) for row, old in zip(alike, rows)]
    return [dataclasses.replace(row, split=split_of.get(group_of(row), "train")) for row in rows]


def _readable(rows: Sequence[Row], source: str, language: str) -> list[Row]:
    """The rows that can be learned from.

    Raises:
      LanguageError: recordings in another language. CorpusError: too few, or digits in more than a twentieth of the texts.
    """
    _check_language(source, {row.language for row in rows}, language)
    digits = [row for row in rows if has_digits(normalize(row.text, row.language))]
    if len(digits) > MOST_DIGITS * len(rows):
        raise CorpusError(
            f"--data {source}: {len(digits)} of {len(rows)} texts have digits, as {digits[0].text!r}; spell them as they "
            "are read"
        )
    if digits:
        logging.warning("%d texts have digits and are left out, as %r", len(digits), digits[0].text)
    kept = [row for row in rows if row not in digits]
    if len(kept) < LEAST:
        raise CorpusError(
            f"--data {source}: {len(kept)} recordings; adapting needs {LEAST} or more. An hour, cut into sentences, is good"
        )
    return kept


def _prepare(rows: Sequence[Row], folder: pathlib.Path) -> None:
    """Writes the table with its splits, and prepares the corpus from it, unless both are there and complete."""
    lines = ["path\ttext\tlanguage\tspeaker\tsplit\tid"]
    for row in rows:
        fields = (os.path.abspath(row.path), row.text, row.language, row.speaker, row.split, row.identity)
        lines.append("\t".join(" ".join(field.split()) for field in fields))
    table, text = folder / TABLE, "\n".join(lines) + "\n"
    complete = any((folder / "data" / "audio_folder" / NAME).glob("*/dataset_info.json"))
    if complete and table.exists() and table.read_text(encoding="utf-8") == text:
        return
    # Of an interrupted preparation, or of another state of the table.
    shutil.rmtree(folder / "data", ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(table, text)
    builder = AudioFolder(
        name=NAME, table=str(table), language=None, max_bad_share=MOST_BAD, data_dir=str(folder / "data"),
        file_format="array_record",
    )  # fmt: skip
    try:
        builder.download_and_prepare()
    except CorpusError as error:
        raise CorpusError("too many recordings cannot be read (named above); repair them, or take them out") from error


def count_symbols(corpus: Corpus) -> collections.Counter[str]:
    """How often each character occurs in the transcripts of a corpus; spaces are not counted."""
    counts: collections.Counter[str] = collections.Counter()
    for record in corpus.source:
        counts.update(normalize(as_text(record["text"]), as_text(record["language"])))
    del counts[" "]
    return counts


def describe_symbols(counts: collections.Counter[str]) -> list[str]:
    """The symbols for people, most frequent first; and warnings of rare ones and of digits."""
    if not counts:
        raise CorpusError("the training split has no transcripts; give the table a column text")
    shown = " ".join(f"{symbol}" for symbol, _ in counts.most_common())
    lines = [f"{len(counts)} symbols: {shown}"]
    if rare := [f"{symbol} ({count})" for symbol, count in counts.most_common() if count < RARE]:
        lines.append(f"warning: rare, and hardly learned: {' '.join(rare)}; are they misspellings?")
    if digits := [symbol for symbol in counts if has_digits(symbol)]:
        lines.append(f"warning: digits {' '.join(digits)}: spell numbers as they are read")
    return lines


def too_fast(corpus: Corpus, frame_seconds: float) -> int:
    """The number of utterances whose text has more characters than the recording has frames."""
    index = corpus.index
    return int((index.characters > index.seconds / frame_seconds).sum())
