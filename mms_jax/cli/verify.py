"""`mms-jax verify`: compares aligned verses with the transcripts of a recognizer."""

import argparse
import pathlib
import sys

from tqdm import tqdm

from input_pipeline.corpora.alignments import read_records, write_record
from mms_jax.alignment.verify import add_error_rates, format_error_rates
from mms_jax.cli.common import MODEL_HELP, load_recognizer
from mms_jax.errors import AudioError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds its arguments."""
    parser.add_argument("folder", metavar="DIR", help="the --output-dir of align; error rates are added to it")
    parser.add_argument("--model", required=True, help=f"a recognizer of the language: {MODEL_HELP}")


def run(arguments: argparse.Namespace) -> int:
    """Adds "heard" and "cer" to the verses of a folder, and prints a table; returns the exit status."""
    folder = pathlib.Path(arguments.folder)
    records = read_records(folder)
    model = load_recognizer(arguments.model, sorted({record["language"] for record in records.values()}))
    failed = False
    for name, record in tqdm(records.items(), desc="verify", unit="file", disable=None, leave=False):
        if record.get("verified_by") == arguments.model:
            continue
        try:
            add_error_rates(record, model)
        except AudioError as error:
            failed = True
            tqdm.write(f"error: {error}", file=sys.stderr)
            continue
        record["verified_by"] = arguments.model
        write_record(folder / f"{name}.json", record)
    print(format_error_rates(records))
    return int(failed)
