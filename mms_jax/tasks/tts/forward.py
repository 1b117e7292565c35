"""The forward pass of VITS in training: recordings and texts in, generated segments and losses out."""

import dataclasses

import jax
import jax.numpy as jnp

from input_pipeline.decode import Batch
from mms_jax.audio.spectrogram import log_mel, magnitudes
from mms_jax.models.layers import length_mask
from mms_jax.models.vits.config import VitsConfig
from mms_jax.models.vits.durations import StochasticDurationPredictor
from mms_jax.models.vits.model import Vits, log_densities, spread_over_frames
from mms_jax.models.vits.monotonic import monotonic_alignment, off_diagonal
from mms_jax.models.vits.text_encoder import TextEncoding
from mms_jax.tasks.base import Metrics
from mms_jax.tasks.tts import loss as losses
from mms_jax.tasks.weighted import Weighted

Array = jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Randomness:
    """The random numbers of one forward pass; with zeros and fixed starts the pass is deterministic.

    Attributes:
      posterior: float32 (batch, frames, latent), standard normal.
      durations: float32 (batch, symbols, 2), standard normal.
      segment: float32 (batch,), in [0, 1): start of the segment, relative to the range of possible starts.
      dropout: a key, or None for no dropout.
    """

    posterior: Array
    durations: Array
    segment: Array
    dropout: Array | None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Generated:
    """Outputs of a forward pass.

    Attributes:
      segments, real: float32 (batch, segment samples): a piece of each recording, generated from its latents, and the
        same piece of the recording itself.
      counted: bool (batch,), rows with a weight in the losses: real ones, long enough for the segment and their text.
      symbol: int (batch, frames), the symbol of each frame, by monotonic alignment; -1 for none.
      losses: "mel", "kl" and "duration".
    """

    segments: Array
    real: Array
    counted: Array
    symbol: Array
    losses: Metrics


def draw(config: VitsConfig, batch: Batch, key: Array, *, train: bool = True) -> Randomness:
    """Draws the randomness of a pass; without dropout where `train` is False."""
    posterior, durations, segment, dropout = jax.random.split(key, 4)
    rows, symbols = batch["labels"].shape
    frames = -(-batch["waveforms"].shape[1] // config.hop)
    return Randomness(
        jax.random.normal(posterior, (rows, frames, config.latent)),
        jax.random.normal(durations, (rows, symbols, 2)),
        jax.random.uniform(segment, (rows,)),
        dropout if train else None,
    )


def usable(batch: Batch, segment: int, hop: int) -> tuple[Array, Array, Array]:
    """The rows with a weight in the losses, and their lengths.

    Returns:
      counted, bool (batch,): real rows, long enough for the segment and their text; and their frames and symbols, int
      (batch,), 0 for the others.
    """
    frames, symbols = batch["lengths"] // hop, batch["label_lengths"]
    counted = batch["counted"] & (batch["lengths"] >= segment) & (symbols > 0) & (symbols <= frames)
    return counted, jnp.where(counted, frames, 0), jnp.where(counted, symbols, 0)


def loss_weights(batch: Batch, segment: int, hop: int) -> dict[str, Array]:
    """The weights of the losses of `generate`, by name, and "rows", that of the adversarial losses."""
    counted, frames, symbols = (jnp.sum(x).astype(jnp.float32) for x in usable(batch, segment, hop))
    return {"mel": counted, "kl": frames, "duration": symbols, "rows": counted}


def generate(
    voice: Vits, batch: Batch, random: Randomness, *, segment: int, diagonal_penalty: Array | None = None
) -> Generated:
    """Encodes recordings, aligns them with their texts, and generates a segment of each.

    Args:
      voice: the module.
      batch: with waveforms, lengths, labels (symbols with the blanks between), label_lengths, counted;
        and speaker, for a voice with several.
      random: from `draw`.
      segment: samples of a segment, a multiple of the hop.
      diagonal_penalty: nats by which the alignment score of a frame falls for each squared symbol off the diagonal; None
        for no penalty.
    """
    config = voice.config
    hop = config.hop
    speaker = voice.speaker(batch.get("speaker"))
    text_key, duration_key = (None, None) if random.dropout is None else jax.random.split(random.dropout)
    waveforms = jnp.pad(batch["waveforms"], ((0, 0), (0, -batch["waveforms"].shape[1] % hop)))
    counted, frames, symbols = usable(batch, segment, hop)
    frame_mask = length_mask(frames, waveforms.shape[1] // hop)

    text = voice.text_encoder(batch["labels"], symbols, text_key)
    spectrogram = magnitudes(waveforms, jnp.maximum(batch["lengths"], config.fft), config.fft, hop)
    spectrogram = jnp.where(frame_mask[:, :, None], spectrogram, 0.0)
    mean, log_std = voice.posterior(spectrogram, frame_mask, speaker)
    latents = jnp.where(frame_mask[:, :, None], mean + random.posterior * jnp.exp(log_std), 0.0)
    prior_latents = voice.flow(latents, frame_mask, speaker)
    scores = log_densities(prior_latents, text)
    if diagonal_penalty is not None:
        scores -= diagonal_penalty * off_diagonal(frames, symbols, *scores.shape[1:]) ** 2
    symbol = monotonic_alignment(scores, frames, symbols)

    start = jnp.floor(random.segment * (frames - segment // hop + 1)).astype(jnp.int32)
    start = jnp.maximum(start, 0)
    segments = voice.generator(_slices(latents, start, segment // hop), speaker)
    real = _slices(waveforms, start * hop, segment)
    # The spectrogram of the whole recording, so that the edges of the segment include their context.
    mel_real = log_mel(_slices(spectrogram, start, segment // hop), config.rate)
    mel = log_mel(magnitudes(segments, None, config.fft, hop), config.rate)

    prior = (spread_over_frames(text.mean, symbol), spread_over_frames(text.log_std, symbol))
    figures = {
        "mel": losses.mean_absolute(mel_real, mel, counted),
        "kl": losses.kl_loss(prior_latents, log_std, *prior, frame_mask),
        "duration": _duration_loss(voice, text, symbol, speaker, random.durations, duration_key),
    }
    return Generated(segments, real, counted, symbol, figures)


def _duration_loss(
    voice: Vits, text: TextEncoding, symbol: Array, speaker: Array | None, noise: Array, key: Array | None
) -> Weighted:
    durations = jnp.sum(jax.nn.one_hot(symbol, text.mask.shape[1]), axis=1)
    weight = jnp.sum(text.mask).astype(jnp.float32)
    if isinstance(voice.durations, StochasticDurationPredictor):
        rows = voice.durations.negative_log_likelihood(text.hidden, text.mask, speaker, durations, noise, key)
        return Weighted(jnp.sum(rows), weight)
    predicted = voice.durations(text.hidden, text.mask, speaker, key)
    wanted = jnp.where(text.mask, jnp.log(durations + 1e-6), 0.0)
    return Weighted(jnp.sum((predicted - wanted) ** 2), weight)


def _slices(x: Array, start: Array, size: int) -> Array:
    """(batch, time, ...) -> (batch, size, ...), each row from its own start."""
    return jax.vmap(lambda row, begin: jax.lax.dynamic_slice_in_dim(row, begin, size))(x, start)
