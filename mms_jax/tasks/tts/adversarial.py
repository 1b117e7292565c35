"""The discriminators' half of a training step of VITS (Kim et al. 2021, section 2.3)."""

import jax
import jax.numpy as jnp
import optax

from mms_jax.models.functional import FunctionalModel, Params
from mms_jax.tasks.base import Metrics
from mms_jax.tasks.tts import loss as losses
from mms_jax.tasks.tts.forward import Generated
from mms_jax.tasks.weighted import Weighted

Array = jax.Array

VOICE, DISCRIMINATORS = "voice", "discriminators"  # top-level keys of the parameters


def discriminator_gradients(
    model: FunctionalModel, params: Params, generated: Generated, rows: Array
) -> tuple[Params, Metrics]:
    """The gradient of the discriminators' loss with respect to their parameters, and the figure "discriminator".

    Args:
      model: with discriminators.
      params: all parameters.
      generated: segments, generated and real; they are constants here.
      rows: the number of rows with a weight in the whole batch, by which the sum over these is divided.
    """
    counted, count = generated.counted, len(generated.segments)

    def loss_fn(discriminators: Params):
        waveforms = jnp.concatenate([generated.real, jax.lax.stop_gradient(generated.segments)])
        outputs = model.bind(params | {DISCRIMINATORS: discriminators}).discriminators(waveforms)
        real, fake = ([[x[part] for x in one] for one in outputs] for part in (slice(count), slice(count, None)))
        loss = losses.discriminator_loss(real, fake, counted)
        return loss.sum / jnp.maximum(rows, 1e-9), {"discriminator": loss}

    return jax.grad(loss_fn, has_aux=True)(params[DISCRIMINATORS])


def segment_gradient(
    model: FunctionalModel, params: Params, generated: Generated, rows: Array
) -> tuple[Array, Metrics]:
    """The gradient of the adversarial and the feature loss with respect to the generated segments.

    Args: see `discriminator_gradients`.

    Returns:
      float32 (batch, segment samples); and the figures "adversarial" and "feature".
    """
    counted = generated.counted

    def discriminate(waveforms: Array) -> losses.DiscriminatorOutputs:
        return model.bind(params).discriminators(waveforms)

    real = jax.lax.stop_gradient(discriminate(generated.real))

    def loss_fn(segments: Array):
        outputs = discriminate(segments)
        figures = {
            "adversarial": losses.adversarial_loss(outputs, counted),
            "feature": losses.feature_loss(real, outputs, counted),
        }
        return (figures["adversarial"].sum + figures["feature"].sum) / jnp.maximum(rows, 1e-9), figures

    return jax.grad(loss_fn, has_aux=True)(generated.segments)


def apply_discriminators(
    optimizer: optax.GradientTransformation, params: Params, state: optax.OptState, gradients: Params
) -> tuple[Params, optax.OptState, Metrics]:
    """One update of the discriminators; the figure "discriminator_gradient_norm"."""
    params, state = apply_to_part(optimizer, DISCRIMINATORS, gradients, state, params)
    return params, state, {"discriminator_gradient_norm": Weighted(optax.tree.norm(gradients), jnp.ones(()))}


def skip_discriminators(
    optimizer: optax.GradientTransformation, params: Params, state: optax.OptState
) -> tuple[Params, optax.OptState]:
    """A step in which the discriminators stand still.

    Their optimizer keeps counting, so that they start at the learning rate that the voice has reached by then.
    """
    no_gradients = jax.tree.map(jnp.zeros_like, {DISCRIMINATORS: params[DISCRIMINATORS]})
    return params, optimizer.update(no_gradients, state, params)[1]


def apply_to_part(
    optimizer: optax.GradientTransformation, part: str, gradients: Params, state: optax.OptState, params: Params
) -> tuple[Params, optax.OptState]:
    """Updates one part of the parameters; `optimizer` is from `optimizers.one_for_each`."""
    updates, state = optimizer.update({part: gradients}, state, params)
    return params | {part: optax.apply_updates(params[part], updates[part])}, state
