"""Cross-entropy of the language, as a sum and a weight."""

import jax
import jax.numpy as jnp
import optax

from mms_jax.tasks.weighted import Loss, Weighted

Array = jax.Array


def language_loss(logits: Array, language: Array, counted: Array) -> Loss:
    """-log P(language), summed over rows.

    Args:
      logits: float32 (batch, languages).
      language: int (batch,); negative for a language that the model lacks.
      counted: bool (batch,), False for rows that are padding.

    Returns:
      The sum over rows with a known language, and their number; and the accuracy.
    """
    known = counted & (language >= 0)
    each = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.maximum(language, 0))
    rows = jnp.sum(known).astype(jnp.float32)
    right = jnp.sum(known & (jnp.argmax(logits, axis=-1) == language)).astype(jnp.float32)
    return Loss(Weighted(jnp.sum(jnp.where(known, each, 0.0)), rows), {"accuracy": Weighted(right, rows)})
