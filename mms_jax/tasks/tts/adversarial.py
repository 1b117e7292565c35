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

Step = tuple[Params, optax.OptState, Array, Metrics]


def update_discriminators(
    model: FunctionalModel,
    optimizer: optax.GradientTransformation,
    params: Params,
    optimizer_state: optax.OptState,
    generated: Generated,
) -> Step:
    """Updates the discriminators, then computes their gradient with respect to the generated segments.

    Returns:
      Parameters and optimizer state after it; the gradient of the adversarial and the feature loss with respect to the
      segments, float32 (batch, segment samples); and the figures "discriminator", "discriminator_gradient_norm",
      "adversarial" and "feature".
    """
    counted, rows = generated.counted, len(generated.segments)

    def discriminate(discriminators: Params, waveforms: Array) -> losses.DiscriminatorOutputs:
        return model.bind(params | {DISCRIMINATORS: discriminators}).discriminators(waveforms)

    def discriminator_loss(discriminators: Params):
        outputs = discriminate(discriminators, jnp.concatenate([generated.real, generated.segments]))
        real, fake = ([[x[part] for x in one] for one in outputs] for part in (slice(rows), slice(rows, None)))
        loss = losses.discriminator_loss(real, fake, counted)
        return loss.mean(), loss

    gradients, loss = jax.grad(discriminator_loss, has_aux=True)(params[DISCRIMINATORS])
    params, optimizer_state = apply_to_part(optimizer, DISCRIMINATORS, gradients, optimizer_state, params)
    discriminators = params[DISCRIMINATORS]
    real_outputs = jax.lax.stop_gradient(discriminate(discriminators, generated.real))

    def generator_loss(segments: Array):
        outputs = discriminate(discriminators, segments)
        figures = {
            "adversarial": losses.adversarial_loss(outputs, counted),
            "feature": losses.feature_loss(real_outputs, outputs, counted),
        }
        return figures["adversarial"].mean() + figures["feature"].mean(), figures

    segment_gradient, figures = jax.grad(generator_loss, has_aux=True)(generated.segments)
    norm = Weighted(optax.tree.norm(gradients), jnp.ones(()))
    return (
        params,
        optimizer_state,
        segment_gradient,
        figures
        | {
            "discriminator": loss,
            "discriminator_gradient_norm": norm,
        },
    )


def skip_discriminators(
    model: FunctionalModel,
    optimizer: optax.GradientTransformation,
    params: Params,
    optimizer_state: optax.OptState,
    generated: Generated,
) -> Step:
    """A step of the same form without the discriminators: no gradient, and figures of weight 0.

    Their optimizer keeps counting, so that they start at the learning rate that the voice has reached by then.
    """

    def update(params: Params, optimizer_state: optax.OptState) -> Step:
        return update_discriminators(model, optimizer, params, optimizer_state, generated)

    _, _, segment_gradient, figures = jax.eval_shape(update, params, optimizer_state)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), (segment_gradient, figures))
    no_gradients = jax.tree.map(jnp.zeros_like, {DISCRIMINATORS: params[DISCRIMINATORS]})
    _, optimizer_state = optimizer.update(no_gradients, optimizer_state, params)
    return params, optimizer_state, *zeros


def apply_to_part(
    optimizer: optax.GradientTransformation, part: str, gradients: Params, state: optax.OptState, params: Params
) -> tuple[Params, optax.OptState]:
    """Updates one part of the parameters; `optimizer` is from `optimizers.one_for_each`."""
    updates, state = optimizer.update({part: gradients}, state, params)
    return params | {part: optax.apply_updates(params[part], updates[part])}, state
