"""The utterances of batch k: a pure function of the seed and k, the same on every host and after every restart.

Utterances are grouped by corpus, language and length bucket. Corpora are drawn with p ~ (hours share)^beta_corpus, and
languages within a corpus with p ~ (hours share)^beta_language (MMS, section 2.2). A batch has the length of one
bucket, and as many rows as fit the configured seconds of audio, so that few shapes are compiled.
"""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from input_pipeline.corpora.storage import Index
from mms_jax.audio.waveform import SAMPLE_RATE
from mms_jax.errors import CorpusError


@dataclasses.dataclass(frozen=True)
class PlannedBatch:
    """One global batch, before any audio is read.

    Attributes:
      step: the number of the batch; also part of the seed of the random crops.
      samples: static length of its rows.
      labels: static length of its label rows.
      items: int (rows,), positions in the plan's tables; -1 for a row that is padding.
    """

    step: int
    samples: int
    labels: int
    items: np.ndarray


@dataclasses.dataclass(frozen=True)
class Table:
    """All usable utterances of all corpora, one entry each.

    Attributes:
      corpus: int (utterances,), position in the list of corpora.
      record: int (utterances,), position in that corpus.
      seconds: float (utterances,).
      language: str (utterances,).
      bucket: int (utterances,), the shortest bucket that holds it (or a crop of it).
      buckets: seconds of each bucket, ascending.
      labels: int (buckets,), label positions that the longest transcript of the bucket needs.
      left_out: numbers of utterances that are not used, by reason.
    """

    corpus: np.ndarray
    record: np.ndarray
    seconds: np.ndarray
    language: np.ndarray
    bucket: np.ndarray
    buckets: tuple[float, ...]
    labels: np.ndarray
    left_out: dict[str, int]

    def __len__(self) -> int:
        return len(self.record)


