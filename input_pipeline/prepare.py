"""Prepares a corpus below a data folder: python -m input_pipeline.prepare CORPUS --data_dir=data

A corpus that is already prepared is left alone, so that the same command can be run again. If its source or its options
have changed since, the command says so.
"""

if __name__ == "__main__":  # before the libraries below are imported, which takes seconds
    from mms_jax.command import hold_signals

    hold_signals()


import argparse
import json
import pathlib
import re
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import jiwer
import numpy as np
import tensorflow_datasets as tfds
from absl import logging

from input_pipeline.corpora import (
    aligned_chapters,
    asterisk,
    audio_folder,
    catalog,
    spoken_names,
    spoken_phrases,
    unlabeled,
    voice,
)
from input_pipeline.corpora.storage import ErrorRate, open_splits
from mms_jax.command import leave, run_command
from mms_jax.errors import CorpusError
from mms_jax.files import is_address, read_json, write_json

MADE_FROM = "made_from.json"  # beside the shards

# A corpus is a module with HELP, add_arguments(parser) and make_builder(arguments, data_dir, make_error_rate). Optional
# are report(builder), a summary of the prepared corpus; download_config(arguments), options for TFDS; and
# made_from(arguments, data_dir), what the corpus depends on, in plain types.
CORPORA: dict[str, ModuleType] = {
    "spoken_phrases": spoken_phrases,
    "spoken_names": spoken_names,
    "asterisk": asterisk,
    "audio_folder": audio_folder,
    "aligned_chapters": aligned_chapters,
    "catalog": catalog,
    "unlabeled": unlabeled,
    "voice": voice,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m input_pipeline.prepare", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(dest="corpus", required=True)
    for name, corpus in CORPORA.items():
        subparser = commands.add_parser(name, help=corpus.HELP, description=corpus.HELP)
        subparser.add_argument("--data_dir", default="data", help="folder of prepared corpora (default: data)")
        corpus.add_arguments(subparser)
    arguments = parser.parse_args(argv)
    logging.set_verbosity(logging.WARNING)
    return run_command(lambda: _print_summary(prepare(arguments), arguments.data_dir))


def prepare(arguments: argparse.Namespace) -> str:
    """Builds the corpus; returns the name under which configs open it."""
    corpus = CORPORA[arguments.corpus]
    if not re.fullmatch(r"[\w.-]+", name := getattr(arguments, "name", "x")):
        raise CorpusError(f"--name={name!r} cannot name a corpus; use letters, digits, - and _")
    if is_address(arguments.data_dir):
        raise CorpusError(
            f"--data_dir={arguments.data_dir}: name a folder of this machine, and copy it afterwards (gcloud storage rsync "
            "--recursive)"
        )
    data_dir = str(pathlib.Path(arguments.data_dir).expanduser().resolve())
    builder = corpus.make_builder(arguments, data_dir, recognizer_error_rate)
    options = (
        corpus.download_config(arguments) if hasattr(corpus, "download_config") else tfds.download.DownloadConfig()
    )
    made_from = corpus.made_from(arguments, data_dir) if hasattr(corpus, "made_from") else None
    folder = pathlib.Path(builder.data_dir)
    is_new = not folder.exists()
    _check_unchanged(f"{builder.name}/{builder.builder_config.name}", folder, made_from)
    builder.download_and_prepare(download_config=options)
    if made_from is not None and is_new:
        write_json(folder / MADE_FROM, made_from)
    if hasattr(corpus, "report"):
        print(corpus.report(builder))
    return f"{builder.name}/{builder.builder_config.name}"


def _check_unchanged(name: str, folder: pathlib.Path, made_from: dict[str, Any] | None) -> None:
    """Raises CorpusError where a prepared corpus was made from something else; TFDS would leave it as it is."""
    path = folder / MADE_FROM
    if made_from is None or not folder.exists():
        return
    if not path.exists():
        logging.warning("%s was prepared by an older version: whether its source has changed is not known", name)
        return
    before = read_json(path, CorpusError)
    now = json.loads(json.dumps(made_from))
    if changed := sorted(key for key in before | now if before.get(key) != now.get(key)):
        raise CorpusError(
            f"{name} was prepared before from another source or with other rules or options (changed: "
            f"{', '.join(changed)}); to prepare it anew, delete {folder}, or choose another name, where there is --name"
        )


def recognizer_error_rate(model: str) -> ErrorRate:
    """A function that measures a recognizer's error rate; the recognizer is loaded once per language."""
    # Only here does input_pipeline import models: this command connects corpora to a recognizer.
    from mms_jax.inference.load import load_recognizer
    from mms_jax.inference.recognizer import Recognizer

    loaded: dict[str, Recognizer] = {}

    def error_rate(waveforms: Sequence[np.ndarray], texts: Sequence[str], language: str) -> float:
        if language not in loaded:
            loaded[language] = load_recognizer(model, [language])
        return float(jiwer.cer(list(texts), loaded[language].transcribe_waveforms(waveforms, language=language)))

    return error_rate


def _print_summary(name: str, data_dir: str) -> None:
    for split, corpus in open_splits(name, data_dir).items():
        index = corpus.index
        hours, languages = sum(index.hours().values()), len(index.languages)
        print(f"{name}:{split:<12}{len(index):>7} utterances {hours:8.2f} hours  languages: {languages}")


if __name__ == "__main__":
    leave(main())
