"""`mms-jax identify`: identifies the languages of recordings."""

import argparse
import pathlib
from collections.abc import Iterator
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
from mms_jax.errors import InputError
from mms_jax.inference.identifier import Identification, Segmentation


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds its arguments."""
    parser.add_argument("files", nargs="+", metavar="AUDIO", help=FILES_HELP)
    parser.add_argument("--model", required=True, help=MODEL_HELP)
    parser.add_argument(
        "--segments", action="store_true", help="a language for each part of a recording that holds several"
    )
    parser.add_argument("--top", type=int, default=3, help="how many languages to print (default: 3)")
    parser.add_argument(
        "--threshold", type=float, metavar="P", help="a best probability below P is unknown (default: the model's)"
    )
    parser.add_argument("--format", choices=("text", "json"), default="text", help="default: text")
    parser.add_argument("--output-dir", type=pathlib.Path, help=OUTPUT_HELP)


def run(arguments: argparse.Namespace) -> int:
    """Identifies; returns the exit status."""
    if arguments.threshold is not None and not 0.0 <= arguments.threshold <= 1.0:
        raise InputError(f"--threshold {arguments.threshold}: a probability is from 0 to 1")
    suffix = "json" if arguments.format == "json" else "txt"
    with audio_files(arguments.files) as given, output_files(arguments.output_dir, given, suffix) as (chosen, write):
        inputs = [given[number] for number in chosen]
        model = load_identifier(arguments.model)
        if arguments.threshold is not None:
            model.threshold = arguments.threshold

        def write_result(place: int, result: Any) -> None:
            name = inputs[place].name
            if arguments.format == "json":
                text = json_line(name, result)
            else:
                lines = _segment_lines(result) if arguments.segments else [_best_line(result)]
                single = write is not None or len(given) == 1
                text = "\n".join(text_line(name, line, single=single) for line in lines)
            if write:
                write(chosen[place], text)
            else:
                tqdm.write(text)

        paths = [each.path for each in inputs]
        with audio_progress("identify", paths) as progress:
            if arguments.segments:
                results: Iterator = model.segments_each(paths, progress=progress)
            else:
                results = model.identify_each(paths, top=arguments.top, progress=progress)
            status = write_each(inputs, results, write_result)
    return max(status, int(len(chosen) < len(given)))


def _best_line(result: Identification) -> str:
    """The languages with their probabilities; "unknown" stands first where the best is below the threshold."""
    found = "  ".join(f"{language} {probability:.4f}" for language, probability in result.languages)
    return f"unknown  {found}" if result.unknown else found


def _segment_lines(result: Segmentation) -> list[str]:
    """Start, end, language and probability, separated by tabs; a question mark follows an unknown language."""
    return [
        f"{part.start:.2f}\t{part.end:.2f}\t{part.language}{'?' if part.unknown else ''}\t{part.probability:.4f}"
        for part in result.segments
    ]
