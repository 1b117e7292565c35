"""The usable utterances of all corpora, in groups of one corpus, language and length bucket.

An index is sorted by language and length, so a group is a range of it. What a plan needs to know of a group are a few
numbers; the utterances themselves stay in the mapped files.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from input_pipeline.corpora.index import Index
from mms_jax.errors import CorpusError

_BLOCK = 1024  # utterances of a group whose lengths are summed, to find one among those that are cropped


class Utterances(NamedTuple):
    """Some utterances of a table.

    Attributes:
      corpus: int (utterances,), positions in the list of corpora.
      record: int (utterances,), positions in the shards.
      language: int (utterances,), positions in the table's languages.
      seconds: float32 (utterances,).
    """

    corpus: np.ndarray
    record: np.ndarray
    language: np.ndarray
    seconds: np.ndarray


@dataclasses.dataclass(frozen=True)
class Table:
    """All usable utterances of all corpora, numbered by group: first by bucket, then by corpus, language and length.

    Attributes:
      indexes: one per corpus.
      languages: of all utterances, sorted.
      buckets: seconds of each bucket, ascending.
      labels: int (buckets,), label positions that the longest transcript of the bucket, or of a shorter one, needs.
      left_out: numbers of utterances that are not used, by reason.
      bucket: int (groups,), ascending: the shortest bucket that holds the utterances of a group (or crops of them).
      corpus: int (groups,), position in `indexes`.
      language: int (groups,), position in `languages`.
      low: int (groups,), where the group begins in its index.
      firsts: int (groups + 1,), the number of each group's first utterance.
      group_seconds: float64 (groups,), the sum.
      crops: float64 (groups,), the sum of the draws that are needed to hear each second once; an utterance that is not
        cropped needs one.
    """

    indexes: Sequence[Index]
    languages: tuple[str, ...]
    buckets: tuple[float, ...]
    labels: np.ndarray
    left_out: dict[str, int]
    bucket: np.ndarray
    corpus: np.ndarray
    language: np.ndarray
    low: np.ndarray
    firsts: np.ndarray
    group_seconds: np.ndarray
    crops: np.ndarray

    def __len__(self) -> int:
        return int(self.firsts[-1])

    def members(self, bucket: int) -> range:
        """The utterances of a bucket."""
        low, high = np.searchsorted(self.bucket, [bucket, bucket + 1])
        return range(int(self.firsts[low]), int(self.firsts[high]))

    def look_up(self, items: np.ndarray) -> Utterances:
        """What the indexes say of some utterances."""
        items = np.asarray(items)
        group = np.searchsorted(self.firsts, items, side="right") - 1
        corpus, position = self.corpus[group], self.low[group] + items - self.firsts[group]
        record, seconds = np.zeros(items.shape, np.int32), np.zeros(items.shape, np.float32)
        for number in np.unique(corpus):
            own = corpus == number
            record[own] = self.indexes[number].record[position[own]]
            seconds[own] = self.indexes[number].seconds[position[own]]
        return Utterances(corpus, record, self.language[group], seconds)

    def items(self, group: np.ndarray, within: np.ndarray) -> np.ndarray:
        """The utterances at some places of groups, which give each utterance as much room as it has crops.

        Args:
          group: int (places,).
          within: float (places,), from 0, the group's beginning, to 1, its end.
        """
        counts = self.firsts[group + 1] - self.firsts[group]
        places = np.clip((within * counts).astype(int), 0, counts - 1)
        for number in np.unique(group[self.crops[group] > counts]):
            own = group == number
            places[own] = self._cropped_places(int(number), within[own])
        return self.firsts[group] + places

    def _cropped_places(self, group: int, within: np.ndarray) -> np.ndarray:
        """The positions in a group whose utterances are cropped: each has room in proportion to its length."""
        ends = self._blocks[group]
        wanted = within * ends[-1]
        block = np.minimum(np.searchsorted(ends, wanted, side="right"), len(ends) - 1)
        places = np.empty(len(within), int)
        for number in np.unique(block):
            own, begin = block == number, number * _BLOCK
            lengths = self._lengths(group)[begin : begin + _BLOCK]
            inner = (ends[number - 1] if number else 0.0) + np.cumsum(lengths, dtype=np.float64)
            place = np.minimum(np.searchsorted(inner, wanted[own], side="right"), len(lengths) - 1)
            places[own] = begin + place
        return places

    @functools.cached_property
    def _blocks(self) -> dict[int, np.ndarray]:
        """For each group that is cropped the seconds up to the end of each block, float64 (blocks,)."""
        counts = np.diff(self.firsts)
        found = {}
        for group in np.flatnonzero(self.crops > counts).tolist():
            lengths = self._lengths(group)
            sums = np.add.reduceat(lengths, np.arange(0, len(lengths), _BLOCK), dtype=np.float64)
            found[group] = np.cumsum(sums)
        return found

    def _lengths(self, group: int) -> np.ndarray:
        """The seconds of a group's utterances."""
        low, count = self.low[group], self.firsts[group + 1] - self.firsts[group]
        return self.indexes[self.corpus[group]].seconds[low : low + count]


