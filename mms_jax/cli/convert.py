"""`mms-jax convert`: converts models of other programs to checkpoints of this one, and back."""

import argparse
import pathlib

from mms_jax.checkpoint import save_model
from mms_jax.cli.common import MODEL_HELP, split_languages
from mms_jax.inference.find import find_model
from mms_jax.interop import huggingface, vits
from mms_jax.models.description import VOICE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds its arguments."""
    parser.add_argument("source", metavar="SRC", help=MODEL_HELP)
    parser.add_argument("target", metavar="DST", help="a new folder")
    parser.add_argument("--to", choices=("orbax", "huggingface"), default="orbax", help="format (default: orbax)")
    parser.add_argument("--lang", metavar="L1,L2", help="languages to keep, of a model with language adapters")


def run(arguments: argparse.Namespace) -> int:
    """Converts; returns the exit status."""
    stored = find_model(arguments.source, split_languages(arguments.lang))
    target = pathlib.Path(arguments.target)
    if arguments.to == "orbax":
        save_model(target, stored)
    elif stored.description["kind"] == VOICE:
        vits.save_folder(stored, target)
    else:
        huggingface.save_folder(stored, target)
    print(arguments.target)
    return 0