def make_table(
    indexes: list[Index],
    *,
    buckets: tuple[float, ...],
    min_seconds: float,
    crop: bool,
    need_text: bool,
    max_characters: int = 0,
    positions: Callable[[int], int] = int,
) -> Table:
    """Lists the utterances that are usable for training or evaluation.

    Args:
      indexes: one per corpus.
      buckets: lengths in seconds, ascending.
      min_seconds: shorter utterances are dropped.
      crop: utterances longer than the last bucket are kept, to be cropped; otherwise they are dropped.
      need_text: utterances without transcript are dropped.
      max_characters: utterances with longer transcripts are dropped; 0 for no limit.
      positions: from a number of characters to the number of label positions that they need.

    Raises:
      CorpusError: nothing is left, or the buckets are not ascending.
    """
    if not buckets or list(buckets) != sorted(set(buckets)) or buckets[0] <= 0:
        raise CorpusError(f"config.input.bucket_seconds={buckets} must be ascending, above 0 and not empty")
    corpus = np.concatenate([np.full(len(index), number) for number, index in enumerate(indexes)])
    record = np.concatenate([np.arange(len(index)) for index in indexes])
    seconds = np.concatenate([index.seconds for index in indexes]).astype(np.float64)
    language = np.concatenate([index.language for index in indexes])
    characters = np.concatenate([index.characters for index in indexes])
    reasons = {
        f"shorter than {min_seconds:g} s": seconds < min_seconds,
        f"longer than {buckets[-1]:g} s": np.asarray(not crop) & (seconds > buckets[-1]),
        "without transcript": np.asarray(need_text) & (characters == 0),
        f"with more than {max_characters} characters": np.asarray(max_characters > 0) & (characters > max_characters),
    }
    keep = np.ones(len(seconds), bool)
    left_out = {}
    for reason, applies in reasons.items():
        if count := int((keep & applies).sum()):
            left_out[reason] = count
        keep &= ~applies
    if not keep.any():
        raise CorpusError(
            f"none of {len(keep)} utterances is usable: they last {seconds.min():.2f} to {seconds.max():.2f} s, and "
            f"config.input allows {min_seconds} to {buckets[-1]} s"
            + (" and a transcript is needed" if need_text else "")
        )
    bucket = np.minimum(np.searchsorted(buckets, seconds[keep]), len(buckets) - 1)
    longest = [int(characters[keep][bucket == number].max(initial=1)) for number in range(len(buckets))]
    return Table(
        corpus=corpus[keep],
        record=record[keep],
        seconds=seconds[keep],
        language=language[keep],
        bucket=bucket,
        buckets=tuple(buckets),
        labels=np.asarray([-(-positions(length) // 8) * 8 for length in longest]),
        left_out=left_out,
    )


def format_left_out(table: Table) -> str:
    """How many utterances a table leaves out, and why; "" for none."""
    if not table.left_out:
        return ""
    count = sum(table.left_out.values())
    reasons = ", ".join(f"{number} {reason}" for reason, number in table.left_out.items())
    return f"{count} of {len(table) + count} utterances are left out: {reasons}"


def sampling_weights(table: Table, *, beta_corpus: float, beta_language: float) -> np.ndarray:
    """The relative frequency with which each utterance is drawn.

    Args:
      table: the utterances.
      beta_corpus, beta_language: 1 keeps the natural shares, 0 makes all equal; MMS pretrains with 0.5 and 0.5.

    Returns:
      float64 (utterances,), summing to 1. Within a corpus and language all utterances are equal.
    """
    weights = np.zeros(len(table))
    corpora = np.unique(table.corpus)
    corpus_hours = np.asarray([table.seconds[table.corpus == corpus].sum() for corpus in corpora])
    for corpus, corpus_share in zip(corpora, _tempered(corpus_hours, beta_corpus)):
        inside = table.corpus == corpus
        languages = np.unique(table.language[inside])
        members = [inside & (table.language == language) for language in languages]
        hours = np.asarray([table.seconds[member].sum() for member in members])
        for member, language_share in zip(members, _tempered(hours, beta_language)):
            # Shares are of hours, so that an utterance is drawn in proportion to its length.
            weights[member] = corpus_share * language_share / table.seconds[member].sum()
    return weights / weights.sum()


def _tempered(hours: np.ndarray, beta: float) -> np.ndarray:
    shares = (hours / hours.sum()) ** beta
    return shares / shares.sum()


class TrainingPlan:
    """An endless sequence of batches.

    An epoch draws about as many utterances as there are, by systematic sampling over a fresh permutation: an utterance
    of weight w occurs floor(w n) or ceil(w n) times, so with natural shares each occurs once. Every epoch has the same
    number of batches, so that batch k can be computed without those before it.

    Attributes:
      table: the utterances.
      batches: batches an epoch.
    """

    def __init__(self, table: Table, weights: np.ndarray, *, batch_seconds: float, rows_multiple: int, seed: int):
        """Lays out the epochs.

        Args:
          table: the utterances.
          weights: float (utterances,), from `sampling_weights`.
          batch_seconds: audio in a batch, padding included.
          rows_multiple: rows of every batch are a multiple of this; the mesh's data axes must divide it. It is part of
            the config, not taken from the devices, so that the order does not depend on them.
          seed: of all random draws.
        """
        self.table = table
        self._seed = seed
        self._members = [np.flatnonzero(table.bucket == number) for number in range(len(table.buckets))]
        self._weights = [weights[members] for members in self._members]
        self._rows = [
            max(1, int(batch_seconds / seconds) // rows_multiple) * rows_multiple for seconds in table.buckets
        ]
        drawn = [weights_.sum() * len(table) for weights_ in self._weights]
        self._counts = [max(1, round(n / rows)) if n > 0 else 0 for n, rows in zip(drawn, self._rows)]
        self.batches = sum(self._counts)

    def batch(self, step: int) -> PlannedBatch:
        """PlannedBatch number `step`, counted from 0; an epoch has `batches` of them."""
        epoch, position = divmod(step, self.batches)
        bucket, items = self._epoch(epoch)[position]
        table = self.table
        return PlannedBatch(step, int(table.buckets[bucket] * SAMPLE_RATE), int(table.labels[bucket]), items)

    @functools.lru_cache(maxsize=2)  # noqa: B019 (a plan lives as long as the program)
    def _epoch(self, epoch: int) -> list[tuple[int, np.ndarray]]:
        rng = np.random.default_rng((self._seed, epoch))
        batches = []
        for bucket, (members, weights, rows, count) in enumerate(
            zip(self._members, self._weights, self._rows, self._counts)
        ):
            if count == 0:
                continue
            order = rng.permutation(len(members))
            edges = np.cumsum(weights[order])
            draws = (np.arange(rows * count) + rng.random()) / (rows * count) * edges[-1]
            items = members[order[np.minimum(np.searchsorted(edges, draws, side="right"), len(members) - 1)]]
            batches += [(bucket, part) for part in rng.permutation(items).reshape(count, rows)]
        return [batches[position] for position in rng.permutation(len(batches))]

    def __reduce__(self):
        # The cache would travel to the worker processes otherwise.
        return _rebuild, (TrainingPlan, dict(self.__dict__))


class EvaluationPlan:
    """Every utterance once, in batches of one bucket each, the last of a bucket padded with empty rows.

    Attributes:
      table: the utterances.
      batches: the number of batches.
    """

    def __init__(self, table: Table, *, batch_seconds: float, rows_multiple: int):
        self.table = table
        self._batches = []
        for bucket, seconds in enumerate(table.buckets):
            rows = max(1, int(batch_seconds / seconds) // rows_multiple) * rows_multiple
            members = np.flatnonzero(table.bucket == bucket)
            for start in range(0, len(members), rows):
                items = members[start : start + rows]
                self._batches.append((bucket, np.pad(items, (0, rows - len(items)), constant_values=-1)))
        self.batches = len(self._batches)

    def batch(self, step: int) -> PlannedBatch:
        """PlannedBatch number `step`, 0 <= step < batches."""
        bucket, items = self._batches[step]
        return PlannedBatch(step, int(self.table.buckets[bucket] * SAMPLE_RATE), int(self.table.labels[bucket]), items)


def _rebuild(kind, fields):
    plan = kind.__new__(kind)
    plan.__dict__.update(fields)
    return plan
