"""The forms of TPUs and GPUs equal those of CPUs. Kernels of TPUs are interpreted."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel

from mms_jax import sharding
from mms_jax.models.functional import FunctionalModel
from mms_jax.models.vits.convolution import Conv
from mms_jax.models.wav2vec2 import attention
from mms_jax.models.wav2vec2.config import Wav2Vec2Config
from mms_jax.models.wav2vec2.model import Wav2Vec2
from tests.conftest import ALL_DEVICES, MINIATURE


@pytest.fixture
def on_tpu(monkeypatch):
    """Programs are traced as for TPUs, and their kernels interpreted."""
    monkeypatch.setattr(sharding, "platform", lambda: "tpu")
    made = functools.partial(splash_attention_kernel.make_splash_mha_single_device, interpret=True)
    monkeypatch.setattr(splash_attention_kernel, "make_splash_mha_single_device", made)


def attention_case(frames, width, heads=4, rows=2):
    rng = np.random.default_rng(frames)
    q, k, v = (jnp.asarray(rng.normal(size=(rows, heads, frames, width)), jnp.float32) for _ in range(3))
    lengths = jnp.asarray([frames, *rng.integers(1, frames, rows - 1)])
    return q, k, v, jnp.arange(frames)[None] < lengths[:, None]


def value_and_gradients(q, k, v, mask):
    """Of a function of the real frames; jitted anew, since the platform is no part of jit's cache."""

    def loss(q, k, v):
        y = jnp.where(mask[:, None, :, None], attention.attend(q, k, v, mask), 0.0)
        return (y**2).sum(), y

    (_, y), gradients = jax.jit(jax.value_and_grad(loss, (0, 1, 2), has_aux=True))(q, k, v)
    return y, *gradients


@pytest.mark.parametrize(("frames", "width"), [(49, 16), (128, 8), (250, 20)])
def test_attention_of_tpus(frames, width, on_tpu, monkeypatch):
    case = attention_case(frames, width)
    ours = value_and_gradients(*case)
    monkeypatch.setattr(sharding, "platform", lambda: "cpu")
    for one, other in zip(ours, value_and_gradients(*case)):
        np.testing.assert_allclose(one, other, atol=2e-5)


@pytest.mark.parametrize(("shape", "heads"), [((2, 2, 2), 4), ((4, 1, 2), 3)])
def test_attention_of_tpus_on_a_mesh(shape, heads, on_tpu, monkeypatch):
    """Each device has its rows, and its heads where the tensor axis divides them."""
    case = attention_case(40, 8, heads=heads, rows=8)
    mesh = sharding.make_mesh(*shape, devices=ALL_DEVICES)
    with jax.set_mesh(mesh):
        ours = jax.device_get(value_and_gradients(*case))
    monkeypatch.setattr(sharding, "platform", lambda: "cpu")
    for one, other in zip(ours, value_and_gradients(*case)):
        np.testing.assert_allclose(one, other, atol=2e-5)


def test_attention_of_gpus(monkeypatch):
    """With XLA's implementation in the place of cuDNN's, and a row that holds no frame."""
    q, k, v, mask = attention_case(50, 16, rows=3)
    mask = mask.at[2].set(False)
    written = value_and_gradients(q, k, v, mask)
    original = jax.nn.dot_product_attention
    asked = []

    def xla(*arguments, implementation, **options):
        asked.append(implementation)
        return original(*arguments, implementation="xla", **options)

    monkeypatch.setattr(jax.nn, "dot_product_attention", xla)
    monkeypatch.setattr(attention, "attend", lambda q, k, v, mask: attention._on_gpu(q, k, v, mask))
    for one, other in zip(value_and_gradients(q, k, v, mask), written):
        np.testing.assert_allclose(one, other, atol=2e-5)
    assert asked == ["cudnn"]


@pytest.mark.parametrize("stride", [1, 3])
def test_convolutions_of_voices_on_accelerators(stride, on_tpu, monkeypatch):
    """CPUs multiply windows."""
    conv = Conv(6, 5, 5, stride=stride, windowed=True, dtype=jnp.float32, rngs=nnx.Rngs(0))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 31, 6)), jnp.float32)
    ours = conv(x)
    monkeypatch.setattr(sharding, "platform", lambda: "cpu")
    np.testing.assert_allclose(ours, conv(x), atol=1e-5)


def test_the_model_with_kernels_and_recomputation_has_the_same_gradients(on_tpu, monkeypatch):
    config = Wav2Vec2Config(**MINIATURE, remat="dots")
    model = FunctionalModel.abstract(lambda key: Wav2Vec2(config, rngs=nnx.Rngs(params=key)))
    params = model.init(jax.random.key(0))
    waveforms = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8000)), jnp.float32)
    lengths = jnp.asarray([8000, 5000])

    def gradients():
        def loss(params):
            encoded = model.bind(params)(waveforms, lengths)
            real = jnp.arange(encoded.context.shape[1])[None] < encoded.frames[:, None]
            return (jnp.where(real[:, :, None], encoded.context, 0.0) ** 2).sum()

        return jax.jit(jax.grad(loss))(params)

    ours = gradients()
    monkeypatch.setattr(sharding, "platform", lambda: "cpu")
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, atol=1e-4, rtol=1e-3), ours, gradients())


def test_dropout_of_weights_takes_the_written_form(on_tpu):
    case = attention_case(49, 16)
    dropped = attention.attend(*case, 0.5, jax.random.key(0))
    assert not np.allclose(dropped, attention.attend(*case))
