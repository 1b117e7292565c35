"""Schedules and optax chains, by name.

The chain, in this order: zeroing the gradients of frozen parts, clipping by global norm, Adam or Adafactor, decoupled weight
decay, the schedule, zeroing the updates of frozen parts.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from mms_jax.errors import ConfigError

_NORM_DECAY = 0.98  # of the running mean of the gradient's norm
NEVER = -1  # number of updates, for a part that is never unfrozen


def make_schedule(config: ConfigDict, total_steps: int, epoch: int) -> optax.Schedule:
    """The learning rate at each update.

    Args:
      config: `schedule`, one of
        "polynomial": linear warm-up over `warmup` of the updates, then linear decay to 0 (pretraining);
        "tri_stage": linear from 1 % over `warmup`, constant over `hold`, then exponential decay to `final_scale`
          (fine-tuning; fairseq's);
        "constant": linear warm-up over `warmup`, then constant;
        "epochs": multiplication by `final_scale` after every epoch, from the first update on (VITS's ExponentialLR).
        `warmup` and `hold` are shares of the updates; `learning_rate` is the peak.
      total_steps: updates of the whole run.
      epoch: updates per epoch.

    Raises:
      ConfigError: no schedule of that name.
    """
    peak, warmup = config.learning_rate, max(1, round(config.warmup * total_steps))
    if config.schedule == "polynomial":
        decay = optax.polynomial_schedule(peak, 0.0, 1, max(1, total_steps - warmup))
        return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), decay], [warmup])
    if config.schedule == "constant":
        return optax.linear_schedule(0.0, peak, warmup)
    if config.schedule == "epochs":
        return optax.exponential_decay(peak, epoch, config.final_scale, staircase=True)
    if config.schedule == "tri_stage":
        hold = round(config.hold * total_steps)
        decay_steps = max(1, total_steps - warmup - hold)
        stages = [
            optax.linear_schedule(0.01 * peak, peak, warmup),
            optax.constant_schedule(peak),
            optax.exponential_decay(peak, decay_steps, config.final_scale, end_value=peak * config.final_scale),
        ]
        return optax.join_schedules(stages, [warmup, warmup + hold])
    raise ConfigError(
        f"config.optimizer.schedule={config.schedule!r}; choose polynomial, tri_stage, constant or epochs"
    )


def make_optimizer(
    config: ConfigDict, total_steps: int, epoch: int, parts: Sequence[str] = (), frozen: Sequence[str] = ()
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """The optax chain of a run.

    Args:
      config: `config.optimizer`: name, b1, b2, eps and moments, see `scaling`; weight_decay, clip_norm (0: off), skip_above
        (0: off, see `skipping`); freeze ("PATH:UPDATES", as in "backbone/encoder:200": parameters below PATH are frozen
        for that many updates; -1: always); average (decay of a running average; 0: none); and the fields that
        `make_schedule` reads.
      total_steps: updates of the whole run.
      epoch: updates per epoch.
      frozen: further entries of `freeze`, of the task.
      parts: parts of the parameters that are updated in turn, see `one_for_each`; () if all are updated together.

    Returns:
      The transformation, and the schedule as a function of the update's number.

    Raises:
      ConfigError: no optimizer of that name, or a `freeze` entry that is not PATH:UPDATES.
    """
    schedule = make_schedule(config, total_steps, epoch)
    freeze = parse_freeze((*frozen, *config.freeze))
    chain = optax.chain(
        hold_frozen(freeze),
        optax.clip_by_global_norm(config.clip_norm) if config.clip_norm else optax.identity(),
        scaling(config),
        optax.add_decayed_weights(config.weight_decay) if config.weight_decay else optax.identity(),
        optax.scale_by_learning_rate(schedule),
        hold_frozen(freeze),
    )
    if config.skip_above:
        chain = skipping(chain, config.skip_above)
    if parts:
        chain = one_for_each(parts, chain)
    return averaging(chain, config.average) if config.average else chain, schedule


def scaling(config: ConfigDict) -> optax.GradientTransformation:
    """The optimizer proper, by `config.name`.

    "adam" has two moments of the size of the parameters, the first of them in `config.moments` ("float32", or "bfloat16" in
    half the memory). "adafactor" (Shazeer and Stern 2018, sections 3 and 5) keeps sums over rows and columns in place of the
    second moment, and no first: next to no memory. Its updates are clipped to a root mean square of 1. It reads none of
    b1, b2, eps and moments.

    Raises:
      ConfigError: another name, or other moments.
    """
    if config.moments not in ("float32", "bfloat16"):
        raise ConfigError(f"config.optimizer.moments={config.moments!r}; choose float32 or bfloat16")
    if config.name == "adam":
        return optax.scale_by_adam(config.b1, config.b2, config.eps, mu_dtype=jnp.dtype(config.moments))
    if config.name == "adafactor":
        return optax.chain(optax.scale_by_factored_rms(), optax.clip_by_block_rms(1.0))
    raise ConfigError(f"config.optimizer.name={config.name!r}; choose adam or adafactor")


def one_for_each(parts: Sequence[str], optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """An optimizer for each part of the parameters, with its own moments, clipping and count of updates.

    Args:
      parts: the top level of the parameters.
      optimizer: the chain of each part; paths in `freeze` begin with the part's name.

    Returns:
      A transformation whose `update` takes the gradients of some parts, and updates only these.
    """

    def init(params: optax.Params) -> dict[str, optax.OptState]:
        return {part: optimizer.init({part: params[part]}) for part in parts}

    def update(gradients, state, params):
        moved: dict[str, optax.Updates] = {}
        for part in gradients:
            updates, after = optimizer.update({part: gradients[part]}, state[part], {part: params[part]})
            moved |= updates
            state = state | {part: after}
        return moved, state

    return optax.GradientTransformation(init, update)


class Skipping(NamedTuple):
    """The state of an optimizer; the running mean of the gradient's norm, 0 before the first; and updates left out."""

    inner: optax.OptState
    norm: jax.Array
    skipped: jax.Array


def skipping(optimizer: optax.GradientTransformation, above: float) -> optax.GradientTransformation:
    """Leaves out updates whose gradient is not finite, or is a spike: parameters and moments stay as they are.

    Args:
      optimizer: which updates.
      above: a norm of more than this many times its running mean is a spike. It counts as one of that size in the mean, so
        that gradients that stay large are soon no spikes any more.
    """

    def init(params: optax.Params) -> Skipping:
        return Skipping(optimizer.init(params), jnp.zeros(()), jnp.zeros((), jnp.int32))

    def update(gradients, state: Skipping, params):
        norm = optax.tree.norm(gradients).astype(jnp.float32)
        begun = state.norm > 0
        usable = jnp.isfinite(norm) & (~begun | (norm <= above * state.norm))
        updates, inner = optimizer.update(gradients, state.inner, params)
        updates = jax.tree.map(lambda value: jnp.where(usable, value, -jnp.zeros_like(value)), updates)
        inner = jax.tree.map(lambda new, old: jnp.where(usable, new, old), inner, state.inner)
        counted = jnp.where(begun, jnp.minimum(norm, above * state.norm), norm)
        mean = jnp.where(begun, _NORM_DECAY * state.norm + (1 - _NORM_DECAY) * counted, counted)
        return updates, Skipping(inner, jnp.where(jnp.isfinite(norm), mean, state.norm), state.skipped + ~usable)

    return optax.GradientTransformation(init, update)


def skipped_updates(state: optax.OptState) -> jax.Array | None:
    """The updates that an optimizer has left out since it began; None where it leaves none out."""
    found = jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, Skipping))
    counts = [node.skipped for node in found if isinstance(node, Skipping)]
    return sum(counts[1:], counts[0]) if counts else None


