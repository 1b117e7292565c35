"""Character error rates of aligned verses: a recognizer transcribes each verse, and the transcript is compared."""

from collections.abc import Mapping
from typing import Any

import jiwer
import numpy as np

from mms_jax.audio.clips import Cut, cut_recording
from mms_jax.audio.waveform import SHORTEST_SAMPLES
from mms_jax.inference.recognizer import Recognizer
from mms_jax.text.normalize import normalize

MOST_ERRORS = 0.1  # the error rate above which MMS drops a verse (Pratap et al. 2023, section 3.1.5)


def add_error_rates(record: dict[str, Any], model: Recognizer) -> None:
    """Transcribes the verses of one chapter, and stores in each its transcript ("heard") and error rate ("cer").

    Args:
      record: an aligned chapter as JSON; verses without text and clips shorter than a frame are left as they are.
      model: a recognizer of its language.

    Raises:
      AudioError: the recording cannot be used.
    """
    verses = [verse for verse in record["verses"] if verse["normalized"]]
    clips = list(cut_recording(record["file"], [Cut(verse["cut_start"], verse["cut_end"]) for verse in verses]))
    usable = [(verse, clip) for verse, clip in zip(verses, clips) if len(clip) >= SHORTEST_SAMPLES]
    texts = model.transcribe_waveforms([clip for _, clip in usable], language=record["language"])
    for (verse, _), text in zip(usable, texts):
        verse["heard"] = text
        verse["cer"] = round(float(jiwer.cer(normalize(verse["normalized"], record["language"]), text)), 4)


def format_error_rates(records: Mapping[str, Mapping[str, Any]]) -> str:
    """A table of chapters: verses, those that were transcribed, their CER, and those above 10 %, which MMS drops."""
    width = max(len("chapter"), *(len(name) for name in records))
    lines = [f"{'chapter':<{width}}{'verses':>8}{'heard':>8}{'CER %':>8}{'> 10 %':>8}"]
    total = np.zeros(5)
    for name, record in [*records.items(), ("all", None)]:
        if record is not None:
            rated = [
                (verse["cer"], len(verse["normalized"])) for verse in record["verses"] if verse.get("cer") is not None
            ]
            errors, letters = sum(rate * length for rate, length in rated), sum(length for _, length in rated)
            above = sum(rate > MOST_ERRORS for rate, _ in rated)
            row = np.asarray([len(record["verses"]), len(rated), errors, letters, above], float)
            total += row
        else:
            row = total
        rate = f"{100 * row[2] / row[3]:.1f}" if row[3] else "-"
        lines.append(f"{name:<{width}}{row[0]:>8.0f}{row[1]:>8.0f}{rate:>8}{row[4]:>8.0f}")
    return "\n".join(lines)
