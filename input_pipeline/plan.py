"""The utterances of batch k: a pure function of the seed and k, the same on every host and after every restart.

Utterances are grouped by corpus, language and length bucket. Hours of corpora are heard in proportion to
(hours share)^beta_corpus, and those of the languages within a corpus to (hours share)^beta_language (MMS, section 2.2). A
batch has the length of one bucket, and as many rows as fit the configured seconds of audio, so that few shapes are compiled.
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
      labels: int (buckets,), label positions that the longest transcript of the bucket, or of a shorter one, needs.
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

    @functools.cached_property
    def languages(self) -> tuple[np.ndarray, np.ndarray]:
        """The languages, sorted, and the place of each utterance's among them, int (utterances,)."""
        return np.unique(self.language, return_inverse=True)

    @property
    def heard(self) -> np.ndarray:
        """float (utterances,): the seconds that one draw of an utterance yields, which are less where it is cropped."""
        return np.minimum(self.seconds, self.buckets[-1])


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
        # Batches of a bucket may be filled up with shorter utterances.
        labels=np.maximum.accumulate([-(-positions(length) // 8) * 8 for length in longest]),
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

    Within a corpus and language, utterances are heard in proportion to their length: one that is cropped is drawn as often
    as it is longer than its crop.

    Args:
      table: the utterances.
      beta_corpus, beta_language: 1 keeps the natural shares, 0 makes all equal; MMS pretrains with 0.5 and 0.5.

    Returns:
      float64 (utterances,), summing to 1.
    """
    languages, language = table.languages
    groups, group = np.unique(table.corpus * len(languages) + language, return_inverse=True)
    seconds = np.bincount(group, table.seconds)
    corpora, corpus = np.unique(groups // len(languages), return_inverse=True)
    share = _tempered(np.bincount(corpus, seconds), beta_corpus)[corpus]
    for number in range(len(corpora)):
        share[corpus == number] *= _tempered(seconds[corpus == number], beta_language)
    # A draw yields the seconds that are heard of the utterance.
    weights = (share / seconds)[group] * table.seconds / table.heard
    return weights / weights.sum()


def _tempered(hours: np.ndarray, beta: float) -> np.ndarray:
    shares = (hours / hours.sum()) ** beta
    return shares / shares.sum()


_MOST_PASSES = 64
_MOST_DRAWS = 4_000_000  # of an epoch with several passes: it is held in memory
_MOST_BATCHES = 100_000
_SHARE_ERROR = 0.01
_JITTER = 20.0  # places by which the order of utterances by length is disturbed


class TrainingPlan:
    """An endless sequence of batches.

    A pass draws about as many rows as the utterances have crops, by systematic sampling over a fresh order: an
    utterance of weight w occurs floor(w n) or ceil(w n) times, so with natural shares each occurs once. An epoch is one
    pass, or several, where that is needed to give each bucket a whole number of draws at less than 1 % from its share. Every
    epoch has the same number of batches, so that batch k can be computed without those before it.

    All rows of all batches hold speech: where the utterances of a bucket do not fill its last batch, shorter ones do.

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
          weights: float (utterances,), from `sampling_weights`.
          batch_seconds: audio in a batch, padding included.
          rows_multiple: rows of every batch are a multiple of this; the mesh's data axes must divide it. It is part of
            the config, not taken from the devices, so that the order does not depend on them.
          seed: of all random draws.
          batch_rows: rows of every batch, whatever its length, rounded down to a multiple; 0 for those that
            `batch_seconds` hold.
        """
        self.table = table
        self._seed = seed
        self._members = [np.flatnonzero(table.bucket == number) for number in range(len(table.buckets))]
        self._weights = [weights[members] for members in self._members]
        wanted = [batch_rows or int(batch_seconds / seconds) for seconds in table.buckets]
        rows = [max(1, count // rows_multiple) * rows_multiple for count in wanted]
        draws_of_a_pass = np.sum(np.ceil(table.seconds / table.heard))
        shares = np.asarray([part.sum() for part in self._weights])
        passes, self._parts = _lay_out(shares, draws_of_a_pass, rows)
        self.batches = len(self._parts)
        self.pass_batches = max(1, round(self.batches / passes))

    def batch(self, step: int) -> PlannedBatch:
        """PlannedBatch number `step`, counted from 0; an epoch has `batches` of them."""
        epoch, position = divmod(step, self.batches)
        bucket, items = self._epoch(epoch)[position]
        table = self.table
        return PlannedBatch(step, int(table.buckets[bucket] * SAMPLE_RATE), int(table.labels[bucket]), items)

    def rows_by_language(self, updates: int) -> dict[str, float]:
        """About how many rows of each language a run of so many updates hears."""
        draws = sum(sum(part.values()) for part in self._parts) / self.batches * updates
        languages, place = self.table.languages
        shares = np.zeros(len(languages))
        for members, weights in zip(self._members, self._weights):
            shares += np.bincount(place[members], weights, len(languages))
        return dict(zip(languages.tolist(), (draws * shares).tolist()))

    def repeats(self, most: int = 200) -> float:
        """The share of rows that equal an earlier row of their batch: the same utterance, not cropped.

        Args:
          most: batches of the first epoch that are looked at.
        """
        rows = repeated = 0
        for step in range(min(self.batches, most)):
            batch = self.batch(step)
            whole = batch.items[self.table.seconds[batch.items] * SAMPLE_RATE <= batch.samples]
            rows += len(batch.items)
            repeated += len(whole) - len(np.unique(whole))
        return repeated / rows

    @functools.lru_cache(maxsize=2)  # noqa: B019 (a plan lives as long as the program)
    def _epoch(self, epoch: int) -> list[tuple[int, np.ndarray]]:
        rng = np.random.default_rng((self._seed, epoch))
        dealt: list[list[np.ndarray]] = [[] for _ in self._parts]
        for bucket, (members, weights) in enumerate(zip(self._members, self._weights)):
            takers = [number for number, part in enumerate(self._parts) if bucket in part]
            sizes = np.asarray([self._parts[number][bucket] for number in takers], int)
            if not len(takers):
                continue
            order = self._order(members, rng)
            edges = np.cumsum(weights[order])
            draws = (np.arange(sizes.sum()) + rng.random()) / sizes.sum() * edges[-1]
            items = members[order[np.minimum(np.searchsorted(edges, draws, side="right"), len(members) - 1)]]
            # Draws of one utterance are neighbors here; dealt out like cards, they fall into different batches.
            taker = np.repeat(np.arange(len(takers)), sizes)
            card = np.concatenate([np.arange(size) for size in sizes])
            turn = np.empty(len(items), int)
            turn[np.lexsort((taker, card))] = np.arange(len(items))
            for number, hand in zip(takers, np.split(items[turn], np.cumsum(sizes)[:-1])):
                dealt[number].append(hand)
        batches = [(max(part), rng.permutation(np.concatenate(hands))) for part, hands in zip(self._parts, dealt)]
        return [batches[position] for position in rng.permutation(len(batches))]

    def _order(self, members: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A permutation by corpus, language and roughly by length, so that a systematic sample has the shares of each."""
        table = self.table
        language = np.unique(table.language[members], return_inverse=True)[1]
        rank = np.argsort(np.argsort(table.seconds[members])) + rng.uniform(0.0, _JITTER, len(members))
        return np.lexsort((rank, language, table.corpus[members]))

    def __reduce__(self):
        # The cache would travel to the worker processes otherwise.
        return _rebuild, (TrainingPlan, dict(self.__dict__))


def _lay_out(shares: np.ndarray, draws: float, rows: list[int]) -> tuple[int, list[dict[int, int]]]:
    """The batches of an epoch, each as {bucket: rows}; and the number of passes that the epoch makes.

    Args:
      shares: float (buckets,), of the draws.
      draws: of one pass.
      rows: of a batch of each bucket.
    """
    best: tuple[float, int, list[dict[int, int]]] | None = None
    parts: list[dict[int, int]] = []
    left, drawn = np.zeros(len(rows), int), np.zeros(len(rows), int)  # draws that have no batch yet; all draws
    for passes in range(1, _MOST_PASSES + 1):
        if best is not None and (passes * draws > _MOST_DRAWS or len(parts) > _MOST_BATCHES):
            break
        before, after = (np.floor(shares * draws * number + 0.5) for number in (passes - 1, passes))
        new = (after - before).astype(int)
        if passes == 1:
            new[(shares > 0) & (new == 0)] = 1
        left, drawn = left + new, drawn + new
        parts += _fill_batches(left, rows)
        last = _last_batch(left, rows)
        counts = drawn.astype(float)
        for part in last:
            counts[min(part)] += sum(part.values()) - left.sum()
        error = float(np.max(np.abs(counts / counts.sum() / np.where(shares > 0, shares, 1) - 1)[shares > 0]))
        if best is None or error < best[0]:
            best = (error, passes, parts + last)
        if error < _SHARE_ERROR:
            break
    assert best is not None
    return best[1], best[2]


def _fill_batches(left: np.ndarray, rows: list[int]) -> list[dict[int, int]]:
    """Full batches from the longest bucket to the shortest; `left` keeps the draws that fill none.

    The last batch of a bucket is filled up with draws from the next shorter ones.
    """
    parts = []
    for bucket in range(len(rows) - 1, -1, -1):
        while left[bucket] > 0 and left[: bucket + 1].sum() >= rows[bucket]:
            part, free = {}, rows[bucket]
            for source in range(bucket, -1, -1):
                if taken := int(min(free, left[source])):
                    part[source] = taken
                    left[source] -= taken
                    free -= taken
            parts.append(part)
    return parts


def _last_batch(left: np.ndarray, rows: list[int]) -> list[dict[int, int]]:
    """A batch of the draws that are left, filled up with more of the shortest among them; none if there are none."""
    buckets = np.flatnonzero(left)
    if not len(buckets):
        return []
    part = {int(bucket): int(left[bucket]) for bucket in buckets}
    part[int(buckets[0])] += rows[buckets[-1]] - int(left.sum())
    return [part]


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
