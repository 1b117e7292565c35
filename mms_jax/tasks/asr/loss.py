"""Connectionist temporal classification (Graves et al. 2006), as a sum and a weight."""

import jax
import jax.numpy as jnp
import optax

from mms_jax.models.layers import length_mask
from mms_jax.tasks.weighted import Weighted

Array = jax.Array

BLANK = 0


def ctc_feasible(frames: Array, labels: Array, label_lengths: Array) -> Array:
    """Whether any path spells the labels: a frame for each, and a blank between equal neighbors.

    Args:
      frames: int (batch,), real frames.
      labels: int (batch, size), right-padded.
      label_lengths: int (batch,).

    Returns:
      bool (batch,); also False for rows without frames.
    """
    repeated = (labels[:, 1:] == labels[:, :-1]) & length_mask(label_lengths - 1, labels.shape[1] - 1)
    return (frames > 0) & (label_lengths + jnp.sum(repeated, axis=1) <= frames)


def ctc_loss(logits: Array, frames: Array, labels: Array, label_lengths: Array, counted: Array) -> Weighted:
    """-log P(labels | logits), summed over utterances.

    Utterances that no path can spell get no weight: their loss is infinite, and its gradient would be meaningless.

    Args:
      logits: (batch, frames, vocabulary); column 0 is the blank. Masked symbols may hold -inf or a large negative.
      frames: int (batch,), real frames of each row.
      labels: int (batch, size), right-padded with anything.
      label_lengths: int (batch,).
      counted: bool (batch,), False for rows that are padding.

    Returns:
      The sum, and the number of utterances in it.
    """
    feasible = counted & ctc_feasible(frames, labels, label_lengths)
    per_utterance = optax.ctc_loss(
        jnp.maximum(logits.astype(jnp.float32), -1e9),
        1.0 - length_mask(frames, logits.shape[1]),
        labels,
        1.0 - length_mask(label_lengths, labels.shape[1]),
        blank_id=BLANK,
    )
    return Weighted(jnp.sum(jnp.where(feasible, per_utterance, 0.0)), jnp.sum(feasible).astype(jnp.float32))
