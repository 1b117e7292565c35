"""Turns records into arrays: decodes, resamples, adds noise, normalizes, crops, labels.

The module runs in worker processes and imports no JAX.
"""

from collections.abc import Sequence
from typing import Any, NotRequired, TypedDict

import numpy as np
from absl import logging

from input_pipeline.corpora.storage import as_text
from input_pipeline.plan import PlannedBatch
from input_pipeline.table import Table, Utterances
from mms_jax.audio.flac import decode_flac
from mms_jax.audio.waveform import SAMPLE_RATE, add_noise, normalize_waveform, resample
from mms_jax.errors import AudioError, ConfigError
from mms_jax.text.normalize import normalize
from mms_jax.text.tokenizer import Tokenizer

_STEEPEST = 2.0  # largest spectral tilt of the noise: rumble
_LONG = 3.0  # crops; of a recording that holds more, the crop alone is decoded, and normalized

Array = Any  # a NumPy array here, a JAX array once the batch is on the mesh


class Batch(TypedDict):
    """Some rows of a global batch, in the form that every task takes.

    waveforms: float32 (rows, samples), zero-padded.
    lengths: int32 (rows,), real samples.
    item: int32 (rows,), positions in the plan's table; -1 for padding.
    counted: bool (rows,), False for padding and for recordings that could not be decoded.
    language: int32 (rows,), position in the tokenizer's languages. Only with a tokenizer.
    speaker: int32 (rows,), number of the speaker. Only for voices with several.
    labels: int32 (rows, labels), zero-padded; label_lengths: int32 (rows,). Only where transcripts are needed.
    bank_row: int32 (rows,), the place of the language in banks of which a step took the rows that it needs. Never decoded.
    """

    waveforms: Array
    lengths: Array
    item: Array
    counted: Array
    language: NotRequired[Array]
    labels: NotRequired[Array]
    label_lengths: NotRequired[Array]
    speaker: NotRequired[Array]
    bank_row: NotRequired[Array]


