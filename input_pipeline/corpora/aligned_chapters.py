"""A corpus made from whole chapters: the verses that `mms-jax align --output-dir` found and that meet the rules.

    mms-jax align recordings texts --lang=swh --model=M --output-dir=aligned/swh
    mms-jax verify aligned/swh --model=RECOGNIZER                     # optional: error rates, for --max_cer
    python -m input_pipeline.prepare aligned_chapters --data_dir=data --name=swh --alignments=aligned/swh

Chapters are independent of each other: they are cut in worker processes here, or by Apache Beam.
"""

import argparse
import concurrent.futures
import csv
import dataclasses
import hashlib
import importlib.util
import json
import multiprocessing
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import tensorflow_datasets as tfds

from input_pipeline.corpora.alignments import file_checksum, read_records
from input_pipeline.corpora.quality import (
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
from input_pipeline.corpora.storage import (
    MakeErrorRate,
    make_utterance,
    read_rows,
    synthetic_mark,
    utterance_features,
)
from mms_jax.audio.clips import Cut, cut_recording
from mms_jax.errors import AlignmentError, AudioError, CorpusError


@dataclasses.dataclass(frozen=True)
class KeptChapter:
    """The clips of one recording.

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
        """Hours of its clips."""
        return sum(end - start for _, start, end, _ in self.verses) / 3600


class Selection:
    """The verses of a folder of alignments that are kept, by split.

    Attributes:
      splits: chapters by split.
      table: counts of kept and dropped verses by reason, for people.
      report: a line for every verse, tab-separated.
    """

    def __init__(self, folder: pathlib.Path, rules: Rules, splits: str):
        """Selects the verses without reading a recording.

        Args:
          folder: of alignments, at any depth.
          rules: for verses and recordings.
          splits: "book" (Mark, John), "chapters" (a tenth each), "train" (all of it), or a table with the tab-separated
            columns chapter and split.

        Raises:
          CorpusError: there are no alignments, no verse is kept, or `splits` is invalid.
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
                f"{folder}: no verse is good enough\n{self.table}\nlower --min_score if the score is the reason; if the "
                "CER is, verify with a better recognizer or raise --max_cer and --max_recording_cer; or fix the texts"
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
      selection: the verses that are kept.
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
        synthetic: bool = False,
        **kwargs,
    ):
        """Reads the alignments and selects verses.

        Args:
          name: of the corpus, which is opened as "aligned_chapters/NAME".
          alignments: the folder.
          rules: for verses and recordings.
          splits: see Selection.
          workers: processes that cut; 0 cuts in this one.
          beam: cut by Apache Beam instead, on the runner that `download_and_prepare` is given.
          data_dir: the folder of prepared corpora.
          synthetic: whether a program speaks; models that learn from nothing else say so.

        Raises:
          CorpusError: see Selection.
        """
        self._synthetic = synthetic
        self.selection = Selection(pathlib.Path(alignments).expanduser(), rules, splits)
        self._workers, self._beam = workers, beam
        super().__init__(config=tfds.core.BuilderConfig(name=name), data_dir=data_dir, **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        metadata = tfds.core.MetadataDict(self.selection.metadata() | (synthetic_mark(self._synthetic) or {}))
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
      CorpusError: the recording is missing, damaged, or not the one that was aligned.
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
    _, rows = read_rows(table, quoting=csv.QUOTE_MINIMAL)
    chosen = {row.get("chapter"): row.get("split") for row in rows}
    missing = [name for name in records if chosen.get(name) not in SPLITS]
    if missing:
        raise CorpusError(f"{rule}: no split (of {', '.join(SPLITS)}) for {len(missing)} chapters, as {missing[0]!r}")
    return {name: str(chosen[name]) for name in records}


HELP = "verses that mms-jax align found in your chapters"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds its arguments."""
    rules = Rules()
    parser.add_argument("--name", required=True, help="name of the corpus, opened as aligned_chapters/NAME")
    parser.add_argument("--alignments", required=True, help="the folder that mms-jax align --output-dir wrote")
    parser.add_argument(
        "--splits", default="book",
        help="book (Mark validates, John tests), chapters (a tenth or two hours each), train, or a table chapter<TAB>split",
    )  # fmt: skip
    for rule, meaning in (
        ("min_score", "lowest score of a verse"),
        ("min_confidence", "lowest confidence of a verse and of its chapter, 0 for all"),
        ("max_cer", "highest CER of a verse that mms-jax verify transcribed"),
        ("max_recording_cer", "highest CER over a recording, which is a folder of chapters"),
        ("min_seconds", "shortest length of a verse"),
        ("max_seconds", "longest length of a verse"),
        ("max_silence", "longest silence that a clip keeps before and after the speech, in seconds"),
    ):
        default = getattr(rules, rule)
        parser.add_argument(f"--{rule}", type=float, default=default, help=f"{meaning} (default: {default})")
    parser.add_argument("--synthetic", action="store_true", help="a program speaks; models of nothing else say so")
    parser.add_argument("--workers", type=int, default=0, help="processes that cut recordings; 0: this one")
    parser.add_argument(
        "--beam", nargs="?", const="--runner=DirectRunner", metavar="OPTIONS",
        help="cut with Apache Beam (pip install 'mms-jax[beam]'), with its pipeline options as one word: "
        "--beam='--runner=DataflowRunner --project=mine' (default: cut by --workers)",
    )  # fmt: skip


def make_builder(arguments: argparse.Namespace, data_dir: str, _: MakeErrorRate) -> AlignedChapters:
    """The builder that the arguments describe; prints which verses it keeps.

    Raises:
      CorpusError: see Selection.
    """
    if arguments.beam and not importlib.util.find_spec("apache_beam"):
        raise CorpusError("--beam needs Apache Beam: pip install 'mms-jax[beam]'")
    builder = AlignedChapters(
        name=arguments.name,
        alignments=arguments.alignments,
        rules=Rules(**{field.name: getattr(arguments, field.name) for field in dataclasses.fields(Rules)}),
        splits=arguments.splits,
        workers=arguments.workers,
        beam=bool(arguments.beam),
        synthetic=arguments.synthetic,
        data_dir=data_dir,
        file_format="array_record",
    )
    print(builder.selection.table)
    return builder


def made_from(arguments: argparse.Namespace, _: str) -> dict[str, Any]:
    """What the corpus depends on: the alignments, the recordings, and the rules."""
    rules = {field.name: getattr(arguments, field.name) for field in dataclasses.fields(Rules)}
    folder = pathlib.Path(arguments.alignments).expanduser()
    digests = [(name, record["sha256"], record["verses"]) for name, record in read_records(folder).items()]
    return {
        "alignments": hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest(),
        "splits": _splits_digest(arguments.splits),
        "synthetic": arguments.synthetic,
        **rules,
    }


def _splits_digest(rule: str) -> str:
    table = pathlib.Path(rule)
    return hashlib.sha256(table.read_bytes()).hexdigest() if table.is_file() else rule


def download_config(arguments: argparse.Namespace) -> tfds.download.DownloadConfig:
    """Beam's options, where the recordings are cut by Beam."""
    if not arguments.beam:
        return tfds.download.DownloadConfig()
    from apache_beam.options.pipeline_options import PipelineOptions

    return tfds.download.DownloadConfig(beam_options=PipelineOptions(arguments.beam.split()))


def report(builder: AlignedChapters) -> str:
    """Writes report.tsv, with a line for every verse; returns a message that names its path."""
    path = pathlib.Path(builder.data_dir) / "report.tsv"
    path.write_text("\n".join(builder.selection.report) + "\n", encoding="utf-8")
    return f"every verse, with the reason where it is dropped: {path}"
