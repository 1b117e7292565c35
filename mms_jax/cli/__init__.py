"""The command `mms-jax`; every subcommand is a file here, which parses, calls and prints."""

import argparse
import importlib
import sys
from collections.abc import Sequence

import mms_jax
from mms_jax.command import holding_signals, leave, run_command

# Modules of this package with `add_arguments(parser)` and `run(arguments) -> exit status`.
COMMANDS = {
    "transcribe": "transcribe recordings",
    "identify": "identify the languages of recordings",
    "rerank": "tune the choice of a language by an identifier and a recognizer together",
    "align": "find the times of every verse, word and character of a text",
    "boundaries": "measure the boundary errors of aligned verses against reference times",
    "verify": "measure the error rates of aligned verses with a recognizer",
    "adapt": "add a language to a model, from recordings with their texts",
    "speak": "synthesize speech from text",
    "info": "print what a model is: its kind, languages, training data and error rates",
    "convert": "convert models of other programs to the format of this one, and back",
    "export": "export a recognizer as one StableHLO program, for serving",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a subcommand; returns the exit status: 0 only if every input was processed."""
    given = list(sys.argv[1:] if argv is None else argv)
    return run_command(lambda: _run(given))


def run_and_leave() -> None:
    """The program `mms-jax`."""
    leave(main())


def _run(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="mms-jax", description="Massively multilingual speech in JAX.")
    parser.add_argument("--version", action="version", version=f"mms-jax {mms_jax.__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, help_text in COMMANDS.items():
        subparser = commands.add_parser(name, help=help_text, description=help_text)
        if argv[:1] == [name]:  # the imports of the others would take seconds
            with holding_signals():
                module = importlib.import_module(f"{__name__}.{name}")
            module.add_arguments(subparser)
            subparser.set_defaults(run=module.run)
    arguments = parser.parse_args(argv)
    return arguments.run(arguments)
