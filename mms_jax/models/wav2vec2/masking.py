"""Span masking of frames and channels in the encoder's input (Baevski et al. 2020, section 3.1; SpecAugment)."""

import dataclasses
import math

import jax
import jax.numpy as jnp

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Masking:
    """The settings of span masking along time and along channels.

    Attributes:
      time_probability: expected share of frames at which a span starts, times the span's length; spans overlap, so the
        masked share is lower (0.65 with length 10 masks about half).
      time_length: frames per span.
      time_minimum: minimum number of spans in an utterance that is long enough.
      channel_probability, channel_length: the same for channels, drawn once per utterance.
    """

    time_probability: float = 0.65
    time_length: int = 10
    time_minimum: int = 2
    channel_probability: float = 0.0
    channel_length: int = 64

    def most_frames(self, frames: int) -> int:
        """An upper bound on the masked frames among `frames`: the static size of arrays over masked frames."""
        spans = max(self.time_minimum, int(self.time_probability * frames / self.time_length + 1.0))
        return min(frames, spans * self.time_length)


def draw_spans(key: Array, lengths: Array, size: int, *, probability: float, span: int, minimum: int) -> Array:
    """Draws masked spans, as fairseq's `compute_mask_indices` does (static length, overlap allowed).

    Row b gets max(minimum, floor(probability * length / span + U[0, 1))) spans, whose starts are drawn without
    replacement from [0, length - span). Unlike in fairseq, rows are not trimmed to the same count, since the losses are
    weighted here.

    Args:
      key: random key.
      lengths: int (batch,), real positions of each row.
      size: static size of the axis.
      probability, span, minimum: see Masking.

    Returns:
      bool (batch, size), True where masked; never beyond the lengths or in rows that are too short for a span.
    """
    count_key, start_key = jax.random.split(key)
    wanted = jnp.floor(probability * lengths / span + jax.random.uniform(count_key, lengths.shape))
    wanted = jnp.maximum(wanted.astype(jnp.int32), minimum)
    starts = jnp.arange(size) < (lengths - span)[:, None]
    scores = jnp.where(starts, jax.random.uniform(start_key, starts.shape), -1.0)
    # The starts with the highest scores are a uniform draw without replacement.
    most = min(size, max(minimum, math.floor(probability * size / span) + 1))
    best, positions = jax.lax.top_k(scores, most)
    chosen = (best >= 0.0) & (jnp.arange(most) < wanted[:, None])
    offsets = positions[:, :, None] + jnp.arange(span)
    rows = jnp.arange(lengths.shape[0])[:, None, None]
    return jnp.zeros(starts.shape, bool).at[rows, jnp.minimum(offsets, size - 1)].max(chosen[:, :, None])


def mask_frames(key: Array, lengths: Array, frames: int, masking: Masking) -> Array:
    """bool (batch, frames), True where a frame is masked."""
    return draw_spans(
        key,
        lengths,
        frames,
        probability=masking.time_probability,
        span=masking.time_length,
        minimum=masking.time_minimum,
    )


def mask_channels(key: Array, batch: int, channels: int, masking: Masking) -> Array:
    """bool (batch, channels), True where a channel is set to zero for the whole utterance."""
    lengths = jnp.full((batch,), channels)
    return draw_spans(
        key, lengths, channels, probability=masking.channel_probability, span=masking.channel_length, minimum=0
    )