class Decoder:
    """Turns the rows of a planned batch into arrays.

    A row whose record cannot be used is left empty (length 0, `counted` False): it has no weight in any loss, and the log
    names it.
    """

    def __init__(
        self,
        table: Table,
        sources: Sequence[Sequence],
        tokenizer: Tokenizer | None,
        *,
        transcripts: bool,
        epsilon: float | None,
        seed: int,
        noise: Sequence[float] = (),
        speakers: Sequence[str] = (),
    ):
        """Stores the settings.

        Args:
          table: the plan's utterances.
          sources: random access to the records of each corpus.
          tokenizer: turns languages and transcripts into numbers; None for unlabeled speech.
          transcripts: whether transcripts become labels.
          epsilon: of the normalization of waveforms; None leaves them as they were recorded.
          seed: of the crops and the noise.
          noise: (low, high), between which the signal-to-noise ratio in dB is drawn for each row; () for no noise.
          speakers: names by number; () where batches hold no speakers.

        Raises:
          ConfigError: `noise` does not hold two numbers, or low is above high.
        """
        numbers = all(isinstance(value, int | float) for value in noise)
        if noise and (len(noise) != 2 or not numbers or noise[0] > noise[1]):
            raise ConfigError(f"config.input.noise={tuple(noise)} is not (low, high) in dB, as in (10.0, 40.0)")
        self._table = table
        self._sources = sources
        self._tokenizer = tokenizer
        self._transcripts = transcripts
        self._epsilon = epsilon
        self._seed = seed
        self._noise = tuple(noise)
        self._speakers = {name: number for number, name in enumerate(speakers)}

    def __call__(self, batch: PlannedBatch, rows: Sequence[int] | None = None) -> Batch:
        """Decodes some rows of a planned batch: those of this process, or all."""
        numbers = np.arange(len(batch.items)) if rows is None else np.asarray(rows)
        items = batch.items[numbers]
        out: Batch = {
            "waveforms": np.zeros((len(items), batch.samples), np.float32),
            "lengths": np.zeros(len(items), np.int32),
            "item": items.astype(np.int32),
            "counted": np.zeros(len(items), bool),
        }
        if self._tokenizer is not None:
            out["language"] = np.zeros(len(items), np.int32)
        if self._speakers:
            out["speaker"] = np.zeros(len(items), np.int32)
        if self._transcripts:
            out["labels"] = np.zeros((len(items), batch.labels), np.int32)
            out["label_lengths"] = np.zeros(len(items), np.int32)
        utterances = self._table.look_up(np.maximum(items, 0))
        for row, (number, item) in enumerate(zip(numbers.tolist(), items)):
            if item < 0:
                continue
            # By step and row, so that an utterance that occurs twice in a batch is cropped twice.
            random = np.random.default_rng((self._seed, batch.step, number))
            try:
                self._fill(out, row, utterances, batch, random)
            except AudioError as error:
                logging.warning("skipped: %s", error)
        return out

    def _fill(
        self, out: Batch, row: int, utterances: Utterances, batch: PlannedBatch, random: np.random.Generator
    ) -> None:
        corpus, number = int(utterances.corpus[row]), int(utterances.record[row])
        name = f"corpus {corpus} record {number}"
        try:
            record = self._sources[corpus][number]
        except Exception as error:  # A damaged shard can raise any error of its reader.
            raise AudioError(f"{name}: cannot be read ({error}); prepare the corpus again") from error
        name = f"{as_text(record['id'])} ({name})"
        waveform = self._waveform(record["audio"], name, float(utterances.seconds[row]), batch.samples, random)
        if self._tokenizer is not None:
            out["language"][row] = self._tokenizer.language_index(as_text(record["language"]))
        if self._speakers:
            speaker = as_text(record["speaker"])
            if speaker not in self._speakers:
                raise AudioError(f"{name}: its speaker {speaker!r} is none of the voice's: {', '.join(self._speakers)}")
            out["speaker"][row] = self._speakers[speaker]
        if self._tokenizer is not None and self._transcripts:
            text = normalize(as_text(record["text"]), as_text(record["language"]))
            labels = self._tokenizer.encode(text, as_text(record["language"]))
            if len(labels) > batch.labels:
                raise AudioError(
                    f"{name}: its transcript is longer than the index says; delete the corpus's folders index_*"
                )
            out["labels"][row, : len(labels)] = labels
            out["label_lengths"][row] = len(labels)
        out["waveforms"][row, : len(waveform)] = waveform
        out["lengths"][row] = len(waveform)
        out["counted"][row] = True

    def _waveform(
        self, audio: bytes, name: str, seconds: float, samples: int, random: np.random.Generator
    ) -> np.ndarray:
        waveform, rate = _decode(audio, name, seconds, samples / SAMPLE_RATE, random)
        waveform = resample(waveform, rate, SAMPLE_RATE)
        if not np.isfinite(waveform).all():
            raise AudioError(f"{name}: holds NaN or infinite samples; remove it from the corpus")
        if self._noise:
            low, high = self._noise
            waveform = add_noise(waveform, random.uniform(low, high), random.uniform(0.0, _STEEPEST), random)
        waveform = normalize_waveform(waveform, self._epsilon)
        excess = len(waveform) - samples
        if excess > 0:
            start = random.integers(0, excess + 1)
            waveform = waveform[start : start + samples]
        return waveform


def _decode(
    audio: bytes, name: str, seconds: float, crop: float, random: np.random.Generator
) -> tuple[np.ndarray, int]:
    """A recording of so many seconds; of a long one, a crop."""
    excess = seconds - crop
    if excess <= (_LONG - 1.0) * crop:
        return decode_flac(audio, name)
    return decode_flac(audio, name, random.uniform(0.0, excess), crop)
