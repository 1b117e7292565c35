"""The loss of masked prediction (Hsu et al. 2021, equation 1), as sums and weights."""

import jax
import jax.numpy as jnp
import optax

from mms_jax.tasks.weighted import Loss, Weighted

Array = jax.Array


def cluster_loss(logits: Array, targets: Array, masked: Array, real: Array, unmasked_weight: float) -> Loss:
    """Cross-entropy of masked frames and, with a weight of their own, of the others.

    Args:
      logits: (batch, frames, clusters).
      targets: int (batch, frames).
      masked: bool (batch, frames).
      real: bool (batch, frames), False for padding; includes the masked frames.
      unmasked_weight: of a frame that is not masked, where a masked one has 1.

    Returns:
      The weighted mean as the total. Among the metrics are the cross-entropy of masked frames, and the accuracies of
      both kinds: the share of frames whose target is the most probable cluster.
    """
    frame_loss = optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), targets)
    correct = (jnp.argmax(logits, axis=-1) == targets).astype(jnp.float32)
    unmasked = real & ~masked
    weights = masked + unmasked_weight * unmasked
    return Loss(
        _weighted(frame_loss, weights),
        {
            "cross_entropy": _weighted(frame_loss, masked),
            "accuracy": _weighted(correct, masked),
            "unmasked_accuracy": _weighted(correct, unmasked),
        },
    )


def _weighted(x: Array, weights: Array) -> Weighted:
    return Weighted(jnp.sum(jnp.where(weights > 0, x * weights, 0.0)), jnp.sum(weights).astype(jnp.float32))


def cluster_shares(targets: Array, masked: Array, clusters: int) -> Weighted:
    """How many masked frames have each cluster, (clusters,), and how many there are.

    The largest share is the accuracy of the best guess that ignores the speech.
    """
    counts = jnp.zeros(clusters).at[targets].add(masked.astype(jnp.float32))
    return Weighted(counts, jnp.sum(counts))
