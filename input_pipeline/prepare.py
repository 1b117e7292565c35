"""Prepares a corpus below a data folder: python -m input_pipeline.prepare CORPUS --data_dir=data

  spoken_phrases   the shipped corpus, spoken here: "spoken_phrases/verses" (--config: also chapters, labelled, reader)
  asterisk         telephone prompts by real people, five languages: "asterisk/core"
  audio_folder     your recordings and a table: "audio_folder/NAME"
  voice            one reader out of another corpus, cleaned, to train a voice on: "voice/NAME"
  aligned_chapters verses that mms-jax align found in your chapters: "aligned_chapters/NAME"

What is already prepared is left alone, so the same command can be run again.
"""

import argparse
import dataclasses
import importlib.util
import json
import pathlib
import sys

import tensorflow_datasets as tfds
from absl import logging

from input_pipeline.corpora import voice
from input_pipeline.corpora.aligned_chapters import AlignedChapters
from input_pipeline.corpora.asterisk import Asterisk
from input_pipeline.corpora.audio_folder import AudioFolder
from input_pipeline.corpora.spoken_phrases import SpokenPhrases
from input_pipeline.corpora.storage import CorpusError, open_splits
from mms_jax.alignment.quality import Rules


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m input_pipeline.prepare", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    corpora = parser.add_subparsers(dest="corpus", required=True)
    for name in ("spoken_phrases", "asterisk", "audio_folder", "aligned_chapters", "voice"):
        sub = corpora.add_parser(name)
        sub.add_argument("--data_dir", default="data", help="where prepared corpora lie (default: data)")
        if name == "spoken_phrases":
            sub.add_argument("--config", choices=("verses", "chapters", "labelled", "reader"), default="verses")
        if name == "audio_folder":
            sub.add_argument("--name", required=True, help="name of the corpus, opened as audio_folder/NAME")
            sub.add_argument("--table", required=True, help="TSV with columns path, text, ...")
            sub.add_argument("--language", help="ISO 639-3, where the table has no language column")
            sub.add_argument("--max_bad_share", type=float, default=0.05, help="recordings that may be unreadable")
        if name == "aligned_chapters":
            _add_aligned_arguments(sub)
        if name == "voice":
            _add_voice_arguments(sub)
    arguments = parser.parse_args()
    logging.set_verbosity(logging.WARNING)
    try:
        name = prepare(arguments)
    except CorpusError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    _summarise(name, arguments.data_dir)
    return 0


def _add_aligned_arguments(parser: argparse.ArgumentParser) -> None:
    rules = Rules()
    parser.add_argument("--name", required=True, help="name of the corpus, opened as aligned_chapters/NAME")
    parser.add_argument("--alignments", required=True, help="what mms-jax align --output-dir wrote, at any depth")
    parser.add_argument(
        "--splits", default="book",
        help="book (Mark validates, John tests), chapters (a tenth or two hours each), train, or a table chapter<TAB>split",
    )  # fmt: skip
    for rule, meaning in (
        ("min_score", "of a verse"),
        ("max_cer", "of a verse that mms-jax verify heard"),
        ("max_recording_cer", "over a recording, which is a folder of chapters"),
        ("min_seconds", "of a verse"),
        ("max_seconds", "of a verse"),
        ("max_silence", "that a clip keeps before and after the speech, in seconds"),
    ):
        default = getattr(rules, rule)
        parser.add_argument(f"--{rule}", type=float, default=default, help=f"{meaning} (default: {default})")
    parser.add_argument("--workers", type=int, default=0, help="processes that cut recordings; 0: this one")
    parser.add_argument(
        "--beam", nargs="?", const="--runner=DirectRunner", metavar="OPTIONS",
        help="cut with Apache Beam (pip install 'mms-jax[beam]'); its pipeline options, as one word: "
        "--beam='--runner=DataflowRunner --project=mine' (default: here)",
    )  # fmt: skip


