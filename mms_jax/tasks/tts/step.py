"""VITS as a task: a voice is trained against discriminators, each with its own optimizer, in one step."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from ml_collections import ConfigDict

from mms_jax.audio.spectrogram import log_mel, magnitudes
from mms_jax.audio.waveform import SAMPLE_RATE
from mms_jax.models.functional import FunctionalModel, Params
from mms_jax.models.layers import length_mask
from mms_jax.models.vits.config import VitsConfig
from mms_jax.models.vits.durations import StochasticDurationPredictor
from mms_jax.models.vits.model import AdversarialVits, Vits, log_densities, spread_over_frames
from mms_jax.models.vits.monotonic import monotonic_alignment, off_diagonal
from mms_jax.models.vits.text_encoder import TextEncoding
from mms_jax.tasks.descent import Updated
from mms_jax.tasks.sums import Weighted
from mms_jax.tasks.tts import loss as losses
from mms_jax.text.voice_text import VoiceText

Array = jax.Array

VOICE, DISCRIMINATORS = "voice", "discriminators"
FLAT_START = 3.0  # nats that a frame loses for each squared symbol off an even pace, in the first update


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Randomness:
    """What a training pass draws; zeros and fixed starts make it a function.

    Attributes:
      posterior: float32 (batch, frames, latent), standard normal.
      durations: float32 (batch, symbols, 2), standard normal.
      segment: float32 (batch,), in [0, 1): where the segment lies within what is possible.
      dropout: a key, or None for none.
    """

    posterior: Array
    durations: Array
    segment: Array
    dropout: Array | None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Generated:
    """What a voice makes of a batch of recordings and texts.

    Attributes:
      segments, real: float32 (batch, segment samples): a piece of each recording, generated from its latents, and as it is.
      counted: bool (batch,), rows that losses see: real ones, long enough for the segment and for their text.
      symbol: int (batch, frames), which symbol each frame says, by monotonic alignment; -1 for none.
      losses: "mel", "kl" and "duration".
    """

    segments: Array
    real: Array
    counted: Array
    symbol: Array
    losses: dict[str, Weighted]


class TtsTask:
    """One voice, from recordings and transcripts."""

    name = "tts"
    parts = (VOICE, DISCRIMINATORS)
    waveform_epsilon = None  # the voice is to be as loud as its recordings

    def __init__(self, model: VitsConfig, config: ConfigDict, dtype: jnp.dtype, text: VoiceText):
        """Keeps what the losses need.

        Args:
          model: the geometry.
          config: the experiment.
          dtype: in which convolutions and matrix products compute; see Vits for what stays float32.
          text: symbols of the voice.

        Raises:
          ValueError: recordings would be too short for a segment, or of another rate than the voice.
        """
        settings = config.tts
        if config.input.min_seconds * SAMPLE_RATE < settings.segment + model.hop:
            raise ValueError(
                f"config.input.min_seconds={config.input.min_seconds} admits recordings shorter than the segments of "
                f"config.tts.segment={settings.segment} samples; raise it to {settings.segment / SAMPLE_RATE + 0.02:.2f}"
            )
        if settings.segment % model.hop or settings.segment <= model.fft // 2:
            raise ValueError(
                f"config.tts.segment={settings.segment} must be a multiple of {model.hop} samples, and more than "
                f"{model.fft // 2}"
            )
        if model.rate != SAMPLE_RATE:
            raise ValueError(f"this voice speaks at {model.rate} Hz, and corpora are kept at {SAMPLE_RATE}")
        self.model, self.vocabulary, self.dtype = model, text, dtype
        self.segment, self.mel_weight, self.kl_weight = settings.segment, settings.mel_weight, settings.kl_weight
        self.flat_start, self.adversarial_from = settings.flat_start, settings.adversarial_from

    def build(self, key: Array) -> AdversarialVits:
        """A fresh module."""
        return AdversarialVits(self.model, dtype=self.dtype, rngs=nnx.Rngs(params=key))

    def describe(self) -> dict[str, Any]:
        """What a checkpoint says of its model."""
        return {"task": self.name, "model": self.model.to_json(), "text": self.vocabulary.to_json()}

    def draw(self, batch: dict[str, Array], key: Array, *, train: bool = True) -> Randomness:
        """The randomness of a pass."""
        posterior, durations, segment, dropout = jax.random.split(key, 4)
        rows, symbols = batch["labels"].shape
        frames = -(-batch["waveforms"].shape[1] // self.model.hop)
        return Randomness(
            jax.random.normal(posterior, (rows, frames, self.model.latent)),
            jax.random.normal(durations, (rows, symbols, 2)),
            jax.random.uniform(segment, (rows,)),
            dropout if train else None,
        )

    def generate(
        self, voice: Vits, batch: dict[str, Array], random: Randomness, evenness: Array | None = None
    ) -> Generated:
        """Encodes recordings, aligns them with their texts, and generates a segment of each.

        Args:
          voice: the module.
          batch: waveforms, lengths, labels (symbols with the blanks between), label_lengths, counted.
          random: from `draw`.
          evenness: nats that the alignment loses for each frame and squared symbol off an even pace; None for nothing.
        """
        hop, config = self.model.hop, self.model
        text_key, duration_key = (None, None) if random.dropout is None else jax.random.split(random.dropout)
        waveforms = jnp.pad(batch["waveforms"], ((0, 0), (0, -batch["waveforms"].shape[1] % hop)))
        frames, symbols = batch["lengths"] // hop, batch["label_lengths"]
        counted = batch["counted"] & (batch["lengths"] >= self.segment) & (symbols > 0) & (symbols <= frames)
        frames = jnp.where(counted, frames, 0)
        frame_mask = length_mask(frames, waveforms.shape[1] // hop)

        text = voice.text_encoder(batch["labels"], jnp.where(counted, symbols, 0), text_key)
        spectrogram = magnitudes(waveforms, jnp.maximum(batch["lengths"], config.fft), config.fft, hop)
        spectrogram = jnp.where(frame_mask[:, :, None], spectrogram, 0.0)
        mean, log_std = voice.posterior(spectrogram, frame_mask, None)
        latents = jnp.where(frame_mask[:, :, None], mean + random.posterior * jnp.exp(log_std), 0.0)
        prior_latents = voice.flow(latents, frame_mask, None)
        scores = log_densities(prior_latents, text)
        if evenness is not None:
            scores -= evenness * off_diagonal(frames, symbols, *scores.shape[1:]) ** 2
        symbol = monotonic_alignment(scores, frames, symbols)

        start = jnp.floor(random.segment * (frames - self.segment // hop + 1)).astype(jnp.int32)
        start = jnp.maximum(start, 0)
        segments = voice.generator(_slices(latents, start, self.segment // hop))
        real = _slices(waveforms, start * hop, self.segment)
        # The spectrogram of the whole recording, so that the edges of the segment hear what lies beyond.
        mel_real = log_mel(_slices(spectrogram, start, self.segment // hop), config.rate)
        mel = log_mel(magnitudes(segments, None, config.fft, hop), config.rate)

        prior = (spread_over_frames(text.mean, symbol), spread_over_frames(text.log_std, symbol))
        found = {
            "mel": losses.mean_absolute(mel_real, mel, counted),
            "kl": losses.kl_loss(prior_latents, log_std, *prior, frame_mask),
            "duration": self._duration_loss(voice, text, symbol, random.durations, duration_key),
        }
        return Generated(segments, real, counted, symbol, found)

    def _duration_loss(
        self, voice: Vits, text: TextEncoding, symbol: Array, noise: Array, key: Array | None
    ) -> Weighted:
        durations = jnp.sum(jax.nn.one_hot(symbol, text.mask.shape[1]), axis=1)
        weight = jnp.sum(text.mask).astype(jnp.float32)
        if isinstance(voice.durations, StochasticDurationPredictor):
            rows = voice.durations.negative_log_likelihood(text.hidden, text.mask, None, durations, noise, key)
            return Weighted(jnp.sum(rows), weight)
        predicted = voice.durations(text.hidden, text.mask, None, key)
        wanted = jnp.where(text.mask, jnp.log(durations + 1e-6), 0.0)
        return Weighted(jnp.sum((predicted - wanted) ** 2), weight)

    def objective(self, found: dict[str, Weighted]) -> Array:
        """What the voice minimises besides the discriminators' verdict."""
        return self.mel_weight * found["mel"].mean() + self.kl_weight * found["kl"].mean() + found["duration"].mean()

    def update(
        self,
        model: FunctionalModel,
        optimizer: optax.GradientTransformation,
        params: Params,
        optimizer_state: optax.OptState,
        batch: dict[str, Array],
        key: Array,
        step: Array,
    ) -> Updated:
        """First the discriminators, then the voice against the new discriminators; see `descend` for the arguments.

        The voice runs forward once: its backward pass waits until the discriminators have moved. For the first
        `config.tts.adversarial_from` batches there are no discriminators, and for the first `config.tts.flat_start` the
        alignment is drawn to an even pace, less and less: as Gaussian mixtures are started flat in recognition.
        """
        random = self.draw(batch, key)
        evenness = FLAT_START * jnp.maximum(0.0, 1.0 - step / self.flat_start) if self.flat_start else None

        def generate(voice: Params):
            generated = self.generate(model.bind(params | {VOICE: voice}).voice, batch, random, evenness)
            return (generated.segments, self.objective(generated.losses)), generated

        (_, objective), pull_back, generated = jax.vjp(generate, params[VOICE], has_aux=True)

        def contest(params: Params, optimizer_state: optax.OptState):
            return _contest(model, optimizer, params, optimizer_state, generated)

        def rest(params: Params, optimizer_state: optax.OptState):
            _, _, towards, found = jax.eval_shape(contest, params, optimizer_state)
            nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), (towards, found))
            # Their optimizer counts on, so that they join in at the learning rate that the voice has by then.
            still = jax.tree.map(jnp.zeros_like, {DISCRIMINATORS: params[DISCRIMINATORS]})
            _, optimizer_state = optimizer.update(still, optimizer_state, params)
            return params, optimizer_state, *nothing

        if self.adversarial_from:
            contested = jax.lax.cond(step >= self.adversarial_from, contest, rest, params, optimizer_state)
        else:
            contested = contest(params, optimizer_state)
        params, optimizer_state, towards, found = contested
        [gradients] = pull_back((towards, jnp.ones(())))
        params, optimizer_state = _apply(optimizer, VOICE, gradients, optimizer_state, params)
        one, present = jnp.ones(()), jnp.sum(batch["counted"]).astype(jnp.float32)
        return (
            params,
            optimizer_state,
            generated.losses
            | found
            | {
                "loss": Weighted(objective + found["adversarial"].mean() + found["feature"].mean(), one),
                "gradient_norm": Weighted(optax.tree.norm(gradients), one),
                "infeasible": Weighted(present - jnp.sum(generated.counted), present),
            },
        )


