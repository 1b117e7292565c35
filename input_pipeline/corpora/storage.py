"""Storage of corpora: TFDS, ArrayRecord, FLAC bytes, and a small index.

A corpus is a dataset that `tfds.builder_from_directory` opens. Its utterances hold the fields of `utterance_features`.
The plan of the input pipeline needs the durations and languages of all utterances without their audio; `open_corpus`
keeps those in one small file beside the shards.
"""

import contextlib
import csv
import dataclasses
import io
import json
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from tqdm import tqdm

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
class Index:
    """Length, language and transcript length of the utterances of a split, in the order of the shards.

    Attributes:
      seconds: float32 (utterances,).
      language: str (utterances,), ISO 639-3.
      characters: int32 (utterances,), the length of the transcript.
      speaker: str (utterances,).
      alphabets: the characters of each language's transcripts.
    """

    seconds: np.ndarray
    language: np.ndarray
    characters: np.ndarray
    alphabets: dict[str, str]
    speaker: np.ndarray

    def __len__(self) -> int:
        return len(self.seconds)


@dataclasses.dataclass(frozen=True)
class Corpus:
    """One split of one corpus, open for reading.

    Attributes:
      name: as given, for messages.
      source: random access to records, `source[i]`; picklable, so that worker processes can hold it.
      index: durations and languages of the same records.
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
    """Reads the index of a split, or makes it with one pass over the records."""
    path = directory / f"index_{split}.npz"
    if path.exists():
        with np.load(path) as stored:
            alphabets = json.loads(str(stored["alphabets"]))
            # An index of an older version has no speakers.
            speaker = stored["speaker"] if "speaker" in stored else np.zeros(0, np.str_)
            index = Index(stored["seconds"], stored["language"], stored["characters"], alphabets, speaker)
        if len(index) == len(source) == len(speaker):
            return index
        if len(index) != len(source):
            logging.warning("%s does not match its corpus; it is made again", path)
    index = _make_index(source, split)
    _write_atomically(path, index)
    return index


def _make_index(source, split: str) -> Index:
    seconds, language, characters, speaker = [], [], [], []
    alphabets: dict[str, set[str]] = {}
    for record in tqdm(source, desc=f"index {split}", unit="utt", leave=False, disable=len(source) < 10_000):
        text = normalize(as_text(record["text"]), as_text(record["language"]))
        seconds.append(record["seconds"])
        language.append(as_text(record["language"]))
        characters.append(len(text))
        speaker.append(as_text(record["speaker"]))
        alphabets.setdefault(language[-1], set()).update(text)
    return Index(
        np.asarray(seconds, np.float32),
        np.asarray(language, np.str_),
        np.asarray(characters, np.int32),
        {name: "".join(sorted(letters - {" "})) for name, letters in alphabets.items()},
        np.asarray(speaker, np.str_),
    )


def _write_atomically(path: pathlib.Path, index: Index) -> None:
    """Processes of one job may all make the index: each writes its own file, and the last rename wins."""
    temporary = path.with_suffix(f".{os.getpid()}.npz")
    try:
        fields = {field.name: getattr(index, field.name) for field in dataclasses.fields(index)}
        np.savez(temporary, **(fields | {"alphabets": json.dumps(index.alphabets)}))
        temporary.replace(path)
    except OSError as error:
        logging.warning("the index %s could not be written (%s); it is made again at every start", path, error)


def as_text(value: str | bytes) -> str:
    """TFDS returns text as bytes."""
    return value.decode() if isinstance(value, bytes) else value
