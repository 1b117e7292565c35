"""Gradients that are written by hand, beside those that JAX derives from the plain form."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mms_jax import sharding
from mms_jax.models import layers
from mms_jax.models.wav2vec2 import positions
from tests.conftest import ALL_DEVICES

DTYPES = [(jnp.float32, 2e-6), (jnp.bfloat16, 1e-2)]  # the step of bfloat16 is 2 ** -8


def gradients(function, *arguments):
    """Of a weighted sum of the result, so that every element has a gradient of its own."""
    weights = jnp.asarray(np.random.default_rng(1).normal(size=jax.eval_shape(function, *arguments).shape), jnp.float32)
    places = tuple(range(len(arguments)))
    return jax.jit(jax.grad(lambda *given: jnp.sum(weights * function(*given)), argnums=places))(*arguments)


def assert_close(ours, theirs, tolerance):
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs)):
        assert one.dtype == other.dtype
        largest = float(jnp.abs(other.astype(jnp.float32)).max())
        difference = np.abs(np.asarray(one, np.float32) - np.asarray(other, np.float32)).max()
        assert difference <= tolerance * largest


@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES)
def test_gelu(dtype, tolerance):
    x = jnp.linspace(-8.0, 8.0, 4001).astype(dtype)
    assert_close(layers.gelu(x), jax.nn.gelu(x, approximate=False), tolerance)
    # Against float32, since JAX computes its own gradient in bfloat16.
    (exact,) = gradients(functools.partial(jax.nn.gelu, approximate=False), x.astype(jnp.float32))
    assert_close(gradients(layers.gelu, x), (exact.astype(dtype),), tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES)
def test_layer_norm(dtype, tolerance):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(1.0, 3.0, (2, 5, 64)), dtype)
    scale, bias = (jnp.asarray(rng.normal(size=64), jnp.float32) for _ in range(2))
    ours = layers.layer_norm(64, dtype=dtype, rngs=nnx.Rngs(0))
    theirs = nnx.LayerNorm(64, epsilon=layers.NORM_EPSILON, dtype=jnp.float32, rngs=nnx.Rngs(0))

    def normalized(module, x, scale, bias):
        structure, _ = nnx.split(module)
        return nnx.merge(structure, nnx.State({"scale": nnx.Param(scale), "bias": nnx.Param(bias)}))(x)

    of_ours, of_theirs = (
        gradients(functools.partial(normalized, module), given, scale, bias)
        for module, given in ((ours, x), (theirs, x.astype(jnp.float32)))
    )
    assert_close(of_ours, (of_theirs[0].astype(dtype), *of_theirs[1:]), tolerance)


@pytest.mark.parametrize("kernel", [1, 5, 16])
@pytest.mark.parametrize("sizes", [(1, 1, 1), (2, 2, 2)])
@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES)
def test_positional_convolution(dtype, tolerance, kernel, sizes):
    rng = np.random.default_rng(0)
    x, weight = jnp.asarray(rng.normal(size=(8, 20, 12)), dtype), jnp.asarray(rng.normal(size=(kernel, 3, 12)), dtype)
    theirs = gradients(functools.partial(positions._convolve, 4), x, weight)
    mesh = sharding.make_mesh(*sizes, devices=ALL_DEVICES[: int(np.prod(sizes))])
    with jax.set_mesh(mesh):
        ours = gradients(sharding.rows_apart(functools.partial(positions._convolve_by_taps, 4)), x, weight)
    assert_close(ours, theirs, tolerance)