def _contest(
    model: FunctionalModel,
    optimizer: optax.GradientTransformation,
    params: Params,
    optimizer_state: optax.OptState,
    generated: Generated,
) -> tuple[Params, optax.OptState, Array, dict[str, Weighted]]:
    """Moves the discriminators, then asks them which way the generated segments should go.

    Returns:
      Parameters and optimizer state after it; the gradient of the adversarial and the feature loss in the segments,
      float32 (batch, segment samples); and the figures "discriminator", "discriminator_gradient_norm", "adversarial" and
      "feature".
    """
    counted, rows = generated.counted, len(generated.segments)

    def look(discriminators: Params, waveforms: Array):
        return model.bind(params | {DISCRIMINATORS: discriminators}).discriminators(waveforms)

    def judge(discriminators: Params):
        seen = look(discriminators, jnp.concatenate([generated.real, generated.segments]))
        real, fake = ([[x[part] for x in one] for one in seen] for part in (slice(rows), slice(rows, None)))
        loss = losses.discriminator_loss(real, fake, counted)
        return loss.mean(), loss

    gradients, verdict = jax.grad(judge, has_aux=True)(params[DISCRIMINATORS])
    params, optimizer_state = _apply(optimizer, DISCRIMINATORS, gradients, optimizer_state, params)
    discriminators = params[DISCRIMINATORS]
    seen_real = jax.lax.stop_gradient(look(discriminators, generated.real))

    def convince(segments: Array):
        seen = look(discriminators, segments)
        found = {
            "adversarial": losses.adversarial_loss(seen, counted),
            "feature": losses.feature_loss(seen_real, seen, counted),
        }
        return found["adversarial"].mean() + found["feature"].mean(), found

    towards, found = jax.grad(convince, has_aux=True)(generated.segments)
    norm = Weighted(optax.tree.norm(gradients), jnp.ones(()))
    return params, optimizer_state, towards, found | {"discriminator": verdict, "discriminator_gradient_norm": norm}


def _apply(
    optimizer: optax.GradientTransformation, part: str, gradients: Params, state: Any, params: Params
) -> tuple[Params, Any]:
    """Moves one part of the parameters; `optimizer` is from `optimizers.one_for_each`."""
    updates, state = optimizer.update({part: gradients}, state, params)
    return params | {part: optax.apply_updates(params[part], updates[part])}, state


def _slices(x: Array, start: Array, size: int) -> Array:
    """(batch, time, ...) -> (batch, size, ...), each row from its own start."""
    return jax.vmap(lambda row, begin: jax.lax.dynamic_slice_in_dim(row, begin, size))(x, start)
