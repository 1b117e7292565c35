"""Error rates of a recognizer on a corpus, and the language of a model that reads a new one best."""

from collections.abc import Sequence
from typing import Any

from input_pipeline.corpora.storage import Corpus, as_text
from mms_jax.audio.flac import decode_flac
from mms_jax.inference.recognizer import Recognizer
from mms_jax.tasks.asr.scores import error_rates
from mms_jax.text.normalize import normalize


def score(recognizer: Recognizer, language: str, corpus: Corpus, most: int | None = None) -> dict[str, Any]:
    """Character and word error rates of greedy transcripts.

    Args:
      recognizer: the model.
      language: one of its languages, whichever the corpus is in.
      corpus: with transcripts.
      most: utterances that are read; None for all.
    """
    records = [corpus.source[number] for number in range(len(corpus.source))][:most]
    texts = [normalize(as_text(record["text"]), as_text(record["language"])) for record in records]
    usable = [number for number, text in enumerate(texts) if text]
    waveforms = [decode_flac(records[number]["audio"], as_text(records[number]["id"]))[0] for number in usable]
    heard = recognizer.transcribe_waveforms(waveforms, language=language)
    return error_rates([texts[number] for number in usable], heard, [language] * len(usable))


def read_best(recognizer: Recognizer, candidates: Sequence[str], corpus: Corpus, most: int) -> dict[str, float]:
    """The CER with which each of a model's languages reads a corpus, lowest first."""
    rates = {language: score(recognizer, language, corpus, most)["cer"] for language in candidates}
    return dict(sorted(rates.items(), key=lambda item: item[1]))
