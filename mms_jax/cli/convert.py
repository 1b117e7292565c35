"""`mms-jax convert`: converts models of other programs to checkpoints of this one, and back."""

import argparse
import pathlib

from mms_jax.checkpoint import save_model
from mms_jax.cli.common import MODEL_HELP, split_languages
from mms_jax.files import whole_folder
from mms_jax.inference.find import find_model
from mms_jax.inference.select import check_languages
from mms_jax.interop import huggingface_export, vits
from mms_jax.models.description import VOICE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds its arguments."""
    parser.add_argument("source", metavar="SRC", help=MODEL_HELP)
    parser.add_argument("target", metavar="DST", help="a new folder")
    parser.add_argument("--to", choices=("orbax", "huggingface"), default="orbax", help="format (default: orbax)")
    parser.add_argument("--lang", metavar="L1,L2", help="languages of a recognizer to keep (default: all)")


def run(arguments: argparse.Namespace) -> int:
    """Converts; returns the exit status."""
    languages = split_languages(arguments.lang)
    stored = find_model(arguments.source, languages)
    check_languages(stored, languages)
    with whole_folder(pathlib.Path(arguments.target)) as folder:
        if arguments.to == "orbax":
            save_model(folder, stored)
        elif stored.description["kind"] == VOICE:
            vits.save_folder(stored, folder)
        else:
            huggingface_export.save_folder(stored, folder)
    print(arguments.target)
    return 0
