"""A batch computed in parts gives the update of the whole batch: loss, gradients, parameters; for every task.

The parts hold unequal amounts of speech, and one of them only padding.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mms_jax.config import default_config
from mms_jax.models.functional import FunctionalModel
from mms_jax.models.wav2vec2.config import Wav2Vec2Config
from mms_jax.optimizers import one_for_each
from mms_jax.tasks.asr.task import AsrTask
from mms_jax.tasks.parts import split_rows
from mms_jax.tasks.pretrain import loss as losses
from mms_jax.tasks.pretrain.task import PretrainTask
from mms_jax.tasks.tts.task import TtsTask
from mms_jax.text.vocabulary import Vocabulary
from mms_jax.text.voice_tokenizer import VoiceTokenizer
from tests.conftest import MINIATURE
from tests.models.test_vits import SMALL, shaken
from tests.tasks.test_tts import experiment

LENGTHS = np.asarray([8000, 3000, 4000, 0, 6100, 0, 2000, 0])


def speech_batch(rng):
    waveforms = rng.normal(size=(8, 8000)).astype(np.float32) * (np.arange(8000) < LENGTHS[:, None])
    return {
        "waveforms": waveforms,
        "lengths": LENGTHS,
        "item": np.where(LENGTHS > 0, np.arange(8), -1),
        "counted": LENGTHS > 0,
        "language": np.zeros(8, np.int32),
        "labels": rng.integers(1, 4, (8, 8)),
        "label_lengths": np.asarray([8, 2, 3, 0, 5, 0, 1, 0]),
    }


def both_updates(task, model, params, batch, optimizer, parts=4):
    def run(number):
        step = jax.jit(
            lambda params, batch: task.update(
                model, optimizer, params, optimizer.init(params), batch, jax.random.key(3), jnp.int32(5), number
            )
        )
        after, _, metrics = step(params, batch)
        return after, metrics

    return run(1), run(parts)


def assert_same(one, other, before):
    for (path, ours), theirs, old in zip(
        jax.tree_util.tree_leaves_with_path(one[0]), jax.tree.leaves(other[0]), jax.tree.leaves(before)
    ):
        moved = np.abs(np.asarray(theirs) - np.asarray(old)).max()
        np.testing.assert_allclose(ours, theirs, atol=2e-3 * moved + 1e-7, err_msg=str(path))
    for name in ("loss", "gradient_norm"):
        np.testing.assert_allclose(one[1][name].mean(), other[1][name].mean(), rtol=1e-3)


def test_recognition_in_parts():
    config = default_config("asr")
    config.masking.time_probability, config.masking.time_minimum = 0.0, 0
    task = AsrTask(config, Wav2Vec2Config(**MINIATURE), Vocabulary.from_alphabets({"swh": "abc"}))
    model = FunctionalModel.abstract(task.build)
    params = jax.jit(model.init)(jax.random.key(0))
    one, other = both_updates(task, model, params, speech_batch(np.random.default_rng(0)), optax.sgd(0.1))
    assert_same(one, other, params)
    assert float(one[1]["loss"].weight) == float(other[1]["loss"].weight) == 5


def test_pretraining_in_parts():
    """Against the losses of the paper over the pooled frames of all parts, with the masks that the parts draw."""
    config, penalty = default_config("pretrain"), 10.0
    config.masking.time_length, config.masking.time_minimum = 2, 1
    config.pretrain.negatives, config.pretrain.penalty_weight, config.pretrain.diversity_weight = 5, penalty, 3.0
    task = PretrainTask(config, Wav2Vec2Config(**MINIATURE))
    model = FunctionalModel.abstract(task.build)
    params = jax.jit(model.init)(jax.random.key(0))
    batch, step = speech_batch(np.random.default_rng(1)), jnp.int32(5)
    optimizer, parts = optax.sgd(0.1), 4

    def pooled(params, batch):
        contrastive, masked, penalized, frames, codes, valid = 0.0, 0.0, 0.0, 0.0, [], []
        rows = split_rows(batch, parts)
        for part, key in enumerate(jax.random.split(jax.random.key(3), parts)):
            mine = jax.tree.map(lambda x, part=part: x[part], rows)
            out, negative_key = task._predict(model.bind(params), mine, key, step, train=True)
            negatives = losses.sample_negatives(negative_key, out.valid, 5)
            found, _ = losses.contrastive_loss(
                out.predicted, out.target, out.quantized.codes, negatives, out.valid, 0.1
            )
            contrastive, masked = contrastive + found.sum, masked + found.weight
            real = jnp.arange(out.encoded.masked.shape[1]) < out.encoded.frames[:, None]
            energy = losses.feature_penalty(out.encoded.extracted, real)
            penalized, frames = penalized + energy.sum, frames + energy.weight
            codes.append(jax.nn.softmax(out.quantized.logits.reshape(-1, 2, 6)))
            valid.append(out.valid.reshape(-1))
        chosen = jnp.concatenate(valid)
        mean = jnp.sum(jnp.where(chosen[:, None, None], jnp.concatenate(codes), 0.0), axis=0) / jnp.sum(chosen)
        perplexity = jnp.sum(jnp.exp(-jnp.sum(mean * jnp.log(mean + 1e-7), axis=-1)))
        return contrastive / masked + 3.0 * (12 - perplexity) / 12 + penalty * penalized / frames

    value, gradients = jax.jit(jax.value_and_grad(pooled))(params, batch)
    after, _, metrics = jax.jit(
        lambda params, batch: task.update(
            model, optimizer, params, optimizer.init(params), batch, jax.random.key(3), step, parts
        )
    )(params, batch)
    np.testing.assert_allclose(metrics["loss"].mean(), value, rtol=1e-4)
    np.testing.assert_allclose(metrics["gradient_norm"].mean(), optax.tree.norm(gradients), rtol=1e-3)
    for ours, old, gradient in zip(*map(jax.tree.leaves, (after, params, gradients))):
        np.testing.assert_allclose(ours, old - 0.1 * gradient, atol=1e-3 * float(np.abs(gradient).max()) + 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("start", [0, 9], ids=["with discriminators", "before them"])
def test_a_voice_in_parts(start):
    config = experiment()
    config.tts.discriminator_start_step = start
    task = TtsTask(config, SMALL, VoiceTokenizer.from_characters("abcdefghi", "swh"))
    model = FunctionalModel.abstract(task.build)
    rng = np.random.default_rng(0)
    lengths = np.asarray([900, 640, 800, 0])
    batch = {
        "waveforms": rng.normal(0, 0.1, (4, 900)).astype(np.float32) * (np.arange(900) < lengths[:, None]),
        "lengths": lengths,
        "labels": rng.integers(0, 11, (4, 24)),
        "label_lengths": np.asarray([21, 9, 11, 0]),
        "counted": lengths > 0,
    }
    params = shaken(model, 0.02)
    optimizer = one_for_each(task.parts, optax.sgd(1e-2))
    one, other = both_updates(task, model, params, batch, optimizer, parts=2)
    assert_same(one, other, params)
