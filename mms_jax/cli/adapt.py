"""`mms-jax adapt`: adds a language to a model, from recordings with their texts."""

import argparse
import dataclasses
import pathlib
from typing import Any

from mms_jax.adapt.run import ADAPTER, ALL, Settings, adapt
from mms_jax.adapt.source import AUTO, FRESH
from mms_jax.cli.common import MODEL_HELP, split_languages

_DEFAULTS = Settings(model="", language="", data="")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds its arguments."""
    parser.add_argument("--model", required=True, help=f"a recognizer, or a pretrained encoder: {MODEL_HELP}")
    parser.add_argument("--lang", required=True, metavar="L", help="the new language, ISO 639-3, as in swh")
    parser.add_argument(
        "--data", required=True,
        help="a table (TSV, columns path and text); a folder with one, or with a .txt beside each recording; or a prepared "
        "corpus, such as audio_folder/mine",
    )  # fmt: skip
    parser.add_argument("--out", required=True, metavar="DIR", help="a new folder; the same command continues in it")
    parser.add_argument("--data-dir", default=_DEFAULTS.data_dir, help="of prepared corpora (default: data)")
    parser.add_argument(
        "--start", default=AUTO,
        help=f"language of the model to start from; {AUTO}: of up to twelve, the one that reads the new one best; {FRESH} "
        f"(default: {AUTO})",
    )  # fmt: skip
    parser.add_argument(
        "--train", choices=(ADAPTER, ALL), default="",
        help=f"what learns (default: {ADAPTER} of a recognizer, {ALL} of an encoder)",
    )  # fmt: skip
    parser.add_argument("--keep", metavar="L1,L2", help="languages of the model that the result keeps (default: all; "
                        "of a repository, English and those with the new one's code)")  # fmt: skip
    parser.add_argument("--replace", action="store_true", help="trains a language anew that the model has")
    parser.add_argument("--width", type=int, default=_DEFAULTS.width, help="of new adapters (default: 16, as in MMS)")
    parser.add_argument("--updates", type=int, default=_DEFAULTS.updates, help="default: 2000, as in MMS")
    parser.add_argument(
        "--learning-rate",
        type=float,
        default=_DEFAULTS.learning_rate,
        help="default: 0.001; 0.01 for an adapter of a small model",
    )
    parser.add_argument("--batch-seconds", type=float, default=_DEFAULTS.batch_seconds, help="of audio (default: 48)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default=_DEFAULTS.dtype,
                        help="of computation and of the weights that stand still (default: float32)")  # fmt: skip
    parser.add_argument("--seed", type=int, default=_DEFAULTS.seed, help="default: 0")


def run(arguments: argparse.Namespace) -> int:
    """Adapts; returns the exit status."""
    given: dict[str, Any] = {field.name: getattr(arguments, field.name, None) for field in dataclasses.fields(Settings)}
    keep = split_languages(arguments.keep)
    given |= {"language": arguments.lang, "keep": None if keep is None else tuple(keep)}
    adapt(Settings(**given), pathlib.Path(arguments.out).expanduser())
    return 0
