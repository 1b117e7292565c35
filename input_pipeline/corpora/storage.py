"""Storage of corpora: TFDS, ArrayRecord, FLAC bytes, and a small index.

A corpus is a dataset that `tfds.builder_from_directory` opens. Its utterances hold the fields of `utterance_features`.
The plan of the input pipeline needs the durations and languages of all utterances without their audio; `open_corpus`
keeps those in an index beside the shards.
"""

import contextlib
import csv
import dataclasses
import io
import os
import pathlib
from array import array
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from tqdm import tqdm

from input_pipeline.corpora.index import Index, find_index, save_index
from mms_jax.audio.flac import encode_flac
from mms_jax.audio.waveform import SAMPLE_RATE
from mms_jax.errors import CorpusError
from mms_jax.files import read_text
from mms_jax.text.normalize import normalize

SPLITS = ("train", "validation", "test")
UNKNOWN_SPEAKER = "unknown"


# (waveforms at 16 kHz, their transcripts, ISO 639-3) -> character error rate of a recognizer, as a share; and a function
# that makes one from a model's name, which is passed to corpora, since they import no models.
ErrorRate = Callable[[Sequence[np.ndarray], Sequence[str], str], float]
MakeErrorRate = Callable[[str], ErrorRate]


def utterance_features() -> tfds.features.FeaturesDict:
    """The fields of an utterance.

    audio: a FLAC file, mono, 16 kHz. text: the normalized transcript (UTF-8; empty where there is none). language: ISO
    639-3. speaker: unique within the corpus. seconds: the recording's length.
    """
    return tfds.features.FeaturesDict(
        {
            "id": tfds.features.Text(),
            "audio": tfds.features.Tensor(shape=(), dtype=np.object_),
            "text": tfds.features.Text(),
            "language": tfds.features.Text(),
            "speaker": tfds.features.Text(),
            "seconds": np.float32,
        }
    )


def make_utterance(
    waveform: np.ndarray, *, identity: str, text: str, language: str, speaker: str
) -> dict[str, str | bytes | np.float32]:
    """One record of `utterance_features` from a 16 kHz mono waveform (samples,)."""
    return {
        "id": identity,
        "audio": encode_flac(waveform, SAMPLE_RATE),
        "text": text,
        "language": language,
        "speaker": speaker,
        "seconds": np.float32(len(waveform) / SAMPLE_RATE),
    }


def read_rows(table: pathlib.Path, *, quoting: Any = csv.QUOTE_NONE) -> tuple[list[str], list[dict[str, str]]]:
    """The header, in lower case, and the rows of a tab-separated table; blank rows are no rows.

    Raises:
      CorpusError: it is not UTF-8, or not a table.
    """
    text = read_text(table, CorpusError)
    try:
        lines = csv.DictReader(io.StringIO(text, newline=""), delimiter="\t", quoting=quoting)
        lines.fieldnames = [name.strip().lower() for name in lines.fieldnames or ()]
        rows = [row for row in lines if any(isinstance(cell, str) and cell.strip() for cell in row.values())]
        return list(lines.fieldnames), rows
    except csv.Error as error:
        raise CorpusError(f"{table}: is no tab-separated table ({error}); save it as TSV without quotes") from error


def synthetic_mark(synthetic: bool) -> tfds.core.MetadataDict | None:
    """The metadata of a corpus in which a program speaks; None for natural speech. See `Corpus.synthetic`."""
    return tfds.core.MetadataDict(synthetic=True) if synthetic else None


class Rejections:
    """Counts and logs recordings that could not be used; raises an error if they are too many."""

    def __init__(self, max_bad_share: float):
        self._max_bad_share = max_bad_share
        self.count = 0

    def add(self, reason: str) -> None:
        """Counts one and names it in the log."""
        self.count += 1
        logging.warning("skipped: %s", reason)

    def finish(self, total: int) -> None:
        """Raises CorpusError if their share is too large."""
        if self.count:
            logging.warning("%d of %d recordings skipped", self.count, total)
        if self.count > self._max_bad_share * total:
            raise CorpusError(
                f"{self.count} of {total} recordings could not be used (named in the log above), more than the share of "
                f"{self._max_bad_share} that --max_bad_share allows; repair them, or raise it"
            )


@dataclasses.dataclass(frozen=True)
class Corpus:
    """One split of one corpus, open for reading.

    Attributes:
      name: as given, for messages.
      source: random access to records, `source[i]`; picklable, so that worker processes can hold it.
      index: durations, languages and speakers of the same records.
      synthetic: whether a program speaks in it.
    """

    name: str
    source: Sequence
    index: Index
    synthetic: bool = False


