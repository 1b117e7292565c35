"""`mms-jax verify`: a recogniser writes down every aligned verse, and is compared with the text."""

import argparse
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jiwer
from tqdm import tqdm

from mms_jax.alignment.clips import Cut, cut_recording
from mms_jax.alignment.records import read_records, write_record
from mms_jax.audio.errors import AudioError
from mms_jax.audio.read import SHORTEST_SAMPLES
from mms_jax.decoding.greedy import collapse
from mms_jax.recognizer import Recognizer
from mms_jax.text.normalize import normalize
from mms_jax.text.vocabulary import spell


def run(arguments: argparse.Namespace, load: Callable[[str, Sequence[str]], Recognizer]) -> int:
    """Adds "heard" and "cer" to the verses of a folder; returns the exit status. Chapters that have them are left alone.

    Args:
      arguments: of the command line.
      load: gives the recogniser of a --model for some languages.
    """
    folder = pathlib.Path(arguments.folder)
    records = read_records(folder)
    model = load(arguments.model, sorted({record["language"] for record in records.values()}))
    failed = False
    for name, record in tqdm(records.items(), desc="verify", unit="file", disable=None):
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
    return 1 if failed else 0


def add_error_rates(record: dict[str, Any], model: Recognizer) -> None:
    """Transcribes the verses of one chapter, and stores in each what was heard and its character error rate."""
    verses = [verse for verse in record["verses"] if verse["normalized"]]
    clips = list(cut_recording(record["file"], [Cut(verse["cut_start"], verse["cut_end"]) for verse in verses]))
    long_enough = [(verse, clip) for verse, clip in zip(verses, clips) if len(clip) >= SHORTEST_SAMPLES]
    language = model.own_name(record["language"])
    tokens = model.vocabulary.tokens_of(language)
    logits = model.logits([clip for _, clip in long_enough], language=language)
    for (verse, _), scores in zip(long_enough, logits):
        verse["heard"] = spell(collapse(scores.argmax(axis=-1)).tolist(), tokens)
        verse["cer"] = round(float(jiwer.cer(normalize(verse["normalized"]), verse["heard"])), 4)
