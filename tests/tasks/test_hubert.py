"""Masked prediction of clusters: its targets are those of librosa and SciPy, and it leaves chance."""

import json

import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest
import scipy.fft
import scipy.signal

import mms_jax
from mms_jax.checkpoint import load_model
from mms_jax.cli import main
from mms_jax.errors import CorpusError
from mms_jax.evaluate import evaluate
from mms_jax.models.wav2vec2.config import Wav2Vec2Config
from mms_jax.tasks.hubert import targets
from mms_jax.tasks.hubert.loss import cluster_loss, cluster_shares
from mms_jax.tasks.hubert.task import HubertTask
from mms_jax.tasks.weighted import Loss, Weighted
from mms_jax.train import train
from tests.conftest import MINIATURE, tone_experiment


def cepstra_reference(waveform, config):
    """One row, with NumPy, librosa and SciPy."""
    frames = config.frames(len(waveform))
    windows = np.stack([waveform[320 * k : 320 * k + 400] for k in range(frames)]).astype(np.float64)
    power = np.abs(np.fft.rfft(windows * scipy.signal.get_window("hann", 400), 512)) ** 2
    mel = power @ librosa.filters.mel(sr=16_000, n_fft=512, n_mels=40).T.astype(np.float64)
    statics = scipy.fft.dct(np.log(mel + 1e-5), norm="ortho", axis=1)[:, :13]
    padded = np.pad(statics, ((2, 2), (0, 0)), mode="edge")
    slopes = sum(offset * padded[2 + offset : 2 + offset + frames] for offset in (-2, -1, 1, 2)) / 10
    both = np.concatenate([statics, slopes], axis=1)
    return (both - both.mean(axis=0)) / np.sqrt(both.var(axis=0) + 1e-5)


def test_cepstra_equal_their_reference_with_padding():
    config = Wav2Vec2Config(**MINIATURE)
    rng = np.random.default_rng(0)
    rows = [rng.normal(size=8000), np.sin(np.arange(5000) / 9.0) + 0.1 * rng.normal(size=5000)]
    batch = np.zeros((3, 8000), np.float32)
    for row, waveform in enumerate(rows):
        batch[row, : len(waveform)] = waveform
    found = targets.cepstra(jnp.asarray(batch), jnp.asarray([8000, 5000, 0]), config)
    for row, waveform in enumerate(rows):
        expected = cepstra_reference(waveform, config)
        np.testing.assert_allclose(found[row, : len(expected)], expected, atol=2e-3)
        np.testing.assert_array_equal(found[row, len(expected) :], 0)
    assert np.isfinite(found).all()


def test_clusters_are_the_nearest_and_do_not_hear_the_phase():
    config = Wav2Vec2Config(**MINIATURE)
    rng = np.random.default_rng(0)
    features, centers = rng.normal(size=(50, 26)).astype(np.float32), rng.normal(size=(9, 26)).astype(np.float32)
    expected = ((features[:, None] - centers[None]) ** 2).sum(axis=2).argmin(axis=1)
    np.testing.assert_array_equal(targets.nearest(jnp.asarray(features), jnp.asarray(centers)), expected)

    # A shift by half a millisecond changes few targets.
    time = np.arange(48_008) / 16_000
    vowels = sum(np.sin(2 * np.pi * k * (120 + 40 * np.sin(3 * time)) * time) / k for k in range(1, 20))
    waveform = (vowels * (1 + np.sin(9 * time)) + 0.05 * rng.normal(size=len(time))).astype(np.float32)
    pair = jnp.asarray(np.stack([waveform[:48_000], waveform[8:]]))
    found = targets.cepstra(pair, jnp.asarray([48_000, 48_000]), config)
    fitted = targets.fit_centers(np.asarray(found[0]), 10, seed=0)
    codes = targets.nearest(found, jnp.asarray(fitted))
    assert np.mean(np.asarray(codes[0] != codes[1])) < 0.2


