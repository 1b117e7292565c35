"""`mms-jax info`: prints what a model is and what it has learned from."""

import argparse
import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax

from mms_jax.cli.common import MODEL_HELP
from mms_jax.inference import export
from mms_jax.inference.find import find_model
from mms_jax.models.description import IDENTIFIER, RECOGNIZER, VOICE
from mms_jax.text.languages import ANY_LANGUAGE, titled
from mms_jax.text.vocabulary import vocabulary_from_json

_LISTED = 12  # languages that are printed without --languages


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds its arguments."""
    parser.add_argument("model", metavar="MODEL", help=f"{MODEL_HELP}, or an export")
    parser.add_argument("--languages", action="store_true", help="list every language with its name")
    parser.add_argument("--json", action="store_true", help="print the description as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Prints; returns the exit status."""
    path = pathlib.Path(arguments.model).expanduser()
    if export.is_folder(path):
        description: Mapping[str, Any] = {"kind": RECOGNIZER, **export.read_description(path)}
        size = None
    else:
        stored = find_model(arguments.model)
        description = stored.description
        size = sum(int(leaf.size) for leaf in jax.tree.leaves(stored.params))
    if arguments.json:
        print(json.dumps({**description, "parameters": size}, ensure_ascii=False, default=str))
    elif arguments.languages:
        print("\n".join(titled(language) for language in languages_of(description)))
    else:
        print("\n".join(_lines(arguments.model, description, size)))
    return 0


def languages_of(description: Mapping[str, Any]) -> list[str]:
    """The languages of a model, ISO 639-3; none where it does not distinguish them."""
    match description["kind"]:
        case kind if kind == RECOGNIZER:
            languages = vocabulary_from_json(description["vocabulary"]).languages
            return [language for language in languages if language != ANY_LANGUAGE]
        case kind if kind == IDENTIFIER:
            return list(description["languages"])
        case kind if kind == VOICE:
            return [language] if (language := description["text"].get("language")) else []
    return []


def _lines(name: str, description: Mapping[str, Any], size: int | None) -> Iterator[str]:
    parameters = "an export" if size is None else f"{size:,} parameters"
    yield f"{name}: {description['kind']}, {parameters}"
    languages = languages_of(description)
    shown = ", ".join(titled(language) for language in languages[:_LISTED])
    more = f", and {len(languages) - _LISTED} more (--languages lists them)" if len(languages) > _LISTED else ""
    yield f"languages   {shown or 'not distinguished'}{more}"
    history = description.get("history")
    if history is None:
        yield "trained on  not known: the model was not trained here, or by an older version"
    while history:
        speech = "synthetic speech only" if history["synthetic"] else "recordings"
        hours = sum(history["hours"].values())
        yield f"trained on  {', '.join(history['corpora'])}: {hours:.2f} hours, {speech}"
        for language, own in history["hours"].items():
            yield f"              {titled(language)} {own:.2f} h"
        if origin := history.get("init_from"):
            yield f"starting from {origin}"
        history = history.get("started_from")
    if chosen := description.get("chosen"):
        corpora = ", ".join(chosen["corpora"])
        yield f"chosen by   {chosen['by']} {chosen[chosen['by']]:.4g} on {corpora}, step {chosen['step']}"
    scores = description.get("evaluation")
    if not scores:
        yield "scores      none yet: python -m mms_jax.evaluate measures them"
        return
    figures = "  ".join(
        f"{key} {_figure(key, scores[key])}" for key in ("cer", "wer", "accuracy", "chance", "mcd") if key in scores
    )
    yield f"scores      {figures}, on {', '.join(scores['corpora'])}, step {scores['step']}"
    for name, shown in (("cer", "CER"), ("accuracy", "accuracy")):
        for language, rate in scores.get(f"{name}_by_language", {}).items():
            yield f"              {titled(language)} {shown} {_figure(name, rate)}"


def _figure(key: str, value: float) -> str:
    return f"{value:.2f} dB" if key == "mcd" else f"{100 * value:.1f} %"