def _command(name: str, data_dir: str | os.PathLike) -> str:
    """The command that prepares a corpus, for messages."""
    return f"  python -m input_pipeline.prepare {name.split('/')[0]} --data_dir={data_dir} (arguments: --help)"


def corpus_directory(name: str, data_dir: str | os.PathLike) -> pathlib.Path:
    """The newest version folder of the corpus `name` ("spoken_phrases/verses") below `data_dir`.

    Raises:
      CorpusError: nothing is prepared there; the message gives the command that prepares it.
    """
    folder = pathlib.Path(data_dir).expanduser() / name
    versions = [child for child in folder.glob("*.*.*") if (child / "dataset_info.json").exists()]
    if not versions:
        raise CorpusError(f"no prepared corpus {name!r} in {folder}; prepare it with\n{_command(name, data_dir)}")
    return max(versions, key=lambda child: tuple(int(part) for part in child.name.split(".")))


def matching_corpora(pattern: str, data_dir: str | os.PathLike) -> list[str]:
    """The names of the prepared corpora that a pattern matches, sorted.

    Args:
      pattern: "catalog/fleurs_*".
      data_dir: the folder that holds the prepared corpora.

    Raises:
      CorpusError: none is prepared.
    """
    root = pathlib.Path(data_dir).expanduser()
    found = {
        path.parent.parent.relative_to(root).as_posix() for path in root.glob(f"{pattern}/*.*.*/dataset_info.json")
    }
    if not found:
        raise CorpusError(
            f"no prepared corpus matches {pattern!r} in {root}; prepare some with\n{_command(pattern, data_dir)}"
        )
    return sorted(found)


def open_corpus(name: str, split: str, data_dir: str | os.PathLike) -> Corpus:
    """Opens one split of a prepared corpus.

    Args:
      name: builder and config, "spoken_phrases/verses".
      split: "train", "validation", "test".
      data_dir: the folder that holds the prepared corpora.

    Raises:
      CorpusError: no such corpus, or no such split; the message lists the splits.
    """
    directory = corpus_directory(name, data_dir)
    builder = tfds.builder_from_directory(directory)
    if split not in builder.info.splits:
        raise CorpusError(
            f"corpus {name!r} has no split {split!r}; it has {', '.join(builder.info.splits)}; "
            "choose one with --config.input.corpora, dev_corpora or eval_corpora"
        )
    source = builder.as_data_source(split)
    synthetic = bool((builder.info.metadata or {}).get("synthetic"))
    return Corpus(f"{name}:{split}", source, _load_index(source, directory, split), synthetic)


def open_splits(name: str, data_dir: str | os.PathLike) -> dict[str, Corpus]:
    """Opens those of the splits train, validation and test that a corpus has; none if it is not prepared."""
    found = {}
    for split in SPLITS:
        with contextlib.suppress(CorpusError):
            found[split] = open_corpus(name, split, data_dir)
    return found


def _load_index(source, directory: pathlib.Path, split: str) -> Index:
    """Opens the index of a split, or makes it with one pass over the records."""
    folder = directory / f"index_{split}"
    if index := find_index(folder, len(source)):
        return index
    if folder.exists():
        logging.warning("%s does not match its corpus; it is made again", folder)
    index = _make_index(source, split)
    try:
        save_index(index, folder)
    except OSError as error:
        logging.warning("the index %s could not be written (%s); it is made again at every start", folder, error)
        return index
    return find_index(folder, len(source)) or index


def _make_index(source, split: str) -> Index:
    # Compact arrays: a list of numbers takes ten times as much.
    seconds, characters, language, speaker = array("f"), array("i"), array("i"), array("i")
    languages: dict[str, int] = {}
    speakers: dict[str, int] = {}
    alphabets: dict[str, set[str]] = {}
    for record in tqdm(source, desc=f"index {split}", unit="utt", leave=False, disable=len(source) < 10_000):
        name = as_text(record["language"])
        text = normalize(as_text(record["text"]), name)
        alphabets.setdefault(name, set()).update(text)
        seconds.append(record["seconds"])
        characters.append(len(text))
        language.append(languages.setdefault(name, len(languages)))
        speaker.append(speakers.setdefault(as_text(record["speaker"]), len(speakers)))
    return Index.from_records(
        np.frombuffer(seconds, np.float32),
        (list(languages), np.frombuffer(language, np.int32)),
        np.frombuffer(characters, np.int32),
        (list(speakers), np.frombuffer(speaker, np.int32)),
        {name: "".join(sorted(letters - {" "})) for name, letters in alphabets.items()},
    )


def as_text(value: str | bytes) -> str:
    """TFDS returns text as bytes."""
    return value.decode() if isinstance(value, bytes) else value
