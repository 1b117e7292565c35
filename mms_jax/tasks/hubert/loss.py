"""The loss of masked prediction (Hsu et al. 2021, equation 1), as sums and weights."""

import jax
import jax.numpy as jnp
import optax

from mms_jax.tasks.weighted import Weighted

Array = jax.Array


def masked_cross_entropy(logits: Array, targets: Array, masked: Array) -> tuple[Weighted, Weighted]:
    """-log P(target) over masked frames, and the share of them whose target is the most probable cluster.

    Args:
      logits: (batch, frames, clusters).
      targets: int (batch, frames).
      masked: bool (batch, frames).
    """
    frame_loss = optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), targets)
    weight = jnp.sum(masked).astype(jnp.float32)
    correct = masked & (jnp.argmax(logits, axis=-1) == targets)
    return (
        Weighted(jnp.sum(jnp.where(masked, frame_loss, 0.0)), weight),
        Weighted(jnp.sum(correct).astype(jnp.float32), weight),
    )


def chance_accuracy(targets: Array, masked: Array, clusters: int) -> Weighted:
    """The accuracy of the best guess that ignores the speech: the share of the batch's most frequent cluster."""
    counts = jnp.zeros(clusters).at[targets].add(masked.astype(jnp.float32))
    return Weighted(jnp.max(counts), jnp.sum(counts))
