"""CTC against PyTorch's stored outputs, a NumPy reference, and the impossible cases."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mms_jax.tasks.asr.loss import ctc_feasible, ctc_loss


@pytest.fixture
def stored(fixture_file):
    return {name: jnp.asarray(value) for name, value in np.load(fixture_file("ctc.npz")).items()}


def call(case, logits=None):
    logits = case["logits"] if logits is None else logits
    return ctc_loss(logits, case["frames"], case["labels"], case["label_lengths"], jnp.ones(len(logits), bool))


def test_loss_and_gradient_equal_pytorch(stored):
    finite = np.isfinite(stored["loss"])
    assert 0 < finite.sum() < len(finite), "the fixture holds an impossible example"
    loss = call(stored)
    np.testing.assert_allclose(loss.sum, stored["loss"][finite].sum(), rtol=1e-5)
    assert float(loss.weight) == finite.sum()
    gradient = jax.grad(lambda logits: call(stored, logits).sum)(stored["logits"])
    np.testing.assert_allclose(gradient, stored["gradient"], atol=1e-4)


def test_feasibility_counts_blanks_between_repeats(stored):
    feasible = ctc_feasible(stored["frames"], stored["labels"], stored["label_lengths"])
    np.testing.assert_array_equal(feasible, np.isfinite(stored["loss"]))
    assert not bool(ctc_feasible(jnp.asarray([0]), jnp.zeros((1, 3), int), jnp.asarray([0]))[0])


def ctc_reference(log_probs, labels):
    """-log of the summed probability of every path that collapses to the labels, by enumeration."""
    total = -np.inf
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        collapsed = [symbol for symbol, _ in itertools.groupby(path) if symbol != 0]
        if collapsed == list(labels):
            total = np.logaddexp(total, sum(log_probs[frame, symbol] for frame, symbol in enumerate(path)))
    return -total


@pytest.mark.parametrize("labels", [[1], [1, 1], [1, 2, 1], [2, 2, 1]])
def test_loss_equals_the_sum_over_all_paths(labels):
    logits = np.random.default_rng(len(labels)).normal(size=(1, 7, 3))
    frames, lengths = jnp.asarray([6]), jnp.asarray([len(labels)])
    padded = jnp.asarray([labels + [0] * (4 - len(labels))])
    loss = ctc_loss(jnp.asarray(logits), frames, padded, lengths, jnp.ones(1, bool))
    expected = ctc_reference(np.asarray(jax.nn.log_softmax(logits[0, :6])), labels)
    np.testing.assert_allclose(loss.sum, expected, rtol=1e-5)


def test_rows_that_do_not_count_weigh_nothing(stored):
    counted = jnp.asarray([True, False, True, True, False])
    loss = ctc_loss(stored["logits"], stored["frames"], stored["labels"], stored["label_lengths"], counted)
    kept = counted & jnp.isfinite(stored["loss"])
    np.testing.assert_allclose(loss.sum, stored["loss"][kept].sum(), rtol=1e-5)
    assert float(loss.weight) == float(kept.sum())


def test_masked_symbols_leave_the_loss_finite(stored):
    masked = stored["logits"].at[:, :, 5].set(-jnp.inf)
    first = {name: value[:1] for name, value in stored.items()}
    loss, gradient = jax.value_and_grad(lambda logits: call(first, logits).sum)(masked[:1])
    assert np.isfinite(loss) and bool(jnp.isfinite(gradient).all())