def test_loss_and_chance_by_hand():
    """Two masked frames, one that is heard, and one of padding."""
    rows = [[0.7, 0.2, 0.1], [0.1, 0.1, 0.8], [0.3, 0.4, 0.3], [0.9, 0.05, 0.05]]
    logits, labels = jnp.log(jnp.asarray([rows])), jnp.asarray([[0, 1, 1, 0]])
    masked, real = jnp.asarray([[True, True, False, False]]), jnp.asarray([[True, True, True, False]])
    covered, heard = -np.log(0.7) - np.log(0.1), -np.log(0.4)
    for weight in (0.0, 0.5, 1.0):
        loss = cluster_loss(logits, labels, masked, real, weight)
        assert float(loss.total.sum) == pytest.approx(covered + weight * heard, rel=1e-5)
        assert float(loss.total.weight) == 2 + weight
        assert float(loss.metrics["cross_entropy"].mean()) == pytest.approx(covered / 2, rel=1e-5)
        figures = {name: (float(value.sum), float(value.weight)) for name, value in loss.metrics.items()}
        assert figures["accuracy"] == (1, 2) and figures["unmasked_accuracy"] == (1, 1)
    shares = cluster_shares(jnp.asarray([[0, 2, 2, 1]]), jnp.asarray([[True, True, True, False]]), 3)
    np.testing.assert_allclose(shares.mean(), [1 / 3, 0, 2 / 3])


def test_chance_of_an_evaluation_is_one_guess_for_all_batches():
    """Each batch has a most frequent cluster of its own; over both, every cluster is as frequent."""

    class Task(HubertTask):
        def __init__(self):
            pass

        def _loss_and_shares(self, module, batch, key, *, train):
            one = Weighted(jnp.ones(()), jnp.ones(()))
            figures = {"accuracy": one, "cross_entropy": one}
            return Loss(one, figures), cluster_shares(batch["targets"], batch["targets"] >= 0, 3)

    class Model:
        def bind(self, params):
            return params

    class Data:
        def batches(self):
            for cluster in range(3):
                yield {"item": np.zeros(1, np.int32), "targets": np.full((1, 5), cluster)}

    gathered = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    result = Task().make_evaluation(Model(), gathered)({}, Data())
    assert result["chance"] == pytest.approx(1 / 3) and type(result["chance"]) is float


def test_centers_stay_and_travel_with_the_run(tone_data, tmp_path):
    """They are fitted at the first start only, and weight decay does not move them by a bit."""
    config = tone_experiment(tone_data, "hubert")
    config.hubert.clusters, config.optimizer.weight_decay = 8, 0.1
    config.total_steps, config.checkpoint.every, config.log_every = 2, 1, 1
    state = train(config, str(tmp_path))
    centers = np.asarray(state.params["centers"])
    assert len(np.unique(centers, axis=0)) == 8
    (first,) = (load_model(tmp_path / "checkpoints" / "1").params["centers"],)
    np.testing.assert_array_equal(np.asarray(first).view(np.uint32), centers.view(np.uint32))
    result = evaluate(config, str(tmp_path))
    assert 0 <= result["accuracy"] <= 1 and 0.125 <= result["chance"] < 1
    assert mms_jax.load(tmp_path).features([np.ones(1600, np.float32)])[0].shape == (4, 32)
    exported = str(tmp_path / "exported")
    assert main(["convert", str(tmp_path), exported, "--to", "huggingface"]) == 0
    waveform = np.sin(np.arange(3200, dtype=np.float32) / 7)
    ours, theirs = (mms_jax.load(model).features([waveform])[0] for model in (tmp_path, exported))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    with pytest.raises(CorpusError, match=r"longer than a mask of config.masking.time_length=400 frames \(8.00 s\)"):
        config.masking.time_length = 400
        train(config, str(tmp_path / "other"))


@pytest.mark.slow
def test_it_leaves_chance(tone_data, tmp_path):
    config = tone_experiment(tone_data, "hubert")
    config.hubert.clusters, config.total_steps, config.optimizer.learning_rate = 8, 150, 3e-3
    config.log_every, config.checkpoint.every, config.masking.time_length = 25, 150, 4
    train(config, str(tmp_path))
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["accuracy"] > 1.5 * rows[-1]["chance"]
