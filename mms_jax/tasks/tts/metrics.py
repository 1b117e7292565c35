"""How well a voice explains speech that it has not seen, and what it makes of its texts."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from mms_jax.audio.spectrogram import log_mel, magnitudes
from mms_jax.models.functional import FunctionalModel, Params
from mms_jax.models.vits.model import symbol_of_frame
from mms_jax.tasks.tts.step import TtsTask


def make_predict(task: TtsTask, model: FunctionalModel, gathered: jax.sharding.Sharding) -> Callable:
    """A jitted function from parameters and a batch to the sums and weights of its losses, on every process.

    Returns:
      (params, batch) -> mel, the absolute difference of log mel energies between recordings and what is generated from
      their latents; kl, nats of frames; duration, nats of symbols.
    """

    def predict(params: Params, batch: dict[str, jax.Array]):
        # What is drawn is a function of the batch, so that two evaluations of one checkpoint agree.
        key = jax.random.fold_in(jax.random.key(0), jnp.maximum(batch["item"][0], 0))
        return task.generate(model.bind(params).voice, batch, task.draw(batch, key, train=False)).losses

    return jax.jit(predict, out_shardings=gathered)


def make_examples(task: TtsTask, model: FunctionalModel, gathered: jax.sharding.Sharding) -> Callable:
    """A jitted function from parameters and a batch to what people look at and listen to.

    Returns:
      (params, batch) -> dict of said: float32 (rows, samples), each text as the voice says it, cut at the batch's length;
      read: the recordings; mel_said, mel_read: (rows, frames, 80); attention: (rows, symbols, frames), where monotonic
      alignment found each symbol in the recording.
    """

    def run(params: Params, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
        voice, config = model.bind(params).voice, task.model
        random = task.draw(batch, jax.random.key(0), train=False)
        frames = random.posterior.shape[1]
        text = voice.text_encoder(batch["labels"], batch["label_lengths"])
        durations = voice.draw_durations(text, None, config.noise_scale_duration * random.durations, 1.0)
        symbol = symbol_of_frame(durations, frames)
        latents = voice.latents(text.mean, text.log_std, symbol, None, config.noise_scale * random.posterior)
        end = jnp.sum(symbol >= 0, axis=1)
        said = voice.generator(latents, None, begin=jnp.zeros_like(end), end=end)
        read = jnp.pad(batch["waveforms"], ((0, 0), (0, frames * config.hop - batch["waveforms"].shape[1])))
        aligned = task.generate(voice, batch, random).symbol
        return {
            "said": said,
            "read": read,
            "mel_said": log_mel(magnitudes(said, None, config.fft, config.hop), config.rate),
            "mel_read": log_mel(magnitudes(read, None, config.fft, config.hop), config.rate),
            "attention": jnp.moveaxis(jax.nn.one_hot(aligned, batch["labels"].shape[1]), 1, 2),
        }

    return jax.jit(run, out_shardings=gathered)


def format_table(result: dict[str, Any]) -> str:
    """The figures as a table for people."""
    return "\n".join(
        [
            f"mel difference   {result['mel']:8.3f}   (log energies, recordings against what their latents give)",
            f"prior            {result['kl']:8.3f} nats a frame",
            f"durations        {result['duration']:8.3f} nats a symbol",
        ]
    )
