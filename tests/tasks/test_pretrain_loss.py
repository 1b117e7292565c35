"""The pretraining losses against fairseq's stored outputs and a NumPy reference."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mms_jax.tasks.pretrain import loss as losses


@pytest.fixture
def stored(fixture_file):
    return np.load(fixture_file("contrastive.npz"))


def test_contrastive_loss_equals_fairseq(stored):
    valid = jnp.ones(stored["codes"].shape[:2], bool)
    loss, accuracy = losses.contrastive_loss(
        *(jnp.asarray(stored[name]) for name in ("predicted", "target", "codes", "negatives")), valid, 0.1
    )
    np.testing.assert_allclose(loss.sum, stored["loss"], rtol=1e-5)
    assert float(loss.weight) == valid.size
    assert int(accuracy.sum) == int(stored["correct"])


def test_diversity_and_penalty_equal_fairseq(stored):
    logits = jnp.asarray(stored["code_logits"])
    valid = jnp.ones(logits.shape[:2], bool)
    totals = losses.code_totals(logits, valid)
    np.testing.assert_allclose(losses.code_perplexity(*totals), stored["perplexity"], rtol=1e-5)
    np.testing.assert_allclose(losses.diversity_loss(*totals) * valid.size, stored["diversity"], rtol=1e-5)
    penalty = losses.feature_penalty(jnp.asarray(stored["features"]), jnp.ones((2, 9), bool))
    np.testing.assert_allclose(penalty.mean(), stored["penalty"], rtol=1e-5)


def contrastive_reference(predicted, target, negatives, valid, temperature):
    """One frame at a time, as the paper writes it; a distractor that equals the positive is left out."""
    total, correct, weight = 0.0, 0, 0
    for row in range(len(predicted)):
        if valid[row].sum() < 2:
            continue
        for frame in np.flatnonzero(valid[row]):

            def cosine(other, row=row, frame=frame):
                a, b = predicted[row, frame], target[row, other]
                return a @ b / np.linalg.norm(a) / np.linalg.norm(b) / temperature

            others = [cosine(n) for n in negatives[row, frame] if (target[row, n] != target[row, frame]).any()]
            positive = cosine(frame)
            total += np.log(np.exp([positive, *others]).sum()) - positive
            correct += all(positive > other for other in others)
            weight += 1
    return total, correct, weight


def random_case(seed):
    rng = np.random.default_rng(seed)
    codebook = rng.normal(size=(4, 8))
    codes = rng.integers(0, 4, size=(3, 7, 1))
    valid = np.arange(7) < np.asarray([[7], [4], [1]])
    predicted = rng.normal(size=(3, 7, 8))
    negatives = losses.sample_negatives(jax.random.key(seed), jnp.asarray(valid), 5)
    return predicted, codebook[codes[..., 0]], codes, np.asarray(negatives), valid


@pytest.mark.parametrize("seed", range(3))
def test_contrastive_loss_equals_its_reference_on_padded_rows(seed):
    predicted, target, codes, negatives, valid = random_case(seed)
    loss, accuracy = losses.contrastive_loss(*map(jnp.asarray, (predicted, target, codes, negatives, valid)), 0.1)
    total, correct, weight = contrastive_reference(predicted, target, negatives, valid, 0.1)
    np.testing.assert_allclose(loss.sum, total, rtol=1e-4)
    assert (float(loss.weight), float(accuracy.sum)) == (weight, correct)


def test_padding_moves_no_gradient():
    predicted, target, codes, negatives, valid = random_case(0)
    gradient = jax.grad(
        lambda p, t: (
            losses.contrastive_loss(p, t, jnp.asarray(codes), jnp.asarray(negatives), jnp.asarray(valid), 0.1)[0].sum
        ),
        argnums=(0, 1),
    )(jnp.asarray(predicted), jnp.asarray(target))
    for part in gradient:
        assert bool(jnp.isfinite(part).all())
        assert float(jnp.abs(part[~jnp.asarray(valid)]).max()) == 0.0
        assert float(jnp.abs(part[0]).max()) > 0.0


def test_negatives_are_other_masked_frames_drawn_evenly():
    valid = jnp.arange(6)[None] < jnp.asarray([[6], [3]])
    negatives = np.asarray(losses.sample_negatives(jax.random.key(0), valid, 6000))
    for row, count in ((0, 6), (1, 3)):
        for frame in range(count):
            drawn, often = np.unique(negatives[row, frame], return_counts=True)
            assert sorted(drawn) == [other for other in range(count) if other != frame]
            np.testing.assert_allclose(often / 6000, 1 / (count - 1), atol=0.03)


def test_all_distractors_equal_the_positive():
    ones = jnp.ones((1, 3, 4))
    negatives = jnp.asarray([[[1, 2], [0, 2], [0, 1]]])
    loss, _ = losses.contrastive_loss(ones, ones, jnp.zeros((1, 3, 1), int), negatives, jnp.ones((1, 3), bool), 0.1)
    assert float(loss.sum) == pytest.approx(0.0, abs=1e-5)


def test_chance_is_that_of_a_guess_among_different_targets():
    """Against guessing: random scores for the codes, the same for equal codes."""
    predicted, _, codes, negatives, valid = random_case(2)
    chance = losses.chance_accuracy(*map(jnp.asarray, (codes, negatives, valid)))
    expected = [
        1.0 / (1 + len({int(codes[row, n, 0]) for n in negatives[row, frame]} - {int(codes[row, frame, 0])}))
        for row in range(3) for frame in np.flatnonzero(valid[row]) if valid[row].sum() > 1
    ]  # fmt: skip
    np.testing.assert_allclose(chance.sum, np.sum(expected), rtol=1e-6)
    assert float(chance.weight) == len(expected)

    rng = np.random.default_rng(0)
    found = []
    for _ in range(400):
        guess = rng.normal(size=(4, 8))[codes[..., 0]]
        random = (rng.normal(size=predicted.shape), guess, codes, negatives, valid)
        _, accuracy = losses.contrastive_loss(*map(jnp.asarray, random), 0.1)
        found.append(float(accuracy.mean()))
    assert np.mean(found) == pytest.approx(float(chance.mean()), abs=0.03)
