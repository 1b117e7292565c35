"""Character and word error rates, per language and over all."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import jiwer
import numpy as np

from input_pipeline.decode import Batch
from mms_jax.decoding.greedy import collapse
from mms_jax.models.functional import FunctionalModel, Params
from mms_jax.models.wav2vec2.banks import for_rows
from mms_jax.models.wav2vec2.heads import restrict_to_language
from mms_jax.tasks.base import Evaluation, EvaluationData, Result
from mms_jax.text.vocabulary import AnyVocabulary, spell


def make_evaluation(model: FunctionalModel, vocabulary: AnyVocabulary, gathered: jax.sharding.Sharding) -> Evaluation:
    """A function that transcribes corpora greedily and compares the output with their transcripts.

    Args:
      model: a Wav2Vec2ForCTC.
      vocabulary: its symbols and languages.
      gathered: the sharding of results that are fetched: every process sees all rows.

    Returns:
      (params, data) -> the result of `error_rates`, and "undecodable", the number of utterances whose recording cannot
      be decoded.
    """
    predict = _make_predict(model, vocabulary, gathered)

    def evaluate(params: Params, data: EvaluationData) -> Result:
        transcripts = transcribe_batches(vocabulary, predict, params, data.batches())
        items = sorted(transcripts)
        texts, languages = data.references(items)
        result = error_rates(texts, [transcripts[item] for item in items], languages)
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


def error_rates(references: list[str], hypotheses: list[str], languages: list[str]) -> dict[str, Any]:
    """Edit distance over reference length, characters and words, pooled over utterances.

    Args:
      references: normalized transcripts, none empty.
      hypotheses: in the same order.
      languages: ISO 639-3, in the same order.

    Returns:
      {"cer", "wer", "utterances", "by_language": {language: {"cer", "wer", "utterances"}}}; rates are fractions, and
      can exceed 1.
    """

    def rates(rows: list[int]) -> dict[str, float]:
        reference, hypothesis = [references[row] for row in rows], [hypotheses[row] for row in rows]
        return {
            "cer": float(jiwer.cer(reference, hypothesis)),
            "wer": float(jiwer.wer(reference, hypothesis)),
            "utterances": len(rows),
        }

    by_language = {
        language: rates([row for row, other in enumerate(languages) if other == language])
        for language in sorted(set(languages))
    }
    return {**rates(list(range(len(references)))), "by_language": by_language}


def format_table(result: dict[str, Any]) -> str:
    """The error rates as a table for people, in percent."""
    lines = [f"{'language':<10}{'CER %':>8}{'WER %':>8}{'utterances':>12}"]
    for language, row in [*result["by_language"].items(), ("all", result)]:
        lines.append(f"{language:<10}{100 * row['cer']:>8.2f}{100 * row['wer']:>8.2f}{row['utterances']:>12}")
    return "\n".join(lines)
