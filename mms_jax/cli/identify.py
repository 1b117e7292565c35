"""`mms-jax identify`: identifies the languages of recordings."""

import argparse
from typing import Any

from tqdm import tqdm

from mms_jax.audio.inputs import audio_files
from mms_jax.cli.common import FILES_HELP, MODEL_HELP, json_line, text_line, write_each
from mms_jax.inference.load import load_identifier


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds its arguments."""
    parser.add_argument("files", nargs="+", metavar="AUDIO", help=FILES_HELP)
    parser.add_argument("--model", required=True, help=MODEL_HELP)
    parser.add_argument("--top", type=int, default=3, help="how many languages to print (default: 3)")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="default: text")


def run(arguments: argparse.Namespace) -> int:
    """Identifies; returns the exit status."""
    model = load_identifier(arguments.model)
    with audio_files(arguments.files) as named:

        def write(name: str, result: Any) -> None:
            if arguments.format == "json":
                tqdm.write(json_line(name, result))
            else:
                found = "  ".join(f"{language} {probability:.4f}" for language, probability in result.languages)
                tqdm.write(text_line(name, found, single=len(named) == 1))

        results = model.identify_each([path for _, path in named], top=arguments.top)
        return write_each("identify", [name for name, _ in named], results, write)
