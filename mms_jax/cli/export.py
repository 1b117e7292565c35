"""`mms-jax export`: exports a recognizer as one StableHLO program."""

import argparse
import pathlib

from mms_jax.cli.common import MODEL_HELP, split_languages
from mms_jax.files import whole_folder
from mms_jax.inference.export import save_program
from mms_jax.inference.find import find_model
from mms_jax.inference.select import check_languages


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds its arguments."""
    parser.add_argument("source", metavar="SRC", help=MODEL_HELP)
    parser.add_argument("target", metavar="DST", help="a new folder; `transcribe --model DST` runs it")
    parser.add_argument("--lang", metavar="L1,L2", help="languages of a recognizer to include (default: all)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="type of the computation")


def run(arguments: argparse.Namespace) -> int:
    """Exports; returns the exit status."""
    languages = split_languages(arguments.lang)
    stored = find_model(arguments.source, languages)
    check_languages(stored, languages)
    with whole_folder(pathlib.Path(arguments.target)) as folder:
        save_program(stored, folder, arguments.dtype)
    print(arguments.target)
    return 0
