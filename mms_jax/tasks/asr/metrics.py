"""Transcribes corpora and scores the transcripts."""

import pathlib
from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import numpy as np

from input_pipeline.decode import Batch
from mms_jax.decoding.greedy import collapse
from mms_jax.files import write_text
from mms_jax.models.functional import FunctionalModel, Params
from mms_jax.models.wav2vec2.banks import for_rows
from mms_jax.models.wav2vec2.heads import restrict_to_language
from mms_jax.tasks.asr.scores import error_rates, normalized, to_markdown, to_tsv
from mms_jax.tasks.base import Evaluation, EvaluationData, Result
from mms_jax.text.vocabulary import AnyVocabulary, spell


def make_evaluation(
    model: FunctionalModel,
    vocabulary: AnyVocabulary,
    gathered: jax.sharding.Sharding,
    normalization: str,
    spelling: Callable[[str, str], str] | None = None,
) -> Evaluation:
    """A function that transcribes corpora greedily and compares the output with their transcripts.

    Args:
      model: a Wav2Vec2ForCTC.
      vocabulary: its symbols and languages.
      gathered: the sharding of results that are fetched: every process sees all rows.
      normalization: see `scores.normalized`.
      spelling: (text, language) -> the text in the model's letters; None where transcripts are in them.

    Returns:
      (params, data) -> the result of `error_rates`, and "undecodable", the number of utterances whose recording cannot
      be decoded.
    """
    predict = _make_predict(model, vocabulary, gathered)

    def evaluate(params: Params, data: EvaluationData) -> Result:
        transcripts = transcribe_batches(vocabulary, predict, params, data.batches())
        items = sorted(transcripts)
        texts, languages = data.references(items)
        if spelling is not None:
            texts = [spelling(text, language) for text, language in zip(texts, languages)]
        heard = [transcripts[item] for item in items]
        texts, heard = (normalized(each, languages, normalization) for each in (texts, heard))
        result = error_rates(texts, heard, languages)
        return result | {"undecodable": data.utterances - len(items)}

    return evaluate


def _make_predict(model: FunctionalModel, vocabulary: AnyVocabulary, gathered: jax.sharding.Sharding) -> Callable:
    """(params, batch) -> dict of symbols int (rows, frames); frames, item, language and counted (rows,)."""

    def predict(params: Params, batch: Batch) -> dict[str, jax.Array]:
        needed, rows = for_rows(params, batch["language"])
        logits, frames = model.bind(needed)(batch["waveforms"], batch["lengths"], language=rows)
        logits = restrict_to_language(logits, batch["language"], vocabulary.allowed)
        symbols = jnp.argmax(logits, axis=-1).astype(jnp.int32)
        return {
            "symbols": symbols,
            "frames": frames,
            "item": batch["item"],
            "language": batch["language"],
            "counted": batch["counted"],
        }

    return jax.jit(predict, out_shardings=gathered)


def transcribe_batches(
    vocabulary: AnyVocabulary, predict: Callable, params: Params, batches: Iterable[Batch]
) -> dict[int, str]:
    """Greedy transcripts of all utterances that could be decoded, by their position in the plan's table."""
    transcripts: dict[int, str] = {}
    for batch in batches:
        out = jax.device_get(predict(params, batch))
        for row in np.flatnonzero(out["counted"]):
            symbols = collapse(out["symbols"][row, : out["frames"][row]])
            tokens = vocabulary.tokens_of(vocabulary.languages[out["language"][row]])
            transcripts[int(out["item"][row])] = spell(symbols.tolist(), tokens)
    return transcripts


def write_result(result: Result, folder: pathlib.Path) -> None:
    """Writes evaluation.tsv and evaluation.md beside the JSON file."""
    write_text(folder / "evaluation.tsv", to_tsv(result))
    write_text(folder / "evaluation.md", to_markdown(result))
