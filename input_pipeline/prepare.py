"""Prepares a corpus below a data folder: python -m input_pipeline.prepare CORPUS --data_dir=data

  spoken_phrases   the shipped corpus, spoken here: "spoken_phrases/verses" (and /chapters with --config=chapters)
  asterisk         telephone prompts by real people, five languages: "asterisk/core"
  audio_folder     your recordings and a table: "audio_folder/NAME"

What is already prepared is left alone, so the same command can be run again.
"""

import argparse
import pathlib
import sys

from absl import logging

from input_pipeline.corpora.asterisk import Asterisk
from input_pipeline.corpora.audio_folder import AudioFolder
from input_pipeline.corpora.spoken_phrases import SpokenPhrases
from input_pipeline.corpora.storage import CorpusError, open_corpus


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m input_pipeline.prepare", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    corpora = parser.add_subparsers(dest="corpus", required=True)
    for name in ("spoken_phrases", "asterisk", "audio_folder"):
        sub = corpora.add_parser(name)
        sub.add_argument("--data_dir", default="data", help="where prepared corpora lie (default: data)")
        if name == "spoken_phrases":
            sub.add_argument("--config", choices=("verses", "chapters"), default="verses")
        if name == "audio_folder":
            sub.add_argument("--name", required=True, help="name of the corpus, opened as audio_folder/NAME")
            sub.add_argument("--table", required=True, help="TSV with columns path, text, ...")
            sub.add_argument("--language", help="ISO 639-3, where the table has no language column")
            sub.add_argument("--max_bad_share", type=float, default=0.05, help="recordings that may be unreadable")
    arguments = parser.parse_args()
    logging.set_verbosity(logging.WARNING)
    try:
        name = prepare(arguments)
    except CorpusError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    _summarise(name, arguments.data_dir)
    return 0


def prepare(arguments: argparse.Namespace) -> str:
    """Builds the corpus; returns the name under which configs open it."""
    data_dir = str(pathlib.Path(arguments.data_dir).expanduser().resolve())
    if arguments.corpus == "spoken_phrases":
        builder = SpokenPhrases(config=arguments.config, data_dir=data_dir, file_format="array_record")
        name = f"spoken_phrases/{arguments.config}"
    elif arguments.corpus == "asterisk":
        builder, name = Asterisk(config="core", data_dir=data_dir, file_format="array_record"), "asterisk/core"
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
    builder.download_and_prepare()
    return name


def _summarise(name: str, data_dir: str) -> None:
    for split in ("train", "validation", "test"):
        try:
            index = open_corpus(name, split, data_dir).index
        except CorpusError:
            continue
        hours, languages = index.seconds.sum() / 3600, len(set(index.language))
        print(f"{name}:{split:<12}{len(index):>7} utterances {hours:8.2f} hours  languages: {languages}")


if __name__ == "__main__":
    sys.exit(main())
