"""`mms-jax boundaries`: compares aligned verses with reference times."""

import argparse
import json
import pathlib

from input_pipeline.corpora.alignments import read_records
from mms_jax.alignment.boundaries import TIER, boundary_errors, format_boundary_errors, read_times
from mms_jax.errors import AlignmentError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds its arguments."""
    parser.add_argument("folder", metavar="DIR", type=pathlib.Path, help="the --output-dir of align")
    parser.add_argument(
        "reference", metavar="REFERENCE", type=pathlib.Path,
        help="a folder of .json or .TextGrid files, named and placed as the chapters",
    )  # fmt: skip
    parser.add_argument("--tier", default=TIER, help=f"tier of TextGrids that holds the verses (default: {TIER})")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="default: text")


def run(arguments: argparse.Namespace) -> int:
    """Compares; returns the exit status: 1 where a chapter has no alignment."""
    files = sorted(path for path in arguments.reference.rglob("*") if path.suffix.lower() in (".json", ".textgrid"))
    if not files:
        raise AlignmentError(f"{arguments.reference}: holds no .json or .TextGrid files")
    wanted = {
        str(path.relative_to(arguments.reference).with_suffix("")): read_times(path, arguments.tier) for path in files
    }
    records = read_records(arguments.folder)
    found = {
        name: [(verse["start"], verse["end"]) for verse in record["verses"]]
        for name, record in records.items()
        if name in wanted
    }
    scores = boundary_errors(found, wanted)
    print(json.dumps(scores) if arguments.format == "json" else format_boundary_errors(scores))
    return int(len(found) < len(wanted))
