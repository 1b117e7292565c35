"""A training step of VITS: the discriminators are updated, then the voice against them (Kim et al. 2021, section 2.3)."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from input_pipeline.decode import Batch
from mms_jax.models.functional import FunctionalModel, Params
from mms_jax.tasks.base import Metrics, Updated
from mms_jax.tasks.parts import split_rows, sum_over_parts, zeros_of
from mms_jax.tasks.tts.adversarial import (
    VOICE,
    apply_discriminators,
    apply_to_part,
    discriminator_gradients,
    segment_gradient,
    skip_discriminators,
)
from mms_jax.tasks.tts.forward import Generated, Randomness, draw, generate, loss_weights
from mms_jax.tasks.weighted import Weighted

Array = jax.Array
Part = tuple[Batch, Randomness]

# Nats by which a frame's score falls for each squared symbol off the diagonal, in the first update.
DIAGONAL_PRIOR = 3.0


def adversarial_step(
    task: Any,
    model: FunctionalModel,
    optimizer: optax.GradientTransformation,
    params: Params,
    optimizer_state: optax.OptState,
    batch: Batch,
    key: Array,
    step: Array,
    parts: int = 1,
) -> Updated:
    """One update of the discriminators and one of the voice; `TtsTask` uses it as its method `update`.

    For the other arguments and the result see `mms_jax.tasks.base.Task.update`.

    The discriminators take part from update `task.discriminator_start_step` on. In the first `task.diagonal_prior_steps`
    updates a fading penalty draws the alignment to the diagonal, as a flat start does for Gaussian mixtures in recognition.
    """
    random = draw(task.model, batch, key)
    penalty = None
    if task.diagonal_prior_steps:
        penalty = DIAGONAL_PRIOR * jnp.maximum(0.0, 1.0 - step / task.diagonal_prior_steps)
    voice = _VoicePass(task, model, penalty, loss_weights(batch, task.segment, task.model.hop))
    active = step >= task.discriminator_start_step if task.discriminator_start_step else None
    run = _in_one_pass if parts == 1 else _in_parts
    params, optimizer_state, gradients, figures = run(
        voice, optimizer, params, optimizer_state, batch, random, active, parts
    )
    params, optimizer_state = apply_to_part(optimizer, VOICE, gradients, optimizer_state, params)
    one, present = jnp.ones(()), jnp.sum(batch["counted"]).astype(jnp.float32)
    loss = sum(factor * figures[name].mean() for name, factor in voice.factors.items())
    loss += figures["adversarial"].mean() + figures["feature"].mean()
    return (
        params,
        optimizer_state,
        figures
        | {
            "loss": Weighted(loss, one),
            "gradient_norm": Weighted(optax.tree.norm(gradients), one),
            "infeasible": Weighted(present - voice.weights["rows"], present),
        },
    )


class _VoicePass:
    """The forward and backward passes of the voice on a batch or a part of one.

    Attributes:
      model: voice and discriminators.
      weights: of the losses, of the whole batch.
      factors: of the losses without their adversarial part (equation 12).
    """

    def __init__(self, task: Any, model: FunctionalModel, penalty: Array | None, weights: dict[str, Array]):
        self.model, self.weights = model, weights
        self.factors = {"mel": task.mel_weight, "kl": task.kl_weight, "duration": 1.0}
        self._segment, self._penalty = task.segment, penalty

    def generate(self, params: Params, part: Part) -> Generated:
        """The forward pass."""
        return generate(self.model.bind(params).voice, *part, segment=self._segment, diagonal_penalty=self._penalty)

    def backward(self, params: Params, part: Part):
        """The forward pass, and a function from the gradient of its segments to that of the voice."""

        def run(voice: Params):
            generated = self.generate(params | {VOICE: voice}, part)
            objective = sum(
                factor * generated.losses[name].sum / jnp.maximum(self.weights[name], 1e-9)
                for name, factor in self.factors.items()
            )
            return (generated.segments, objective), generated

        _, pull_back, generated = jax.vjp(run, params[VOICE], has_aux=True)
        return generated, lambda gradient: pull_back((gradient, jnp.ones(())))[0]

    def against(self, params: Params, generated: Generated, active: Array | None) -> tuple[Array, Metrics]:
        """`segment_gradient`; zeros, and figures of weight 0, where the discriminators are not active yet."""

        def present(generated: Generated):
            return segment_gradient(self.model, params, generated, self.weights["rows"])

        return present(generated) if active is None else _if_active(active, present, generated)


def _if_active(active: Array, function, *arguments):
    def absent(*arguments):
        return zeros_of(jax.eval_shape(function, *arguments))

    return jax.lax.cond(active, function, absent, *arguments)


def _in_one_pass(voice: _VoicePass, optimizer, params: Params, state, batch: Batch, random: Randomness, active, _: int):
    """The voice runs forward once: its backward pass waits for the discriminators' update."""
    rows = voice.weights["rows"]
    generated, pull_back = voice.backward(params, (batch, random))

    def discriminators(params: Params, state):
        gradients, figures = discriminator_gradients(voice.model, params, generated, rows)
        params, state, norm = apply_discriminators(optimizer, params, state, gradients)
        gradient, others = segment_gradient(voice.model, params, generated, rows)
        return params, state, gradient, figures | norm | others

    params, state, gradient, figures = _discriminate(active, discriminators, optimizer, params, state)
    return params, state, pull_back(gradient), generated.losses | figures


def _in_parts(
    voice: _VoicePass, optimizer, params: Params, state, batch: Batch, random: Randomness, active, parts: int
):
    """Two passes over the parts: the discriminators must have seen all of them before the voice meets them."""
    rows = voice.weights["rows"]
    divided = (split_rows(batch, parts), _split_randomness(random, parts))

    def discriminators(params: Params, state):
        gradients, figures = sum_over_parts(
            lambda part: discriminator_gradients(voice.model, params, voice.generate(params, part), rows), divided
        )
        params, state, norm = apply_discriminators(optimizer, params, state, gradients)
        return params, state, figures | norm

    params, state, figures = _discriminate(active, discriminators, optimizer, params, state)

    def of_part(part: Part):
        generated, pull_back = voice.backward(params, part)
        gradient, others = voice.against(params, generated, active)
        return pull_back(gradient), generated.losses | others

    gradients, others = sum_over_parts(of_part, divided)
    return params, state, gradients, figures | others


def _discriminate(active: Array | None, function, optimizer, params: Params, state):
    """`function(params, state)`; where the discriminators are not active yet, they stand still and all else is 0."""
    if active is None:
        return function(params, state)

    def skip(params: Params, state):
        rest = jax.eval_shape(function, params, state)[2:]
        return *skip_discriminators(optimizer, params, state), *zeros_of(rest)

    return jax.lax.cond(active, function, skip, params, state)


def _split_randomness(random: Randomness, parts: int) -> Randomness:
    keys = None if random.dropout is None else jax.random.split(random.dropout, parts)
    return Randomness(*split_rows((random.posterior, random.durations, random.segment), parts), keys)
