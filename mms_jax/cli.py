"""The command `mms-jax`: parses, calls, prints."""

import argparse
import contextlib
import dataclasses
import json
import sys
from collections.abc import Sequence

from tqdm import tqdm


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a subcommand; returns the exit status: 0 only if every input was done."""
    parser = argparse.ArgumentParser(prog="mms-jax", description="Massively multilingual speech in JAX.")
    commands = parser.add_subparsers(dest="command", required=True)
    transcribe = commands.add_parser("transcribe", help="recordings to text")
    transcribe.add_argument("files", nargs="+", metavar="AUDIO", help="recordings of any format, rate and length")
    transcribe.add_argument("--model", required=True, help="folder of a trained recogniser (the --workdir of its run)")
    transcribe.add_argument("--lang", required=True, help="language of the recordings, ISO 639-3 (swh)")
    transcribe.add_argument("--format", choices=("text", "json"), default="text", help="what to print (default: text)")
    arguments = parser.parse_args(argv)
    return _transcribe(arguments)


def _transcribe(arguments: argparse.Namespace) -> int:
    import mms_jax
    from mms_jax.audio.errors import AudioError
    from mms_jax.checkpoint import CheckpointError

    try:
        model = mms_jax.load(arguments.model)
        model.vocabulary.language_index(arguments.lang)
    except (CheckpointError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    failed = False
    results = model.transcribe_each(arguments.files, language=arguments.lang)
    progress = tqdm(results, total=len(arguments.files), desc="transcribe", unit="file", disable=None, leave=False)
    with contextlib.closing(progress):
        for file, result in zip(arguments.files, progress):
            if isinstance(result, AudioError):
                failed = True
                tqdm.write(f"error: {result}", file=sys.stderr)
            elif arguments.format == "json":
                tqdm.write(json.dumps({"file": file, **dataclasses.asdict(result)}, ensure_ascii=False))
            else:
                tqdm.write(result.text if len(arguments.files) == 1 else f"{file}\t{result.text}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
