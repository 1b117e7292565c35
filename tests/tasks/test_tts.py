"""The losses of VITS are the original's, on its own weights; and its training step does what it says."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from mms_jax.audio.spectrogram import log_mel, magnitudes
from mms_jax.config import default_config
from mms_jax.interop.vits import load_folder
from mms_jax.models.functional import FunctionalModel
from mms_jax.models.vits.config import VitsConfig
from mms_jax.models.vits.discriminators import Discriminators
from mms_jax.models.vits.model import Vits
from mms_jax.optimizers import make_optimizer, one_for_each
from mms_jax.tasks.tts import forward
from mms_jax.tasks.tts import loss as losses
from mms_jax.tasks.tts.task import TtsTask
from mms_jax.text.voice_tokenizer import VoiceTokenizer
from tests.interop.test_vits import formula_discriminators
from tests.models.test_vits import SMALL, shaken

FLOAT = jnp.dtype("float32")


def experiment(**changes):
    config = default_config("tts")
    config.tts.segment = 256
    config.input.min_seconds = 0.1
    config.optimizer.learning_rate = 1e-3
    config.optimizer.schedule = "constant"
    for name, value in changes.items():
        config[name] = value
    return config


@pytest.mark.parametrize("name", ["original", "resblock2"])
def test_losses_are_the_originals(fixture_file, name):
    answers = np.load(fixture_file("vits") / name / "answers.npz")
    stored = load_folder(fixture_file("vits") / name)
    config = VitsConfig.from_json(stored.description["model"])
    task = TtsTask(experiment(), config, VoiceTokenizer.from_json(stored.description["text"]))
    frames = answers["samples"] // config.hop
    rows, symbols = answers["symbols"].shape
    batch = {
        "waveforms": answers["waveforms"],
        "lengths": answers["samples"],
        "labels": answers["symbols"],
        "label_lengths": answers["lengths"],
        "counted": np.ones(rows, bool),
    }
    still = forward.Randomness(
        jnp.zeros((rows, frames.max(), config.latent)),
        jnp.zeros((rows, symbols, 2)),
        jnp.asarray((answers["starts"] + 0.5) / (frames - 15), jnp.float32),
        None,
    )
    model = FunctionalModel.abstract(lambda key: Vits(config, dtype=FLOAT, rngs=nnx.Rngs(params=key)))
    run = jax.jit(
        lambda params, batch, random: forward.generate(model.bind(params), batch, random, segment=task.segment)
    )
    out = run(stored.params["voice"], batch, still)

    for row, count in enumerate(frames):
        np.testing.assert_array_equal(out.symbol[row, :count], answers["path"][row, :count])
    np.testing.assert_allclose(out.segments, answers["segment"], atol=1e-4)
    for found, key in (
        (out.losses["duration"], "duration_loss"),
        (out.losses["kl"], "kl_loss"),
        (out.losses["mel"], "mel_loss"),
    ):
        np.testing.assert_allclose(found.mean(), answers[key], rtol=1e-4)


def test_spectrograms_are_the_originals(fixture_file):
    answers = np.load(fixture_file("vits") / "original" / "answers.npz")
    ours = magnitudes(answers["waveforms"], answers["samples"], 256, 16)
    for row, count in enumerate(answers["samples"] // 16):
        np.testing.assert_allclose(ours[row, :count].T, answers["spectrogram"][row, :, :count], atol=1e-4)
        np.testing.assert_allclose(log_mel(ours[row, :count], 16_000).T, answers["mel"][row, :, :count], atol=1e-3)


def test_discriminator_losses_are_the_originals(fixture_file):
    answers = np.load(fixture_file("vits") / "original" / "answers.npz")
    config = VitsConfig.from_json(load_folder(fixture_file("vits") / "original").description["model"])
    model = FunctionalModel.abstract(lambda key: Discriminators(config, dtype=FLOAT, rngs=nnx.Rngs(params=key)))
    look = jax.jit(lambda params, x: model.bind(params)(x))
    params = formula_discriminators(config)
    real = np.stack([row[16 * start :][:256] for row, start in zip(answers["waveforms"], answers["starts"])])
    seen_real, seen = look(params, real), look(params, answers["segment"])
    counted = jnp.ones(2, bool)
    np.testing.assert_allclose(
        losses.discriminator_loss(seen_real, seen, counted).mean(), answers["discriminator_loss"], rtol=1e-3
    )
    np.testing.assert_allclose(losses.adversarial_loss(seen, counted).mean(), answers["adversarial_loss"], rtol=1e-3)
    np.testing.assert_allclose(losses.feature_loss(seen_real, seen, counted).mean(), answers["feature_loss"], rtol=1e-3)


# What is compiled takes every array as an argument: XLA would work out what depends on constants alone, and slowly.
@pytest.fixture(scope="module")
def small():
    """(task, model, parameters, batch) of a small voice; the last row is padding, the one before too short."""
    text = VoiceTokenizer.from_characters("abcdefghi", "swh")
    task = TtsTask(experiment(), SMALL, text)
    model = FunctionalModel.abstract(task.build)
    rng = np.random.default_rng(0)
    lengths = np.asarray([900, 640, 800, 200, 0])
    waveforms = rng.normal(0, 0.1, (5, 900)).astype(np.float32) * (np.arange(900) < lengths[:, None])
    waveforms[2] = 0  # a silent clip
    batch = {
        "waveforms": waveforms,
        "lengths": lengths,
        "labels": rng.integers(0, 11, (5, 24)),
        "label_lengths": np.asarray([21, 9, 11, 5, 0]),
        "counted": np.asarray([True, True, True, True, False]),
    }
    return task, model, shaken(model, 0.02), batch


@pytest.fixture(scope="module")
def draw(small):
    """Randomness for its batch, without dropout."""
    task, _, _, batch = small
    return jax.jit(lambda key: forward.draw(task.model, batch, key, train=False))(jax.random.key(1))


@pytest.fixture(scope="module")
def generate(small):
    """(parameters, batch, randomness) -> Generated, compiled once for all tests."""
    task, model, *_ = small
    return jax.jit(
        lambda params, batch, random: forward.generate(model.bind(params).voice, batch, random, segment=task.segment)
    )


def test_rows_without_weight_change_nothing(small, draw, generate):
    _, _, params, batch = small
    everything = generate(params, batch, draw)
    np.testing.assert_array_equal(everything.counted, [True, True, True, False, False])
    some = jax.tree.map(lambda leaf: leaf[:3], {**batch})
    alone = generate(params, some, forward.Randomness(draw.posterior[:3], draw.durations[:3], draw.segment[:3], None))
    for name, found in alone.losses.items():
        assert np.isfinite(found.sum)
        np.testing.assert_allclose(everything.losses[name].sum, found.sum, rtol=1e-4)
        np.testing.assert_allclose(everything.losses[name].weight, found.weight)


def test_padding_of_a_batch_changes_nothing(small, draw, generate):
    """The same rows in longer arrays: the same losses."""
    _, _, params, batch = small
    wide = batch | {
        "waveforms": np.pad(batch["waveforms"], ((0, 0), (0, 700)), constant_values=0.3),
        "labels": np.pad(batch["labels"], ((0, 0), (0, 9)), constant_values=3),
    }
    wide_draw = forward.Randomness(
        jnp.pad(draw.posterior, ((0, 0), (0, 43), (0, 0)), constant_values=1.0),
        jnp.pad(draw.durations, ((0, 0), (0, 9), (0, 0)), constant_values=1.0),
        draw.segment,
        None,
    )
    narrow, padded = generate(params, batch, draw), generate(params, wide, wide_draw)
    for name, found in narrow.losses.items():
        np.testing.assert_allclose(padded.losses[name].mean(), found.mean(), rtol=1e-4)


def updated(task, model, params, batch, optimizer, steps=1):
    state = optimizer.init(params)
    step = jax.jit(lambda *arrays: task.update(model, optimizer, *arrays, jnp.int32(0)))
    for number in range(steps):
        params, state, metrics = step(params, state, batch, jax.random.key(number))
    return params, state, metrics


@pytest.mark.slow
def test_update_is_the_two_gradients(small):
    """One step of plain descent, against gradients taken in the open: first the discriminators', then the voice's.

    Before the discriminators join in, they stand still.
    """
    _, model, params, batch = small
    config = experiment()
    config.tts.discriminator_start_step = 5
    task = TtsTask(config, SMALL, small[0].tokenizer)
    optimizer = one_for_each(("voice", "discriminators"), optax.sgd(1e-2))
    step = jax.jit(
        lambda params, batch, number: task.update(
            model, optimizer, params, optimizer.init(params), batch, jax.random.key(0), number
        )
    )
    before, _, metrics = step(params, batch, 4)
    for ours, theirs in zip(*map(jax.tree.leaves, (before["discriminators"], params["discriminators"]))):
        np.testing.assert_array_equal(ours, theirs)
    assert metrics["adversarial"].weight == metrics["discriminator"].weight == 0 < metrics["mel"].weight
    after, _, metrics = step(params, batch, 5)
    random = forward.draw(task.model, batch, jax.random.key(0))

    def discriminators_loss(part, voice, batch, random):
        module = model.bind({"voice": voice, "discriminators": part})
        out = forward.generate(module.voice, batch, random, segment=task.segment)
        return losses.discriminator_loss(
            module.discriminators(out.real), module.discriminators(jax.lax.stop_gradient(out.segments)), out.counted
        ).mean()

    gradients = jax.jit(jax.grad(discriminators_loss))(params["discriminators"], params["voice"], batch, random)
    moved = jax.tree.map(lambda p, g: p - 1e-2 * g, params["discriminators"], gradients)

    def voice_loss(part, moved, batch, random):
        module = model.bind({"voice": part, "discriminators": moved})
        out = forward.generate(module.voice, batch, random, segment=task.segment)
        seen_real, seen = module.discriminators(out.real), module.discriminators(out.segments)
        return (
            45 * out.losses["mel"].mean() + out.losses["kl"].mean() + out.losses["duration"].mean()
            + losses.adversarial_loss(seen, out.counted).mean()
            + losses.feature_loss(jax.lax.stop_gradient(seen_real), seen, out.counted).mean()
        )  # fmt: skip

    total, gradients = jax.jit(jax.value_and_grad(voice_loss))(params["voice"], moved, batch, random)
    voice = jax.tree.map(lambda p, g: p - 1e-2 * g, params["voice"], gradients)
    np.testing.assert_allclose(metrics["loss"].mean(), total, rtol=1e-4)
    assert metrics["infeasible"].sum == 1 and metrics["infeasible"].weight == 4
    for ours, theirs, before in zip(*map(jax.tree.leaves, (after, {"discriminators": moved, "voice": voice}, params))):
        scale = np.abs(np.asarray(theirs) - np.asarray(before)).max()
        np.testing.assert_allclose(ours, theirs, atol=1e-3 * scale + 1e-6)


def test_the_losses_fall(small):
    task, model, params, batch = small
    optimizer, _ = make_optimizer(experiment().optimizer, 100, 10)
    optimizer = one_for_each(("voice", "discriminators"), optimizer)
    _, _, first = updated(task, model, params, batch, optimizer)
    _, state, last = updated(task, model, params, batch, optimizer, steps=20)
    for name in ("mel", "discriminator"):
        assert last[name].mean() < first[name].mean(), name
    counts = [leaf for leaf in jax.tree.leaves(state) if leaf.dtype == jnp.int32]
    assert all(count == 20 for count in counts)


def test_impossible_settings():
    text = VoiceTokenizer.from_characters("abc", "swh")
    short = experiment()
    short.input.min_seconds = 0.01
    with pytest.raises(
        ValueError, match=r"shorter than the segments of config.tts.segment=256 samples; raise it to 0.04"
    ):
        TtsTask(short, SMALL, text)
    odd = experiment()
    odd.tts.segment = 260
    with pytest.raises(ValueError, match="must be a multiple of 16"):
        TtsTask(odd, SMALL, text)
    odd.tts.segment = 8192
    odd.input.min_seconds = 1.0
    with pytest.raises(ValueError, match="speaks at 22050 Hz"):
        TtsTask(odd, VitsConfig(rate=22_050), text)


def test_bfloat16_is_near(small, draw, generate):
    """Convolutions and products in bfloat16; what sums and compares stays float32."""
    task, _, params, batch = small
    half = TtsTask(experiment(compute_dtype="bfloat16"), SMALL, task.tokenizer)
    half_model = FunctionalModel.abstract(half.build)
    whole = generate(params, batch, draw)
    near = jax.jit(
        lambda params, *inputs: forward.generate(half_model.bind(params).voice, *inputs, segment=half.segment)
    )(params, batch, draw)
    for name in ("mel", "kl", "duration"):
        assert near.losses[name].sum.dtype == jnp.float32
        np.testing.assert_allclose(near.losses[name].mean(), whole.losses[name].mean(), rtol=0.05)
