"""A corpus out of whole chapters: the verses that `mms-jax align --output-dir` found, those that are good enough.

    mms-jax align recordings texts --lang=swh --model=M --output-dir=aligned/swh
    mms-jax verify aligned/swh --model=RECOGNISER                     # optional: error rates, for --max_cer
    python -m input_pipeline.prepare aligned_chapters --data_dir=data --name=swh --alignments=aligned/swh

Chapters are independent of each other: they are cut in worker processes here, or by Apache Beam.
"""

import concurrent.futures
import csv
import dataclasses
import multiprocessing
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import tensorflow_datasets as tfds

from input_pipeline.corpora.storage import CorpusError, make_utterance, utterance_features
from mms_jax.alignment.clips import Cut, cut_recording
from mms_jax.alignment.errors import AlignmentError
from mms_jax.alignment.quality import (
    SPLITS,
    Rules,
    clip_times,
    judge,
    reasons_table,
    recording_of,
    report_rows,
    split_by_book,
    split_by_chapters,
    too_many_errors,
)
from mms_jax.alignment.records import file_checksum, read_records
from mms_jax.audio.errors import AudioError


@dataclasses.dataclass(frozen=True)
class KeptChapter:
    """What is cut out of one recording.

    Attributes:
      name: of the chapter, unique in the corpus.
      file: its recording.
      sha256: of that file when it was aligned.
      language: ISO 639-3.
      verses: number, start and end of the cut in seconds, text.
    """

    name: str
    file: str
    sha256: str
    language: str
    verses: tuple[tuple[int, float, float, str], ...]

    @property
    def hours(self) -> float:
        """Of what is kept."""
        return sum(end - start for _, start, end, _ in self.verses) / 3600


class Selection:
    """Which verses of a folder of alignments are kept, and in which split.

    Attributes:
      splits: chapters by split.
      table: what was dropped and why, for people.
      report: a line for every verse, tab-separated.
    """

    def __init__(self, folder: pathlib.Path, rules: Rules, splits: str):
        """Decides, without touching a recording.

        Args:
          folder: of alignments, at any depth.
          rules: for verses and recordings.
          splits: "book" (Mark, John), "chapters" (a tenth each), "train" (all of it), or a table with the tab-separated
            columns chapter and split.

        Raises:
          CorpusError: no alignments, nothing is kept, or no such rule of splits.
        """
        try:
            records = read_records(folder)
        except AlignmentError as error:
            raise CorpusError(str(error)) from error
        self._made_by = {"rules": dataclasses.asdict(rules), "splits": splits}
        bad = too_many_errors(records, rules)
        reasons = {
            name: [
                reason or ("recording's CER" if recording_of(name) in bad else "") for reason in judge(record, rules)
            ]
            for name, record in records.items()
        }
        self.table = reasons_table(records, reasons, rules)
        self.report = list(report_rows(records, reasons))
        self.splits: dict[str, list[KeptChapter]] = {}
        chosen = _splits(records, splits)
        for name, record in records.items():
            chapter = _kept(name, record, reasons[name], rules)
            if chapter.verses:
                self.splits.setdefault(chosen[name], []).append(chapter)
        if not self.splits:
            raise CorpusError(
                f"{folder}: no verse is good enough\n{self.table}\nlower --min_score where it is the score; where it is the "
                "CER, verify with a better recogniser or raise --max_cer and --max_recording_cer; or mend the texts"
            )

    def metadata(self) -> dict[str, Any]:
        """Hours by split and language, the recordings' checksums, and the rules."""
        hours: dict[str, dict[str, float]] = {}
        for split, chapters in self.splits.items():
            for chapter in chapters:
                own = hours.setdefault(split, {})
                own[chapter.language] = round(own.get(chapter.language, 0.0) + chapter.hours, 5)
        sources = {chapter.name: chapter.sha256 for chapters in self.splits.values() for chapter in chapters}
        return {"hours": hours, "sha256": sources, **self._made_by}


