"""Schedules at their corners, and what stands still while frozen."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mms_jax.config import default_config
from mms_jax.optimizers import averaging, make_optimizer, make_schedule, one_for_each, skipped_updates, skipping


def settings(**changes):
    config = default_config("asr").optimizer
    with config.unlocked():
        config.update(changes)
    return config


def test_tri_stage_is_fairseqs():
    schedule = make_schedule(settings(learning_rate=1.0, warmup=0.1, hold=0.4, final_scale=0.05), 1000, 100)
    assert schedule(0) == pytest.approx(0.01)
    assert schedule(50) == pytest.approx(0.505)
    assert schedule(100) == schedule(400) == schedule(499) == pytest.approx(1.0)
    assert schedule(750) == pytest.approx(0.05**0.5, rel=1e-3)
    assert schedule(1000) == pytest.approx(0.05, rel=1e-3)


def test_polynomial_ends_at_zero():
    schedule = make_schedule(settings(schedule="polynomial", learning_rate=2.0, warmup=0.25), 400, 100)
    assert [float(schedule(step)) for step in (0, 50, 100, 250, 400)] == pytest.approx([0, 1, 2, 1, 0])


def test_names_that_do_not_exist():
    with pytest.raises(ValueError, match="choose polynomial, tri_stage, constant or epochs"):
        make_schedule(settings(schedule="cosine"), 10, 5)
    with pytest.raises(ValueError, match="is not PATH:UPDATES"):
        make_optimizer(settings(freeze=("backbone",)), 10, 5)
    with pytest.raises(ValueError, match="choose adam"):
        make_optimizer(settings(name="sgd"), 10, 5)
    with pytest.raises(ValueError, match=r"moments='float16'; choose float32 or bfloat16"):
        make_optimizer(settings(moments="float16"), 10, 5)


@pytest.mark.parametrize(
    ("changes", "share"), [({}, 2.0), ({"moments": "bfloat16"}, 1.5), ({"name": "adafactor"}, 0.02)]
)
def test_states_are_as_small_as_they_say_and_descend(changes, share):
    """Bytes of the state for each byte of the parameters; a matrix product is fitted."""
    rng = np.random.default_rng(0)
    x, target = jnp.asarray(rng.normal(size=(64, 256))), jnp.asarray(rng.normal(size=(256, 256)) / 16)
    params = {"kernel": jnp.zeros((256, 256))}
    optimizer, _ = make_optimizer(settings(schedule="constant", learning_rate=3e-3, warmup=0.0, **changes), 200, 5)
    state = optimizer.init(params)
    sizes = [sum(leaf.nbytes for leaf in jax.tree.leaves(tree)) for tree in (state, params)]
    assert sizes[0] / sizes[1] == pytest.approx(share, abs=0.02)

    def loss(params):
        return jnp.mean((x @ (params["kernel"] - target)) ** 2)

    @jax.jit
    def step(params, state):
        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    before = loss(params)
    for _ in range(200):
        params, state = step(params, state)
    assert loss(params) < 0.05 * before


def run(config, steps):
    params = {"backbone": {"encoder": jnp.ones(3), "extractor": jnp.ones(3)}, "head": jnp.ones(3)}
    optimizer, _ = make_optimizer(config, 100, 10)
    state = optimizer.init(params)
    for _ in range(steps):
        updates, state = optimizer.update({**params}, state, params)
        params = optax.apply_updates(params, updates)
    return params


def test_frozen_parts_move_only_when_their_time_has_come():
    config = settings(schedule="constant", weight_decay=0.1)
    with config.unlocked():
        config.freeze = ("backbone/extractor:-1", "backbone:2")
    before, after = run(config, 2), run(config, 3)
    np.testing.assert_array_equal(before["backbone"]["encoder"], 1.0)
    assert float(before["head"][0]) < 1.0
    assert float(after["backbone"]["encoder"][0]) < 1.0
    np.testing.assert_array_equal(after["backbone"]["extractor"], 1.0)


def test_adam_is_decoupled_from_weight_decay():
    plain = run(settings(learning_rate=1.0), 1)["head"]
    decayed = run(settings(learning_rate=1.0, weight_decay=0.5), 1)["head"]
    rate = float(make_schedule(settings(learning_rate=1.0), 100, 10)(0))
    np.testing.assert_allclose(plain - decayed, rate * 0.5, rtol=1e-4)


def test_average_and_parts_against_a_loop():
    """Two parts, moved one after the other, each with its own momentum; and their running average."""
    params = {"a": {"w": jnp.asarray([1.0, 2.0])}, "b": {"w": jnp.asarray([3.0])}}
    optimizer = averaging(one_for_each(("a", "b"), optax.sgd(0.1, momentum=0.5)), 0.9)
    state = optimizer.init(params)
    values = {"a": np.asarray([1.0, 2.0]), "b": np.asarray([3.0])}
    momenta = {"a": np.zeros(2), "b": np.zeros(1)}
    average = {part: value.copy() for part, value in values.items()}
    for step in range(4):
        for part in ("a", "b"):
            if part == "b" and step % 2:
                continue
            gradient = values[part] * (step + 1)
            updates, state = optimizer.update({part: {"w": jnp.asarray(gradient)}}, state, params)
            params = params | {part: optax.apply_updates(params[part], updates[part])}
            momenta[part] = 0.5 * momenta[part] + gradient
            values[part] = values[part] - 0.1 * momenta[part]
            average[part] = 0.9 * average[part] + 0.1 * values[part]
    for part in values:
        np.testing.assert_allclose(params[part]["w"], values[part], rtol=1e-5)
        np.testing.assert_allclose(state.average[part]["w"], average[part], rtol=1e-5)


def test_a_factor_an_epoch():
    schedule = make_schedule(settings(schedule="epochs", learning_rate=1.0, final_scale=0.5), 100, 10)
    assert [float(schedule(step)) for step in (0, 9, 10, 29)] == pytest.approx([1.0, 1.0, 0.5, 0.25])


def test_gradients_that_stay_large_are_soon_taken():
    optimizer = skipping(optax.sgd(0.1), above=10.0)
    params = {"a": jnp.ones(1)}
    state = optimizer.init(params)
    for norm in [1.0] * 5 + [11.0] * 20:
        _, state = optimizer.update({"a": jnp.full(1, norm)}, state, params)
    assert 1 <= int(state.skipped) <= 3


def test_spikes_and_infinite_gradients_leave_everything_as_it_is():
    optimizer = skipping(optax.adam(0.1), above=10.0)
    params = {"a": jnp.ones(3), "b": jnp.full(2, -0.0)}
    state = optimizer.init(params)
    gradients = [
        jnp.ones(3),
        jnp.full(3, 50.0),
        jnp.asarray([1.0, jnp.nan, 1.0]),
        jnp.full(3, jnp.inf),
        jnp.full(3, 2.0),
    ]
    plain, plain_state = dict(params), optax.adam(0.1).init(params)
    for number, gradient in enumerate(gradients):
        tree = {"a": gradient, "b": jnp.zeros(2)}
        updates, after = optimizer.update(tree, state, params)
        moved = optax.apply_updates(params, updates)
        if number in (1, 2, 3):
            for before, now in zip(jax.tree.leaves((params, state.inner)), jax.tree.leaves((moved, after.inner))):
                assert np.asarray(now).tobytes() == np.asarray(before).tobytes()
            assert np.isfinite(after.norm) and (number == 1 or after.norm == state.norm)
        else:
            expected, plain_state = optax.adam(0.1).update(tree, plain_state, plain)
            plain = optax.apply_updates(plain, expected)
            np.testing.assert_array_equal(moved["a"], plain["a"])
        params, state = moved, after
    assert int(skipped_updates({"x": (state,)})) == 3 and skipped_updates(optax.adam(0.1).init(params)) is None
