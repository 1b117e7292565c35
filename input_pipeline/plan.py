"""The utterances of batch k: a pure function of the seed and k, the same on every host and after every restart.

Hours of corpora are heard in proportion to (hours share)^beta_corpus, and those of the languages within a corpus to (hours
share)^beta_language (MMS, section 2.2). A batch has the length of one bucket, and as many rows as fit the configured
seconds of audio, so that few shapes are compiled.

Nothing here is as large as the corpus, and no epoch is ever listed: the row of a batch is the number of a draw, and the
draw's utterance is found by arithmetic on groups of utterances (see `input_pipeline.table`).
"""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from input_pipeline.layout import Deal, lay_out
from input_pipeline.table import Table
from mms_jax.audio.waveform import SAMPLE_RATE


@dataclasses.dataclass(frozen=True)
class PlannedBatch:
    """One global batch, before any audio is read.

    Attributes:
      step: the number of the batch; also part of the seed of the random crops.
      samples: static length of its rows.
      labels: static length of its label rows.
      items: int (rows,), numbers of utterances of the plan's table; -1 for a row that is padding.
    """

    step: int
    samples: int
    labels: int
    items: np.ndarray


def sampling_weights(table: Table, *, beta_corpus: float, beta_language: float) -> np.ndarray:
    """The relative frequency with which a draw falls on each group of utterances.

    Within a corpus and language, utterances are heard in proportion to their length: one that is cropped is drawn as often
    as it is longer than its crop.

    Args:
      table: the utterances.
      beta_corpus, beta_language: 1 keeps the natural shares, 0 makes all equal; MMS pretrains with 0.5 and 0.5.

    Returns:
      float64 (groups,), summing to 1.
    """
    pairs, pair = np.unique(table.corpus * len(table.languages) + table.language, return_inverse=True)
    seconds = np.bincount(pair, table.group_seconds)
    corpora, corpus = np.unique(pairs // len(table.languages), return_inverse=True)
    share = _tempered(np.bincount(corpus, seconds), beta_corpus)[corpus]
    for number in range(len(corpora)):
        share[corpus == number] *= _tempered(seconds[corpus == number], beta_language)
    # A draw yields the seconds that are heard of the utterance.
    weights = (share / seconds)[pair] * table.crops
    return weights / weights.sum()


def _tempered(hours: np.ndarray, beta: float) -> np.ndarray:
    shares = (hours / hours.sum()) ** beta
    return shares / shares.sum()


def rows_of_batches(
    buckets: Sequence[float] | np.ndarray, batch_seconds: float, batch_rows: int, rows_multiple: int
) -> list[int]:
    """The rows of a batch of each bucket; see `TrainingPlan`.

    Args:
      buckets: their lengths in seconds.
    """
    wanted = [batch_rows or int(batch_seconds / seconds) for seconds in buckets]
    return [max(1, count // rows_multiple) * rows_multiple for count in wanted]


_EPOCH, _BEGIN = 1, 2  # streams of random numbers beside that of the steps
# Epochs begin their systematic samples at places that are spread evenly: what one leaves out, another draws.
_GOLDEN = (5**0.5 - 1) / 2


class TrainingPlan:
    """An endless sequence of batches.

    A pass draws about as many rows as the utterances have crops, by systematic sampling over the utterances in the order
    of their length: an utterance of weight w occurs floor(w n) or ceil(w n) times, so with natural shares each occurs once.
    An epoch is one pass, or several, where that is needed to give each bucket a whole number of draws at less than 1 % from
    its share. Every epoch has the same number of batches, so that batch k can be computed without those before it.

    All rows of all batches hold speech: where the utterances of a bucket do not fill its last batch, shorter ones do; the
    last batch of all is filled up from the bucket with the most draws.

    Attributes:
      table: the utterances.
      batches: batches of an epoch.
      pass_batches: batches of a pass, rounded.
    """

    def __init__(
        self,
        table: Table,
        weights: np.ndarray,
        *,
        batch_seconds: float,
        rows_multiple: int,
        seed: int,
        batch_rows: int = 0,
    ):
        """Lays out the epochs.

        Args:
          table: the utterances.
          weights: float (groups,), above 0, from `sampling_weights`.
          batch_seconds: audio in a batch, padding included.
          rows_multiple: rows of every batch are a multiple of this; the mesh's data axes must divide it. It is part of
            the config, not taken from the devices, so that the order does not depend on them.
          seed: of all random draws.
          batch_rows: rows of every batch, whatever its length, rounded down to a multiple; 0 for those that
            `batch_seconds` hold.
        """
        self.table = table
        self._seed = seed
        self._weights = weights
        rows = rows_of_batches(table.buckets, batch_seconds, batch_rows, rows_multiple)
        shares = np.bincount(table.bucket, weights, len(rows))
        passes, self._runs = lay_out(shares, float(table.crops.sum()), rows)
        self._firsts = np.cumsum([0, *(run.count for run in self._runs)])
        self._deals = {bucket: Deal(self._runs, bucket) for bucket in range(len(rows)) if shares[bucket] > 0}
        self._copies = {bucket: self._most_copies(bucket) for bucket in self._deals}
        self.batches = int(self._firsts[-1])
        self.pass_batches = max(1, round(self.batches / passes))

    def batch(self, step: int) -> PlannedBatch:
        """PlannedBatch number `step`, counted from 0; an epoch has `batches` of them."""
        epoch, position = divmod(step, self.batches)
        order, draws = self._epoch(epoch)
        number = int(order[position])
        run = int(np.searchsorted(self._firsts, number, side="right")) - 1
        items = np.concatenate(
            [
                self._items(bucket, (self._deals[bucket].cards(run, number - self._firsts[run], turns) + start))
                for bucket, (start, turns) in draws.items()
                if bucket in self._runs[run].rows
            ]
        )
        rows = np.random.default_rng((self._seed, step)).permutation(items)
        bucket = max(self._runs[run].rows)
        return PlannedBatch(step, int(self.table.buckets[bucket] * SAMPLE_RATE), int(self.table.labels[bucket]), rows)

    def rows_by_language(self, updates: int) -> dict[str, float]:
        """About how many rows of each language a run of so many updates hears."""
        draws = sum(run.count * sum(run.rows.values()) for run in self._runs) / self.batches * updates
        shares = np.bincount(self.table.language, self._weights, len(self.table.languages))
        return dict(zip(self.table.languages, (draws * shares).tolist()))

    def repeats(self, most: int = 20_000) -> float:
        """The share of rows that equal an earlier row of their batch: the same utterance, not cropped.

        Args:
          most: rows of the first epoch that are looked at.
        """
        rows = repeated = 0
        for step in range(self.batches):
            if rows >= most:
                break
            batch = self.batch(step)
            whole = batch.items[self.table.look_up(batch.items).seconds * SAMPLE_RATE <= batch.samples]
            rows += len(batch.items)
            repeated += len(whole) - len(np.unique(whole))
        return repeated / rows

    def _items(self, bucket: int, draws: np.ndarray) -> np.ndarray:
        """The utterances on which some draws of a bucket fall.

        Args:
          bucket: its number.
          draws: float (draws,), from 0 to the number of draws of an epoch.
        """
        groups = np.flatnonzero(self.table.bucket == bucket)
        edges = np.cumsum(self._weights[groups])
        place = draws / self._deals[bucket].draws * edges[-1]
        number = np.minimum(np.searchsorted(edges, place, side="right"), len(groups) - 1)
        within = (place - edges[number]) / self._weights[groups[number]] + 1.0
        return self.table.items(groups[number], within)

    @functools.lru_cache(maxsize=2)  # noqa: B019 (a plan lives as long as the program)
    def _epoch(self, epoch: int) -> tuple[np.ndarray, dict[int, tuple[float, np.ndarray]]]:
        """The order of an epoch's batches; and for each bucket the random start of its draws, and of each round."""
        rng = np.random.default_rng((self._seed, epoch, _EPOCH))
        begin = np.random.default_rng((self._seed, _BEGIN)).random()
        start = (begin + epoch * _GOLDEN) % 1.0
        draws = {bucket: (start, deal.shuffle(rng, self._copies[bucket])) for bucket, deal in self._deals.items()}
        return rng.permutation(self.batches), draws

    def _most_copies(self, bucket: int) -> int:
        """How often an epoch may draw an utterance that is not cropped."""
        table, own = self.table, self.table.bucket == bucket
        counts = np.diff(table.firsts)
        single = (self._weights / counts)[own & (table.crops <= counts)]
        share = single.max(initial=0.0) / self._weights[own].sum()
        return int(share * self._deals[bucket].draws) + 1

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
            members = table.members(bucket)
            for start in range(0, len(members), rows):
                items = np.asarray(members[start : start + rows])
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
