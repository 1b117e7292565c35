"""How an epoch of draws becomes batches: which buckets each holds, and which draws fall on it."""

import dataclasses

import numpy as np

_MOST_PASSES = 64
_MOST_DRAWS = 4_000_000  # of an epoch with several passes
_MOST_BATCHES = 100_000
_SHARE_ERROR = 0.01


@dataclasses.dataclass(frozen=True)
class Run:
    """Equal batches that follow each other.

    Attributes:
      count: of the batches.
      rows: {bucket: rows}; a batch has the length of its longest bucket, and may be filled up with shorter utterances.
    """

    count: int
    rows: dict[int, int]


def lay_out(shares: np.ndarray, draws: float, rows: list[int]) -> tuple[int, list[Run]]:
    """The number of passes that an epoch makes, and its batches.

    Args:
      shares: float (buckets,), of the draws.
      draws: of one pass.
      rows: of a batch of each bucket.
    """
    best: tuple[float, int, list[Run]] | None = None
    runs: list[Run] = []
    batches = 0
    left, drawn = np.zeros(len(rows), int), np.zeros(len(rows), int)  # draws that have no batch yet; all draws
    for passes in range(1, _MOST_PASSES + 1):
        if best is not None and (passes * draws > _MOST_DRAWS or batches > _MOST_BATCHES):
            break
        before, after = (np.floor(shares * draws * number + 0.5) for number in (passes - 1, passes))
        new = (after - before).astype(int)
        if passes == 1:
            new[(shares > 0) & (new == 0)] = 1
        left, drawn = left + new, drawn + new
        full = _fill_batches(left, rows)
        runs += full
        batches += sum(run.count for run in full)
        last = _last_batch(left, rows, drawn)
        counts = drawn.astype(float)
        for run in last:
            counts += [run.rows.get(bucket, 0) - count for bucket, count in enumerate(left)]
        error = float(np.max(np.abs(counts / counts.sum() / np.where(shares > 0, shares, 1) - 1)[shares > 0]))
        if best is None or error < best[0]:
            best = (error, passes, runs + last)
        if error < _SHARE_ERROR:
            break
    assert best is not None
    return best[1], best[2]


def _fill_batches(left: np.ndarray, rows: list[int]) -> list[Run]:
    """Full batches from the longest bucket to the shortest; `left` keeps the draws that fill none.

    The last batch of a bucket is filled up with draws from the next shorter ones.
    """
    runs = []
    for bucket in range(len(rows) - 1, -1, -1):
        if whole := int(left[bucket] // rows[bucket]):
            runs.append(Run(whole, {bucket: rows[bucket]}))
            left[bucket] -= whole * rows[bucket]
        if left[bucket] > 0 and left[: bucket + 1].sum() >= rows[bucket]:
            part, free = {}, rows[bucket]
            for source in range(bucket, -1, -1):
                if taken := int(min(free, left[source])):
                    part[source] = taken
                    left[source] -= taken
                    free -= taken
            runs.append(Run(1, part))
    return runs


def _last_batch(left: np.ndarray, rows: list[int], drawn: np.ndarray) -> list[Run]:
    """A batch of the draws that are left, none if there are none.

    It is filled up from the bucket with the most draws, whose share changes least, of those whose batches hold what is left.
    """
    buckets = np.flatnonzero(left)
    if not len(buckets):
        return []
    longest = int(buckets[-1])
    fitting = [bucket for bucket in range(len(rows)) if rows[max(bucket, longest)] >= left.sum()]
    filling = max(fitting, key=lambda bucket: drawn[bucket])
    part = {int(bucket): int(left[bucket]) for bucket in buckets}
    part[filling] = part.get(filling, 0) + rows[max(filling, longest)] - int(left.sum())
    return [Run(1, {bucket: count for bucket, count in part.items() if count})]


class Deal:
    """Deals the draws of a bucket like cards: each round gives one to every batch that still has room.

    Draws of one utterance are neighbors, and fall into different batches where there are as many; a few do not where
    rounds have different numbers of batches.

    Attributes:
      takers: int (rounds,), the batches that take a card in each round.
      draws: their sum.
    """

    def __init__(self, runs: list[Run], bucket: int):
        sizes = np.asarray([run.rows.get(bucket, 0) for run in runs])
        counts = np.asarray([run.count for run in runs])
        largest_first = np.argsort(-sizes, kind="stable")
        # Batches that take longest come first, so that those of a round are the first ones.
        self._first = np.empty(len(runs), int)
        self._first[largest_first] = np.cumsum(counts[largest_first]) - counts[largest_first]
        self._sizes = sizes
        ends = np.bincount(sizes, counts, sizes.max() + 1)  # batches by the rounds that they take part in
        self.takers = (counts.sum() - np.cumsum(ends)[:-1]).astype(int)
        self._starts = np.cumsum(self.takers) - self.takers
        self.draws = int(self.takers.sum())

    def shuffle(self, rng: np.random.Generator, copies: int) -> np.ndarray:
        """How far the order of the batches is turned in each round, int (rounds,).

        From round to round it is more than half of them, and no less than the copies of an utterance, since the last draws
        of a round and the first of the next may be those of one utterance.

        Args:
          rng: draws the turns.
          copies: of an utterance, at most.
        """
        least = np.minimum(self.takers, np.maximum(self.takers // 2 + 1, copies))
        return np.cumsum(rng.integers(least, self.takers + 1))

    def cards(self, run: int, number: int, turns: np.ndarray) -> np.ndarray:
        """The draws of a batch.

        Args:
          run: to which it belongs.
          number: of the batch in its run.
          turns: from `shuffle`.
        """
        size = self._sizes[run]
        taker = self._first[run] + number + turns[:size]
        return self._starts[:size] + taker % self.takers[:size]