def _add_voice_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", required=True, help="name of the corpus, opened as voice/NAME")
    parser.add_argument("--source", required=True, help="a prepared corpus, such as audio_folder/NAME")
    parser.add_argument(
        "--speaker", help="whose utterances (default: the recording that is understood best, or the longest)"
    )
    parser.add_argument("--language", help="ISO 639-3, where the source holds several")
    parser.add_argument("--recogniser", metavar="MODEL", help="judges which recording is understood best")
    parser.add_argument(
        "--drop_pitch", type=float, default=0.15, help="share with the most varied pitch to leave out (default: 0.15)"
    )
    parser.add_argument(
        "--denoise", metavar="MODULE:FUNCTION", help="is given float32 samples at 16 kHz, returns as many"
    )
    parser.add_argument(
        "--uroman", action="store_true", help="romanise transcripts; train with --config.tts.uroman=True"
    )
    parser.add_argument("--workers", type=int, default=0, help="processes that measure pitch; 0: this one")


def prepare(arguments: argparse.Namespace) -> str:
    """Builds the corpus; returns the name under which configs open it."""
    data_dir = str(pathlib.Path(arguments.data_dir).expanduser().resolve())
    if arguments.corpus == "spoken_phrases":
        builder = SpokenPhrases(config=arguments.config, data_dir=data_dir, file_format="array_record")
        name = f"spoken_phrases/{arguments.config}"
    elif arguments.corpus == "asterisk":
        builder, name = Asterisk(config="core", data_dir=data_dir, file_format="array_record"), "asterisk/core"
    elif arguments.corpus == "voice":
        builder, name = _voice(arguments, data_dir), f"voice/{arguments.name}"
    elif arguments.corpus == "aligned_chapters":
        builder, name = _aligned_chapters(arguments, data_dir), f"aligned_chapters/{arguments.name}"
        print(builder.selection.table)
    else:
        builder = AudioFolder(
            name=arguments.name,
            table=arguments.table,
            language=arguments.language,
            max_bad_share=arguments.max_bad_share,
            data_dir=data_dir,
            file_format="array_record",
        )
        name = f"audio_folder/{arguments.name}"
    builder.download_and_prepare(download_config=_download_config(arguments))
    if arguments.corpus == "aligned_chapters":
        report = pathlib.Path(builder.data_dir) / "report.tsv"
        report.write_text("\n".join(builder.selection.report) + "\n", encoding="utf-8")
        print(f"every verse, kept or why not: {report}")
    if arguments.corpus == "voice":
        print("\n".join(builder.summary))
    return name


def _download_config(arguments: argparse.Namespace) -> tfds.download.DownloadConfig:
    if not getattr(arguments, "beam", None):
        return tfds.download.DownloadConfig()
    from apache_beam.options.pipeline_options import PipelineOptions

    return tfds.download.DownloadConfig(beam_options=PipelineOptions(arguments.beam.split()))


def _voice(arguments: argparse.Namespace, data_dir: str) -> voice.Voice:
    fields = [field.name for field in dataclasses.fields(voice.Choice)]
    return voice.Voice(
        name=arguments.name,
        source=arguments.source,
        choice=voice.Choice(**{name: getattr(arguments, name) for name in fields}),
        understood=voice.understood_by(arguments.recogniser) if arguments.recogniser else None,
        data_dir=data_dir,
        file_format="array_record",
    )


def _aligned_chapters(arguments: argparse.Namespace, data_dir: str) -> AlignedChapters:
    if arguments.beam and not importlib.util.find_spec("apache_beam"):
        raise CorpusError("--beam needs Apache Beam: pip install 'mms-jax[beam]'")
    builder = AlignedChapters(
        name=arguments.name,
        alignments=arguments.alignments,
        rules=Rules(**{field.name: getattr(arguments, field.name) for field in dataclasses.fields(Rules)}),
        splits=arguments.splits,
        workers=arguments.workers,
        beam=bool(arguments.beam),
        data_dir=data_dir,
        file_format="array_record",
    )
    prepared = pathlib.Path(builder.data_dir) / "metadata.json"
    if prepared.exists() and json.loads(prepared.read_text()) != builder.selection.metadata():
        raise CorpusError(
            f"aligned_chapters/{arguments.name} was prepared from other alignments or with other rules; choose another "
            f"--name, or delete {builder.data_dir}"
        )
    return builder


def _summarise(name: str, data_dir: str) -> None:
    for split, corpus in open_splits(name, data_dir).items():
        index = corpus.index
        hours, languages = index.seconds.sum() / 3600, len(set(index.language))
        print(f"{name}:{split:<12}{len(index):>7} utterances {hours:8.2f} hours  languages: {languages}")


if __name__ == "__main__":
    sys.exit(main())