def make_table(
    indexes: Sequence[Index],
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
    left_out: dict[str, int] = {}
    usable = [_with_text(index, need_text, max_characters, left_out) for index in indexes]
    groups = sorted(
        group
        for corpus, index in enumerate(usable)
        for group in _groups(index, corpus, buckets, min_seconds, crop, left_out)
    )
    if not groups:
        raise CorpusError(_nothing_left(indexes, buckets, min_seconds, need_text))
    languages = sorted({group.language for group in groups})
    place = {name: number for number, name in enumerate(languages)}
    low, high = (np.asarray([getattr(group, name) for group in groups]) for name in ("low", "high"))
    lengths = [usable[group.corpus].seconds[group.low : group.high] for group in groups]
    seconds = np.asarray([np.sum(own, dtype=np.float64) for own in lengths])
    return Table(
        indexes=usable,
        languages=tuple(languages),
        buckets=tuple(buckets),
        labels=_label_positions(usable, groups, len(buckets), positions) if need_text else np.zeros(len(buckets), int),
        left_out=left_out,
        bucket=np.asarray([group.bucket for group in groups]),
        corpus=np.asarray([group.corpus for group in groups]),
        language=np.asarray([place[group.language] for group in groups]),
        low=low,
        firsts=np.concatenate([[0], np.cumsum(high - low)]),
        group_seconds=seconds,
        crops=np.where([group.cropped for group in groups], seconds / buckets[-1], high - low),
    )


class _Group(NamedTuple):
    """A range of the index of a corpus."""

    bucket: int
    corpus: int
    language: str
    cropped: bool
    low: int
    high: int


def _groups(
    index: Index, corpus: int, buckets: tuple[float, ...], min_seconds: float, crop: bool, left_out: dict[str, int]
) -> Iterator[_Group]:
    """The groups of a corpus; utterances that are too short, too long, or of no known length are counted."""
    above = np.nextafter(np.asarray(buckets, np.float32), np.float32(np.inf))
    shortest = max(np.float32(min_seconds), np.finfo(np.float32).tiny)
    edges = np.maximum.accumulate([shortest, *above, np.inf], dtype=np.float32)
    for language, low, high in zip(index.languages, index.starts[:-1].tolist(), index.starts[1:].tolist()):
        cuts = (low + np.searchsorted(index.seconds[low:high], edges)).tolist()
        _count(left_out, f"shorter than {min_seconds:g} s", cuts[0] - low)
        _count(left_out, "of unknown length", high - cuts[-1])
        if not crop:
            _count(left_out, f"longer than {buckets[-1]:g} s", cuts[-1] - cuts[-2])
            cuts.pop()
        for part, (begin, end) in enumerate(itertools.pairwise(cuts)):
            if end > begin:
                yield _Group(min(part, len(buckets) - 1), corpus, language, part == len(buckets), begin, end)


def _count(left_out: dict[str, int], reason: str, count: int) -> None:
    if count:
        left_out[reason] = left_out.get(reason, 0) + count


def _label_positions(
    indexes: Sequence[Index], groups: Sequence[_Group], buckets: int, positions: Callable[[int], int]
) -> np.ndarray:
    """See Table.labels."""
    longest = np.ones(buckets, int)
    for group in groups:
        characters = indexes[group.corpus].characters[group.low : group.high]
        longest[group.bucket] = max(longest[group.bucket], characters.max())
    # Batches of a bucket may be filled up with shorter utterances.
    return np.maximum.accumulate([-(-positions(int(length)) // 8) * 8 for length in longest])


def _with_text(index: Index, need_text: bool, max_characters: int, left_out: dict[str, int]) -> Index:
    """The utterances whose transcripts can be used; the others are counted."""
    if not need_text and not max_characters:
        return index
    reasons = {
        "without transcript": (index.characters == 0) & need_text,
        f"with more than {max_characters} characters": (index.characters > max_characters) & (max_characters > 0),
    }
    keep = np.ones(len(index), bool)
    for reason, applies in reasons.items():
        _count(left_out, reason, int((keep & applies).sum()))
        keep &= ~applies
    return index if keep.all() else index.only(keep)


def _nothing_left(indexes: Sequence[Index], buckets: tuple[float, ...], min_seconds: float, need_text: bool) -> str:
    seconds = np.concatenate([index.seconds for index in indexes])
    if not len(seconds):
        return "the corpora hold no utterance; prepare them again, or choose others"
    return (
        f"none of {len(seconds)} utterances is usable: they last {seconds.min():.2f} to {seconds.max():.2f} s, and "
        f"config.input allows {min_seconds} to {buckets[-1]} s" + (" and a transcript is needed" if need_text else "")
    )


def format_left_out(table: Table) -> str:
    """How many utterances a table leaves out, and why; "" for none."""
    if not table.left_out:
        return ""
    count = sum(table.left_out.values())
    reasons = ", ".join(f"{number} {reason}" for reason, number in table.left_out.items())
    return f"{count} of {len(table) + count} utterances are left out: {reasons}"
