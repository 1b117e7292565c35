"""Character error rates of aligned verses: a recognizer transcribes each verse, and the transcript is compared."""

from typing import Any

import jiwer

from mms_jax.audio.clips import Cut, cut_recording
from mms_jax.audio.waveform import SHORTEST_SAMPLES
from mms_jax.inference.recognizer import Recognizer
from mms_jax.text.normalize import normalize


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
        verse["cer"] = round(float(jiwer.cer(normalize(verse["normalized"]), text)), 4)
