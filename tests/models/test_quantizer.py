"""The quantizer: hard choices forward, soft gradients backward."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from mms_jax.models.wav2vec2.quantizer import GumbelQuantizer, gumbel_temperature


def make(miniature):
    features = jax.random.normal(jax.random.key(0), (2, 5, miniature.conv_dims[-1]))
    return GumbelQuantizer(miniature, rngs=nnx.Rngs(0)), features


def test_vectors_are_the_chosen_codewords_side_by_side(miniature):
    quantizer, features = make(miniature)
    for key in (None, jax.random.key(1)):
        out = quantizer(features, 1.0, key)
        codebook = np.asarray(quantizer.codebook[...])
        expected = np.concatenate([codebook[g][np.asarray(out.codes)[..., g]] for g in range(2)], axis=-1)
        np.testing.assert_allclose(out.vectors, expected, atol=1e-5)
    np.testing.assert_array_equal(quantizer(features).codes, jnp.argmax(out.logits, axis=-1))


def test_gumbel_noise_samples_from_the_softmax(miniature):
    quantizer, features = make(miniature)
    many = jnp.broadcast_to(features[:1, :1] * 0.1, (1, 20_000, features.shape[-1]))
    out = quantizer(many, 1.0, jax.random.key(2))
    share = np.bincount(np.asarray(out.codes)[0, :, 0], minlength=6) / 20_000
    np.testing.assert_allclose(share, jax.nn.softmax(out.logits[0, 0, 0]), atol=0.02)


def test_gradient_is_that_of_the_soft_choice(miniature):
    quantizer, features = make(miniature)
    weights = jax.random.normal(jax.random.key(3), (2, 5, miniature.quantized))
    key = jax.random.key(4)

    def hard(x):
        return jnp.sum(quantizer(x, 0.7, key).vectors * weights)

    def soft(x):
        logits = quantizer(x).logits + jax.random.gumbel(key, (2, 5, 2, 6))
        mixed = jnp.einsum("...gc,gcd->...gd", jax.nn.softmax(logits / 0.7), quantizer.codebook[...])
        return jnp.sum(mixed.reshape(2, 5, -1) * weights)

    np.testing.assert_allclose(jax.grad(hard)(features), jax.grad(soft)(features), rtol=1e-4, atol=1e-5)


def test_temperature_decays_to_its_floor():
    assert float(gumbel_temperature(jnp.asarray(0), 2.0, 0.1, 0.5)) == 2.0
    assert float(gumbel_temperature(jnp.asarray(2), 2.0, 0.1, 0.5)) == 0.5
    assert np.isclose(float(gumbel_temperature(jnp.asarray(99), 2.0, 0.1, 0.5)), 0.1)
