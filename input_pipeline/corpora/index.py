"""The index of a split: the length, language and speaker of every utterance, without the audio.

It lies beside the shards in arrays that are mapped into memory, so that a corpus of a hundred million utterances opens at
once. Utterances are sorted by language and then by length: a language, a length bucket, and what is too short or too long
are each one range of positions.
"""

import contextlib
import dataclasses
import json
import pathlib
import shutil
import uuid
from collections.abc import Sequence

import numpy as np

_COLUMNS = ("record", "seconds", "characters", "speaker")
_FACTS = "index.json"
_ATTEMPTS = 100  # to put an index in the place of another, while other processes do

Named = tuple[Sequence[str], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Index:
    """The utterances of a split, sorted by language, then by length.

    Attributes:
      languages: ISO 639-3, sorted.
      starts: int64 (languages + 1,): utterances starts[i] to starts[i + 1] are in language i.
      record: int32 (utterances,), their positions in the shards.
      seconds: float32 (utterances,).
      characters: int32 (utterances,), the length of the transcript.
      speakers: names, sorted.
      speaker: int32 (utterances,), positions among `speakers`.
      alphabets: the characters of each language's transcripts.
      folder: in which it is stored; None for one in memory.
    """

    languages: tuple[str, ...]
    starts: np.ndarray
    record: np.ndarray
    seconds: np.ndarray
    characters: np.ndarray
    speakers: tuple[str, ...]
    speaker: np.ndarray
    alphabets: dict[str, str]
    folder: pathlib.Path | None = None

    def __len__(self) -> int:
        return len(self.record)

    @classmethod
    def from_records(
        cls, seconds: np.ndarray, language: Named, characters: np.ndarray, speaker: Named, alphabets: dict[str, str]
    ) -> "Index":
        """From the values of all records, in the order of the shards.

        Args:
          seconds, characters: (records,).
          language, speaker: different names in any order, and the position of each record's among them, int (records,).
          alphabets: the characters of each language's transcripts.
        """
        languages, number = _by_name(*language)
        speakers, voice = _by_name(*speaker)
        order = np.lexsort((seconds, number))
        return cls(
            languages=languages,
            starts=np.searchsorted(number[order], np.arange(len(languages) + 1)),
            record=order.astype(np.int32),
            seconds=seconds[order].astype(np.float32),
            characters=characters[order].astype(np.int32),
            speakers=speakers,
            speaker=voice[order].astype(np.int32),
            alphabets=alphabets,
        )

    def hours(self) -> dict[str, float]:
        """Hours of audio by language."""
        totals = [
            np.sum(self.seconds[low:high], dtype=np.float64) for low, high in zip(self.starts[:-1], self.starts[1:])
        ]
        return {language: float(total) / 3600 for language, total in zip(self.languages, totals)}

    def positions(self, language: str) -> range:
        """Those of a language of the index."""
        place = self.languages.index(language)
        return range(int(self.starts[place]), int(self.starts[place + 1]))

    def only(self, kept: np.ndarray) -> "Index":
        """The index without some utterances. It is held in memory, 16 bytes for each, in every worker process too.

        Args:
          kept: bool (utterances,).
        """
        starts = np.concatenate([[0], np.cumsum(kept)])[self.starts]
        columns = {name: getattr(self, name)[kept] for name in _COLUMNS}
        return dataclasses.replace(self, starts=starts, folder=None, **columns)

    def __reduce__(self):
        # Worker processes map the files themselves.
        if self.folder is not None:
            return open_index, (self.folder,)
        return Index, tuple(getattr(self, field.name) for field in dataclasses.fields(self))


def _by_name(names: Sequence[str], numbers: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """The names, sorted, and the positions among these."""
    order = sorted(range(len(names)), key=names.__getitem__)
    ranks = np.empty(len(names), np.int32)
    ranks[order] = np.arange(len(names))
    return tuple(names[number] for number in order), ranks[numbers]


def open_index(folder: pathlib.Path) -> Index:
    """Maps a stored index into memory.

    Raises:
      OSError, ValueError, KeyError: it is damaged.
    """
    facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
    # Plain arrays over the mapped files: indexing a memmap costs more.
    columns = {name: np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r")) for name in _COLUMNS}
    if {len(column) for column in columns.values()} != {facts["starts"][-1]}:
        raise ValueError(f"{folder}: its columns differ in length")
    return Index(
        languages=tuple(facts["languages"]),
        starts=np.asarray(facts["starts"], np.int64),
        speakers=tuple(facts["speakers"]),
        alphabets=facts["alphabets"],
        folder=folder,
        **columns,
    )


def find_index(folder: pathlib.Path, records: int) -> Index | None:
    """The stored index of so many records; None where there is none, or another one."""
    try:
        index = open_index(folder)
    except (OSError, ValueError, KeyError):
        return None
    return index if len(index) == records else None


def save_index(index: Index, folder: pathlib.Path) -> None:
    """Stores an index in the place of one that does not fit.

    Processes of one job may all do so at once, on several hosts: the first one's stays.

    Raises:
      OSError: it cannot be written.
    """
    temporary, aside = (folder.with_name(f".{folder.name}.{uuid.uuid4().hex}") for _ in range(2))
    temporary.mkdir()
    try:
        for name in _COLUMNS:
            np.save(temporary / f"{name}.npy", getattr(index, name))
        facts = {
            "languages": index.languages,
            "starts": index.starts.tolist(),
            "speakers": index.speakers,
            "alphabets": index.alphabets,
        }
        (temporary / _FACTS).write_text(json.dumps(facts), encoding="utf-8")
        for attempt in range(_ATTEMPTS):
            try:
                temporary.rename(folder)
                break
            except OSError:
                if find_index(folder, len(index)) is not None:
                    break
                if attempt == _ATTEMPTS - 1:
                    raise
            # Another process may do the same, or have put a good one there since it was looked at.
            with contextlib.suppress(FileNotFoundError):
                folder.rename(aside)
            shutil.rmtree(aside, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(aside, ignore_errors=True)
