"""The losses of a voice on held-out speech, and examples of its synthesis."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from input_pipeline.decode import Batch
from mms_jax.audio.spectrogram import log_mel, magnitudes
from mms_jax.models.functional import FunctionalModel, Params
from mms_jax.models.vits.config import VitsConfig
from mms_jax.models.vits.model import symbol_of_frame
from mms_jax.tasks.base import Evaluation, EvaluationData, Examples, Metrics, Result
from mms_jax.tasks.tts import scoring
from mms_jax.tasks.tts.forward import draw, generate
from mms_jax.tasks.weighted import pooled_means

SHOWN = 2  # texts whose audio and pictures are kept


def make_evaluation(
    config: VitsConfig, segment: int, model: FunctionalModel, gathered: jax.sharding.Sharding
) -> Evaluation:
    """A function that measures the losses of a voice on corpora.

    Args:
      config: the geometry.
      segment: samples that are generated of each recording.
      model: an AdversarialVits.
      gathered: the sharding of the figures: every process sees them.

    Returns:
      (params, data) -> mel, the absolute difference of log mel energies between recordings and the segments generated
      from their latents; kl, nats a frame; duration, nats a symbol.
    """

    def predict(params: Params, batch: Batch) -> Metrics:
        # Draws are a function of the batch, so that two evaluations of one checkpoint agree.
        key = jax.random.fold_in(jax.random.key(0), jnp.maximum(batch["item"][0], 0))
        random = draw(config, batch, key, train=False)
        return generate(model.bind(params).voice, batch, random, segment=segment).losses

    jitted = jax.jit(predict, out_shardings=gathered)

    def evaluate(params: Params, data: EvaluationData) -> Result:
        return dict(pooled_means(jitted, params, data.batches()))

    return evaluate


def make_examples(
    config: VitsConfig, segment: int, model: FunctionalModel, gathered: jax.sharding.Sharding
) -> Callable[[Params, Batch], Examples]:
    """A function that synthesizes the first texts of a batch; arguments as for `make_evaluation`.

    Returns:
      (params, batch) -> for each text N, the sounds "synthesized/N", cut at the batch's length, and "recorded/N"; the
      pictures "mel_synthesized/N" and "mel_recorded/N", (80, frames), and "attention/N", (symbols, frames), the
      monotonic alignment of the recording.
    """

    def synthesize(params: Params, batch: Batch) -> dict[str, jax.Array]:
        voice = model.bind(params).voice
        random = draw(config, batch, jax.random.key(0), train=False)
        frames = random.posterior.shape[1]
        text = voice.text_encoder(batch["labels"], batch["label_lengths"])
        speaker = voice.speaker(batch.get("speaker"))
        durations = voice.draw_durations(text, speaker, config.noise_scale_duration * random.durations, 1.0)
        symbol = symbol_of_frame(durations, frames)
        latents = voice.latents(text.mean, text.log_std, symbol, speaker, config.noise_scale * random.posterior)
        end = jnp.sum(symbol >= 0, axis=1)
        synthesized = voice.generator(latents, speaker, begin=jnp.zeros_like(end), end=end)
        recorded = jnp.pad(batch["waveforms"], ((0, 0), (0, frames * config.hop - batch["waveforms"].shape[1])))
        aligned = generate(voice, batch, random, segment=segment).symbol
        return {
            "synthesized": synthesized,
            "recorded": recorded,
            "mel_synthesized": log_mel(magnitudes(synthesized, None, config.fft, config.hop), config.rate),
            "mel_recorded": log_mel(magnitudes(recorded, None, config.fft, config.hop), config.rate),
            "attention": jnp.moveaxis(jax.nn.one_hot(aligned, batch["labels"].shape[1]), 1, 2),
        }

    jitted = jax.jit(synthesize, out_shardings=gathered)

    def examples(params: Params, batch: Batch) -> Examples:
        arrays = jax.device_get(jitted(params, batch))
        rows = range(min(SHOWN, len(arrays["synthesized"])))
        sounds = {f"{name}/{row}": arrays[name][row] for row in rows for name in ("synthesized", "recorded")}
        pictures = {
            f"{name}/{row}": arrays[name][row].T for row in rows for name in ("mel_synthesized", "mel_recorded")
        }
        pictures |= {f"attention/{row}": arrays["attention"][row] for row in rows}
        return Examples(sounds, config.rate, pictures)

    return examples


def format_table(result: Result) -> str:
    """The figures as a table for people."""
    lines = [
        f"mel difference   {result['mel']:8.3f}   (log energies, recordings against their reconstructions)",
        f"prior            {result['kl']:8.3f} nats a frame",
        f"durations        {result['duration']:8.3f} nats a symbol",
    ]
    if "mcd" in result:
        lines.append(scoring.format_table(result))
    return "\n".join(lines)