class Averaged(NamedTuple):
    """The state of an optimizer, and a running average of the parameters."""

    inner: optax.OptState
    average: optax.Params


def averaging(optimizer: optax.GradientTransformation, decay: float) -> optax.GradientTransformation:
    """Keeps an exponential moving average of the parameters: decay * average + (1 - decay) * parameters, every step.

    Args:
      optimizer: updates the parameters, a dict; it may be given the gradients of some of the dict's parts.
      decay: in (0, 1), such as 0.999.
    """

    def init(params: optax.Params) -> Averaged:
        return Averaged(optimizer.init(params), jax.tree.map(jnp.copy, params))

    def update(gradients, state: Averaged, params):
        updates, inner = optimizer.update(gradients, state.inner, params)
        moved = {
            # In this form, an average of what does not move does not move either.
            part: jax.tree.map(
                lambda old, value, change: old + (1.0 - decay) * (value + change - old),
                state.average[part], params[part], updates[part],
            )
            for part in updates
        }  # fmt: skip
        return updates, Averaged(inner, {**state.average, **moved})

    return optax.GradientTransformation(init, update)


def parse_freeze(entries: Sequence[str]) -> dict[str, int]:
    """{"backbone/encoder": 200} from ("backbone/encoder:200",). Raises ConfigError for anything else."""
    freeze = {}
    for entry in entries:
        path, _, updates = entry.rpartition(":")
        if not path or not updates.lstrip("-").isdigit():
            raise ConfigError(f"config.optimizer.freeze: {entry!r} is not PATH:UPDATES, as in backbone/encoder:200")
        freeze[path] = int(updates)
    return freeze


def check_frozen(entries: Sequence[str], params: optax.Params) -> None:
    """Raises ConfigError where an entry of `freeze` names no parameter."""
    paths = ["/".join(str(key.key) for key in path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    for prefix in parse_freeze(entries):
        if not any(path == prefix or path.startswith(prefix + "/") for path in paths):
            parts = sorted({path.split("/")[0] for path in paths})
            raise ConfigError(
                f"config.optimizer.freeze: no parameter below {prefix!r}; the parts are {', '.join(parts)}"
            )


def hold_frozen(freeze: dict[str, int]) -> optax.GradientTransformation:
    """Zeroes the gradients or updates of frozen parameters.

    Args:
      freeze: parameter path -> updates during which everything below that path is zeroed, or NEVER.
    """

    def update(updates, count, params=None):
        del params

        def one(path, value):
            name = "/".join(str(getattr(key, "key", key)) for key in path)
            for prefix, steps in freeze.items():
                if name == prefix or name.startswith(prefix + "/"):
                    moving = jnp.zeros((), bool) if steps == NEVER else count >= steps
                    # Adding -0.0 leaves every number as it is, 0.0 does not: -0.0 + 0.0 = 0.0.
                    value = jnp.where(moving, value, -jnp.zeros_like(value))
            return value

        return jax.tree_util.tree_map_with_path(one, updates), count + 1

    if not freeze:
        return optax.identity()
    return optax.GradientTransformation(lambda params: jnp.zeros((), jnp.int32), update)
