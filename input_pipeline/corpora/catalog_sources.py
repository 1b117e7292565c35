"""Readers of published corpora: datasets of TFDS, and Parquet files of Hugging Face's hub."""

import dataclasses
import pathlib
import re
import tempfile
from collections.abc import Iterator

import huggingface_hub
import numpy as np
import tensorflow_datasets as tfds

from input_pipeline.corpora.storage import UNKNOWN_SPEAKER, as_text
from mms_jax.audio.read import read_audio
from mms_jax.audio.waveform import resample, to_mono
from mms_jax.errors import AudioError, CorpusError


@dataclasses.dataclass(frozen=True)
class RecordFields:
    """Names of the fields of a corpus's records; `speaker` is "" where there is none."""

    audio: str
    text: str
    speaker: str = ""

    @property
    def names(self) -> list[str]:
        """Those that are there."""
        return [name for name in (self.audio, self.text, self.speaker) if name]


@dataclasses.dataclass(frozen=True)
class PublishedUtterance:
    """A waveform, float32 (samples,) at 16 kHz, its transcript as published, and its speaker."""

    waveform: np.ndarray
    text: str
    speaker: str


class TfdsSource:
    """A dataset of TFDS, prepared if it is not.

    Attributes:
      splits: names of its splits.
    """

    def __init__(self, name: str, fields: RecordFields, source_dir: str | None, rate: int | None):
        """Prepares it.

        Args:
          name: BUILDER/CONFIG.
          fields: of its records.
          source_dir: the folder of TFDS's datasets; None for TFDS's default.
          rate: sampling rate in Hz, for datasets that do not state it.

        Raises:
          CorpusError: it cannot be prepared.
        """
        try:
            self._builder = tfds.builder(name, data_dir=source_dir)
            self._builder.download_and_prepare()
        except Exception as error:  # of the network, of a host, or of a library: there is no end to their kinds
            raise CorpusError(
                f"TFDS cannot prepare {name!r}: {_told(error)}\nif it must be fetched by hand, prepare it with TFDS "
                "elsewhere, and name TFDS's folder with --source_dir"
            ) from error
        self._fields = fields
        stated = getattr(self._builder.info.features[fields.audio], "sample_rate", None) or rate
        if stated is None:
            raise CorpusError(f"{name} does not state the sampling rate of {fields.audio!r}; prepare it anew with TFDS")
        self._rate: int = stated
        self.splits = frozenset(self._builder.info.splits)

    def recordings(self, split: str) -> Iterator[PublishedUtterance]:
        """Those of a split."""
        fields = self._fields
        needed = tfds.decode.PartialDecoding(dict.fromkeys(fields.names, True))
        for record in tfds.as_numpy(self._builder.as_dataset(split=split, decoders=needed)):
            waveform = resample(to_waveform(record[fields.audio]), self._rate)
            speaker = str(as_text(record[fields.speaker])) if fields.speaker else UNKNOWN_SPEAKER
            yield PublishedUtterance(waveform, as_text(record[fields.text]), speaker)


def to_waveform(samples: np.ndarray) -> np.ndarray:
    """Integer samples as TFDS stores them, as a mono waveform.

    Args:
      samples: int (samples,) or (samples, channels). Those of 64 bits hold samples of 16 or of 32 bits; only samples of
        32 bits are larger than 2**15.

    Returns:
      float32 (samples,) in [-1, 1].
    """
    bits = 8 * samples.dtype.itemsize
    if bits == 64:
        bits = 16 if np.abs(samples).max(initial=0) <= 2**15 else 32
    waveform = (samples / 2.0 ** (bits - 1)).astype(np.float32)
    return to_mono(waveform if waveform.ndim > 1 else waveform[:, None])


class HubSource:
    """Parquet files of a dataset on the hub, which hold audio files; or of a folder with its files.

    Attributes:
      splits: names of its splits.
    """

    def __init__(self, repository: str, revision: str, config: str, fields: RecordFields, source_dir: str | None):
        """Lists its files.

        Args:
          repository: OWNER/NAME.
          revision: branch that holds Parquet files.
          config: the folder of one language: files are CONFIG/SPLIT-00000-of-00001.parquet or CONFIG/SPLIT/0000.parquet.
          fields: of its records.
          source_dir: a folder with the files of the repository; None for the hub.

        Raises:
          CorpusError: no connection, no such repository, or it lacks the folder.
        """
        self._repository, self._revision, self._fields = repository, revision, fields
        self._folder = pathlib.Path(source_dir).expanduser() if source_dir is not None else None
        matches = [re.fullmatch(rf"{config}/([a-z]+)[-/][\d\w-]*\.parquet", name) for name in sorted(self._list())]
        self._files: dict[str, list[str]] = {}
        for match in filter(None, matches):
            self._files.setdefault(match[1], []).append(match[0])
        self.splits = frozenset(self._files)
        if not self.splits:
            where = self._folder or f"the repository {repository}, branch {revision}"
            raise CorpusError(f"{where} has no {config}/SPLIT-*.parquet and no {config}/SPLIT/*.parquet")

    def _list(self) -> list[str]:
        if self._folder is not None:
            return [path.relative_to(self._folder).as_posix() for path in self._folder.rglob("*.parquet")]
        try:
            return huggingface_hub.list_repo_files(self._repository, repo_type="dataset", revision=self._revision)
        except Exception as error:  # of httpx, huggingface_hub, or the system
            raise self._unreachable(error) from error

    def _path(self, name: str) -> pathlib.Path:
        if self._folder is not None:
            return self._folder / name
        try:
            found = huggingface_hub.hf_hub_download(
                self._repository, name, repo_type="dataset", revision=self._revision
            )
        except Exception as error:
            raise self._unreachable(error) from error
        return pathlib.Path(found)

    def _unreachable(self, error: Exception) -> CorpusError:
        return CorpusError(
            f"the dataset {self._repository} cannot be fetched: {_told(error)}\nif it must be fetched by hand, name the "
            "folder of its files with --source_dir"
        )

    def recordings(self, split: str) -> Iterator[PublishedUtterance]:
        """Those of a split.

        Raises:
          CorpusError: a file is not Parquet, lacks a field, or holds a recording that cannot be read.
        """
        import pyarrow.lib
        import pyarrow.parquet

        fields = self._fields
        for name in self._files[split]:
            path = self._path(name)
            try:
                for batch in pyarrow.parquet.ParquetFile(path).iter_batches(16, columns=fields.names):
                    for record in batch.to_pylist():
                        speaker = str(record[fields.speaker]) if fields.speaker else UNKNOWN_SPEAKER
                        yield PublishedUtterance(
                            _decoded(record[fields.audio]["bytes"]), record[fields.text] or "", speaker
                        )
            except (pyarrow.lib.ArrowException, KeyError, TypeError, AudioError) as error:
                raise CorpusError(f"{path}: {_told(error)}; fetch it again") from error


def _decoded(file: bytes) -> np.ndarray:
    """The waveform of an audio file in memory."""
    with tempfile.NamedTemporaryFile() as temporary:
        temporary.write(file)
        temporary.flush()
        return read_audio(temporary.name)


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
