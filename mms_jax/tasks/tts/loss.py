"""The losses of VITS (Kim et al. 2021, sections 2.1 to 2.4), as sums and weights."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from mms_jax.tasks.weighted import Weighted

Array = jax.Array

DiscriminatorOutputs = Sequence[Sequence[Array]]  # the features of each discriminator, its scores last


def kl_loss(latents: Array, posterior_log_std: Array, mean: Array, log_std: Array, frame_mask: Array) -> Weighted:
    """KL divergence from the prior to the posterior, estimated at the drawn latents (equation 3), summed over frames.

    Args:
      latents: float32 (batch, frames, latent), drawn from the posterior and mapped to the prior's space.
      posterior_log_std: float32, the same shape.
      mean, log_std: float32, the same shape: the prior of each symbol, repeated over its frames.
      frame_mask: bool (batch, frames).
    """
    divergence = log_std - posterior_log_std - 0.5 + 0.5 * (latents - mean) ** 2 * jnp.exp(-2.0 * log_std)
    total = jnp.sum(jnp.where(frame_mask[:, :, None], divergence, 0.0))
    return Weighted(total, jnp.sum(frame_mask).astype(jnp.float32))


def mean_absolute(real: Array, generated: Array, counted: Array) -> Weighted:
    """|real - generated|, averaged within each row and summed over rows (the mel loss, equation 2).

    Args:
      real, generated: float32 (batch, ...).
      counted: bool (batch,), False for rows that are padding.
    """
    return _over_rows(jnp.abs(real - generated), counted)


def discriminator_loss(real: DiscriminatorOutputs, generated: DiscriminatorOutputs, counted: Array) -> Weighted:
    """Least squares: real speech should score 1, generated 0 (equation 9); averaged within a row, summed over both."""
    parts = [
        _over_rows((1.0 - _scores(features)) ** 2, counted).sum + _over_rows(_scores(others) ** 2, counted).sum
        for features, others in zip(real, generated)
    ]
    return Weighted(sum(parts, jnp.zeros(())), _rows(counted))


def adversarial_loss(generated: DiscriminatorOutputs, counted: Array) -> Weighted:
    """Least squares: generated speech should score 1 (equation 10)."""
    parts = [_over_rows((1.0 - _scores(features)) ** 2, counted).sum for features in generated]
    return Weighted(sum(parts, jnp.zeros(())), _rows(counted))


def feature_loss(real: DiscriminatorOutputs, generated: DiscriminatorOutputs, counted: Array) -> Weighted:
    """Twice the mean absolute difference of every feature (equation 11; HiFi-GAN's factor 2), scores among them."""
    parts = [
        mean_absolute(one.astype(jnp.float32), other.astype(jnp.float32), counted).sum
        for features, others in zip(real, generated)
        for one, other in zip(features, others)
    ]
    return Weighted(2.0 * sum(parts, jnp.zeros(())), _rows(counted))


def _scores(features: Sequence[Array]) -> Array:
    return features[-1].astype(jnp.float32)


def _over_rows(values: Array, counted: Array) -> Weighted:
    means = jnp.mean(values.reshape(len(values), -1), axis=1)
    return Weighted(jnp.sum(jnp.where(counted, means, 0.0)), _rows(counted))


def _rows(counted: Array) -> Array:
    return jnp.sum(counted).astype(jnp.float32)
