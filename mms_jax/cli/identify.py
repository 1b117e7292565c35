"""`mms-jax identify`: identifies the languages of recordings."""

import argparse
import pathlib
from typing import Any

from tqdm import tqdm

from mms_jax.audio.inputs import audio_files
from mms_jax.cli.common import (
    FILES_HELP,
    MODEL_HELP,
    audio_progress,
    json_line,
    load_identifier,
    text_line,
    write_each,
)
from mms_jax.cli.outputs import OUTPUT_HELP, output_files


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds its arguments."""
    parser.add_argument("files", nargs="+", metavar="AUDIO", help=FILES_HELP)
    parser.add_argument("--model", required=True, help=MODEL_HELP)
    parser.add_argument("--top", type=int, default=3, help="how many languages to print (default: 3)")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="default: text")
    parser.add_argument("--output-dir", type=pathlib.Path, help=OUTPUT_HELP)


def run(arguments: argparse.Namespace) -> int:
    """Identifies; returns the exit status."""
    suffix = "json" if arguments.format == "json" else "txt"
    with audio_files(arguments.files) as given, output_files(arguments.output_dir, given, suffix) as (chosen, write):
        inputs = [given[number] for number in chosen]
        model = load_identifier(arguments.model)

        def write_result(place: int, result: Any) -> None:
            name = inputs[place].name
            if arguments.format == "json":
                text = json_line(name, result)
            else:
                found = "  ".join(f"{language} {probability:.4f}" for language, probability in result.languages)
                text = text_line(name, found, single=write is not None or len(given) == 1)
            if write:
                write(chosen[place], text)
            else:
                tqdm.write(text)

        paths = [each.path for each in inputs]
        with audio_progress("identify", paths) as progress:
            results = model.identify_each(paths, top=arguments.top, progress=progress)
            status = write_each(inputs, results, write_result)
    return max(status, int(len(chosen) < len(given)))