class AlignedChapters(tfds.core.GeneratorBasedBuilder):
    """TFDS builder of a folder of alignments.

    Attributes:
      selection: what is kept.
    """

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS: list[tfds.core.BuilderConfig] = []

    def __init__(
        self,
        *,
        name: str,
        alignments: str,
        rules: Rules,
        splits: str,
        workers: int,
        beam: bool,
        data_dir: str,
        **kwargs,
    ):
        """Reads the alignments and decides what is kept.

        Args:
          name: what to call the corpus: it is opened as "aligned_chapters/NAME".
          alignments: the folder.
          rules: for verses and recordings.
          splits: see Selection.
          workers: processes that cut; 0 cuts in this one.
          beam: cut by Apache Beam instead, on the runner that `download_and_prepare` is given.
          data_dir: where prepared corpora lie.

        Raises:
          CorpusError: see Selection.
        """
        self.selection = Selection(pathlib.Path(alignments).expanduser(), rules, splits)
        self._workers, self._beam = workers, beam
        super().__init__(config=tfds.core.BuilderConfig(name=name), data_dir=data_dir, **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        metadata = tfds.core.MetadataDict(self.selection.metadata())
        return self.dataset_info_from_configs(features=utterance_features(), metadata=metadata)

    def _split_generators(self, dl_manager):
        del dl_manager
        return {split: self._generate_examples(chapters) for split, chapters in sorted(self.selection.splits.items())}

    def _generate_examples(self, chapters: list[KeptChapter]):
        if self._beam:
            import apache_beam

            return apache_beam.Create(chapters) | apache_beam.FlatMap(cut_chapter)
        return self._cut(chapters)

    def _cut(self, chapters: list[KeptChapter]) -> Iterator[tuple[str, dict]]:
        if not self._workers:
            for chapter in chapters:
                yield from cut_chapter(chapter)
            return
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(self._workers, mp_context=context) as pool:
            for utterances in pool.map(cut_chapter, chapters):
                yield from utterances


def cut_chapter(chapter: KeptChapter) -> list[tuple[str, dict]]:
    """The kept verses of one chapter as utterances, with their ids.

    Raises:
      CorpusError: the recording is gone, damaged, or not the one that was aligned.
    """
    try:
        if file_checksum(chapter.file) != chapter.sha256:
            raise CorpusError(f"{chapter.file}: has changed since it was aligned; align it again")
        clips = list(cut_recording(chapter.file, [Cut(start, end) for _, start, end, _ in chapter.verses]))
    except (AudioError, OSError) as error:
        raise CorpusError(f"{error}; put it back, or take {chapter.name}.json out of the alignments") from error
    utterances = []
    for (number, _, _, text), waveform in zip(chapter.verses, clips):
        identity = f"{chapter.name}_{number:04d}"
        speaker = recording_of(chapter.name) or chapter.language
        utterances.append(
            (
                identity,
                make_utterance(waveform, identity=identity, text=text, language=chapter.language, speaker=speaker),
            )
        )
    return utterances


def _kept(name: str, record: Mapping[str, Any], reasons: Iterable[str], rules: Rules) -> KeptChapter:
    verses = tuple(
        (number, *clip_times(verse, rules), verse["normalized"])
        for number, (verse, reason) in enumerate(zip(record["verses"], reasons), start=1)
        if not reason
    )
    return KeptChapter(name, record["file"], record["sha256"], record["language"], verses)


def _splits(records: Mapping[str, Mapping[str, Any]], rule: str) -> dict[str, str]:
    """The split of every chapter."""
    match rule:
        case "book":
            return {name: split_by_book(name) for name in records}
        case "chapters":
            return split_by_chapters({name: record["seconds"] for name, record in records.items()})
        case "train":
            return dict.fromkeys(records, "train")
    table = pathlib.Path(rule)
    if not table.is_file():
        raise CorpusError(f"--splits={rule}: no such file; choose book, chapters, train or a table chapter<TAB>split")
    with table.open(newline="", encoding="utf-8-sig") as stream:
        chosen = {row.get("chapter"): row.get("split") for row in csv.DictReader(stream, delimiter="\t")}
    missing = [name for name in records if chosen.get(name) not in SPLITS]
    if missing:
        raise CorpusError(f"{rule}: no split (of {', '.join(SPLITS)}) for {len(missing)} chapters, as {missing[0]!r}")
    return {name: str(chosen[name]) for name in records}
