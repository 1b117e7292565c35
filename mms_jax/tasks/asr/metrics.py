"""Character and word error rates, per language and over all."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import jiwer
import numpy as np

from mms_jax.decoding.greedy import collapse
from mms_jax.models.functional import FunctionalModel, Params
from mms_jax.tasks.asr.step import AsrTask, restrict_to_language
from mms_jax.text.vocabulary import spell


def make_predict(task: AsrTask, model: FunctionalModel, gathered: jax.sharding.Sharding) -> Callable:
    """A jitted function from parameters and a batch to what scoring needs of it, on every process.

    Returns:
      (params, batch) -> dict of symbols int (rows, frames), frames, item, language, and counted (rows,).
    """

    def predict(params: Params, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
        logits, frames = model.bind(params)(batch["waveforms"], batch["lengths"], language=batch["language"])
        logits = restrict_to_language(logits, batch["language"], task.vocabulary)
        symbols = jnp.argmax(logits, axis=-1).astype(jnp.int32)
        return {"symbols": symbols, "frames": frames} | {name: batch[name] for name in ("item", "language", "counted")}

    return jax.jit(predict, out_shardings=gathered)


def transcribe_batches(
    task: AsrTask, predict: Callable, params: Params, batches: Iterable[dict[str, jax.Array]]
) -> dict[int, str]:
    """Greedy transcripts of every utterance, by its position in the plan's table."""
    transcripts: dict[int, str] = {}
    for batch in batches:
        out = jax.device_get(predict(params, batch))
        for row in np.flatnonzero(out["counted"]):
            symbols = collapse(out["symbols"][row, : out["frames"][row]])
            tokens = task.vocabulary.tokens_of(task.vocabulary.languages[out["language"][row]])
            transcripts[int(out["item"][row])] = spell(symbols.tolist(), tokens)
    return transcripts


def error_rates(references: list[str], hypotheses: list[str], languages: list[str]) -> dict[str, Any]:
    """Edit distance over reference length, characters and words, pooled over utterances.

    Args:
      references: normalised transcripts, none empty.
      hypotheses: in the same order.
      languages: ISO 639-3, in the same order.

    Returns:
      {"cer", "wer", "utterances", "by_language": {language: {"cer", "wer", "utterances"}}}; rates are shares, and can
      exceed 1.
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
    """The error rates as a table for people, in per cent."""
    lines = [f"{'language':<10}{'CER %':>8}{'WER %':>8}{'utterances':>12}"]
    for language, row in [*result["by_language"].items(), ("all", result)]:
        lines.append(f"{language:<10}{100 * row['cer']:>8.2f}{100 * row['wer']:>8.2f}{row['utterances']:>12}")
    return "\n".join(lines)
