"""From records to arrays: decode, resample, add noise, normalise, crop, label. Runs in worker processes; imports no JAX."""

from collections.abc import Sequence

import numpy as np
from absl import logging

from input_pipeline.corpora.storage import as_text
from input_pipeline.plan import Batch, Table
from mms_jax.audio.errors import AudioError
from mms_jax.audio.flac import decode_flac
from mms_jax.audio.waveform import SAMPLE_RATE, add_noise, normalize_waveform, resample
from mms_jax.text.normalize import normalize
from mms_jax.text.voice_text import Labels

_STEEPEST = 2.0  # tilt of noise: rumble


class Decoder:
    """Turns the rows of a planned batch into arrays.

    A row whose record cannot be used is left empty (length 0, `counted` False): it weighs nothing in any loss, is named
    in the log, and shows up in the batch's `counted`.
    """

    def __init__(
        self,
        table: Table,
        sources: Sequence[Sequence],
        vocabulary: Labels | None,
        *,
        epsilon: float | None,
        seed: int,
        noise: Sequence[float] = (),
    ):
        """Keeps what decoding needs.

        Args:
          table: the plan's utterances.
          sources: random access to the records of each corpus.
          vocabulary: makes labels of the transcripts; None where the task needs none.
          epsilon: of the normalisation of waveforms; None leaves them as they were recorded.
          seed: of the crops and the noise.
          noise: (low, high), between which the signal-to-noise ratio in dB is drawn for each row; () for no noise.

        Raises:
          ValueError: another number of figures, or low above high.
        """
        if noise and (len(noise) != 2 or noise[0] > noise[1]):
            raise ValueError(f"config.input.noise={tuple(noise)} is not (low, high) in dB, as in (10.0, 40.0)")
        self._table = table
        self._sources = sources
        self._vocabulary = vocabulary
        self._epsilon = epsilon
        self._seed = seed
        self._noise = tuple(noise)

    def __call__(self, batch: Batch, rows: slice = slice(None)) -> dict[str, np.ndarray]:
        """Decodes some rows of a batch.

        Args:
          batch: from a plan.
          rows: those of this process.

        Returns:
          waveforms: float32 (rows, samples), zero-padded.
          lengths: int32 (rows,), real samples.
          item: int32 (rows,), positions in the table; -1 for padding.
          counted: bool (rows,), False for padding and for records that could not be used.
          labels: int32 (rows, labels), zero-padded; label_lengths: int32 (rows,); language: int32 (rows,), position in
            the vocabulary's languages. Only with a vocabulary.
        """
        items = batch.items[rows]
        out = {
            "waveforms": np.zeros((len(items), batch.samples), np.float32),
            "lengths": np.zeros(len(items), np.int32),
            "item": items.astype(np.int32),
            "counted": np.zeros(len(items), bool),
        }
        if self._vocabulary is not None:
            out["labels"] = np.zeros((len(items), batch.labels), np.int32)
            out["label_lengths"] = np.zeros(len(items), np.int32)
            out["language"] = np.zeros(len(items), np.int32)
        for row, item in enumerate(items):
            if item < 0:
                continue
            try:
                self._fill(out, row, int(item), batch)
            except AudioError as error:
                logging.warning("skipped: %s", error)
        return out

    def _fill(self, out: dict[str, np.ndarray], row: int, item: int, batch: Batch) -> None:
        name = f"corpus {self._table.corpus[item]} record {self._table.record[item]}"
        try:
            record = self._sources[self._table.corpus[item]][int(self._table.record[item])]
        except Exception as error:  # A damaged shard raises whatever its reader does.
            raise AudioError(f"{name}: cannot be read ({error}); prepare the corpus anew") from error
        name = f"{as_text(record['id'])} ({name})"
        waveform = self._waveform(record["audio"], name, item, batch)
        if self._vocabulary is not None:
            language = as_text(record["language"])
            labels = self._vocabulary.encode(normalize(as_text(record["text"])), language)
            if len(labels) > batch.labels:
                raise AudioError(
                    f"{name}: its transcript is longer than the index says; delete the corpus's index_*.npz"
                )
            out["labels"][row, : len(labels)] = labels
            out["label_lengths"][row] = len(labels)
            out["language"][row] = self._vocabulary.language_index(language)
        out["waveforms"][row, : len(waveform)] = waveform
        out["lengths"][row] = len(waveform)
        out["counted"][row] = True

    def _waveform(self, audio: bytes, name: str, item: int, batch: Batch) -> np.ndarray:
        waveform, rate = decode_flac(audio, name)
        waveform = resample(waveform, rate, SAMPLE_RATE)
        if not np.isfinite(waveform).all():
            raise AudioError(f"{name}: holds NaN or infinite samples; remove it from the corpus")
        random = np.random.default_rng((self._seed, batch.step, item))
        if self._noise:
            low, high = self._noise
            waveform = add_noise(waveform, random.uniform(low, high), random.uniform(0.0, _STEEPEST), random)
        waveform = normalize_waveform(waveform, self._epsilon)
        excess = len(waveform) - batch.samples
        if excess > 0:
            start = random.integers(0, excess + 1)
            waveform = waveform[start : start + batch.samples]
        return waveform
