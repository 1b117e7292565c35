"""`mms-jax rerank`: tunes the choice of a language by identifier and recognizer together, and measures it."""

import argparse
import pathlib
import sys
from collections.abc import Sequence

import jiwer
from tqdm import tqdm

from input_pipeline.corpora.audio_folder import Row, read_table
from mms_jax.cli.common import MODEL_HELP, audio_progress, load_identifier, load_recognizer, split_languages
from mms_jax.errors import AudioError, InputError
from mms_jax.inference.load import load_recognizer as load_aligner
from mms_jax.reranking.candidates import Candidate, find_candidates, shortlist
from mms_jax.reranking.scores import accuracy, character_errors, choices
from mms_jax.reranking.weights import Weights, tune_weights
from mms_jax.text.normalize import normalize

_TABLE = "TSV with columns path, language, and text"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds its arguments."""
    parser.add_argument("--lid", required=True, metavar="MODEL", help=f"language identifier: {MODEL_HELP}")
    parser.add_argument("--model", required=True, help="recognizer of the languages")
    parser.add_argument("--aligner", metavar="MODEL", help="recognizer of romanized text, for the feature alignment")
    parser.add_argument("--table", required=True, type=pathlib.Path, help=f"recordings to tune on: {_TABLE}")
    parser.add_argument("--test", type=pathlib.Path, help=f"other recordings, to measure the weights on: {_TABLE}")
    parser.add_argument("--candidates", metavar="L1,L2", help="the only languages in question (default: all of both)")
    parser.add_argument("--top", type=int, default=10, help="candidates of a recording (default: 10, as in MMS)")
    parser.add_argument("--out", required=True, type=pathlib.Path, help="the weights, a JSON file")


def run(arguments: argparse.Namespace) -> int:
    """Tunes; returns the exit status."""
    if arguments.top < 2:
        raise InputError(f"--top {arguments.top}: ranking needs two candidates or more")
    tables = [read_table(path, None) for path in (arguments.table, arguments.test) if path]
    identifier = load_identifier(arguments.lid)
    wanted = split_languages(arguments.candidates)
    recognizer = load_recognizer(arguments.model, wanted)
    choice = shortlist(identifier, recognizer.languages, wanted, arguments.top)
    aligner = load_aligner(arguments.aligner) if arguments.aligner else None
    weights, failed = Weights(), False
    for number, (rows, name) in enumerate(zip(tables, ("tuned on", "test"))):
        paths = [str(row.path) for row in rows]
        with audio_progress(name, paths) as progress:
            found = list(find_candidates(paths, choice, recognizer, aligner, progress))
        failed = _report_bad(found) or failed
        kept = [(row, own) for row, own in zip(rows, found) if not isinstance(own, AudioError)]
        if not kept:
            raise InputError(
                f"{arguments.table if number == 0 else arguments.test}: none of its recordings can be used"
            )
        spoken, candidates = [row.language for row, _ in kept], [own for _, own in kept]
        texts = [normalize(row.text, row.language) for row, _ in kept]
        errors = [[character_errors(text, one) for one in own] for text, own in zip(texts, candidates)]
        if number == 0:
            weights = tune_weights(candidates, spoken, errors)
            weights.save(arguments.out)
            print("weights: " + ", ".join(f"{name} {value:.3g}" for name, value in vars(weights).items()))
        print(_table(name, kept, weights))
    return int(failed)


def _report_bad(found: Sequence[list[Candidate] | AudioError]) -> bool:
    bad = [each for each in found if isinstance(each, AudioError)]
    for each in bad:
        tqdm.write(f"error: {each}", file=sys.stderr)
    return bool(bad)


def _table(name: str, kept: Sequence[tuple[Row, list[Candidate]]], weights: Weights) -> str:
    """Language accuracy and CER, by the identifier alone, re-ranked, and with the right language where it is a candidate."""
    lines = [f"{name:<28}{'language %':>12}{'CER %':>9}{'recordings':>12}"]
    texts = [normalize(row.text, row.language) for row, _ in kept]
    spoken = [row.language for row, _ in kept]
    for way, chosen in choices([own for _, own in kept], spoken, weights).items():
        right = accuracy(chosen, spoken)
        pairs = [(text, one.text) for text, one in zip(texts, chosen) if text]
        cer = f"{100 * jiwer.cer([a for a, _ in pairs], [b for _, b in pairs]):.2f}" if pairs else "-"
        lines.append(f"{way:<28}{100 * right:>12.1f}{cer:>9}{len(kept):>12}")
    return "\n".join(lines)
