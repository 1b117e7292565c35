"""Runs and checkpoints of version 0.1, made by tests/fixtures/make_version_0_1.py, still load and go on."""

import json
import tarfile

import jax
import numpy as np
import pytest

import mms_jax
from mms_jax.checkpoint import load_model
from mms_jax.config import differing_keys
from mms_jax.errors import TrainingError
from mms_jax.evaluate import evaluate
from mms_jax.models.vits import config as voices
from mms_jax.train import train
from tests.conftest import SMALL_VOICE, tone_experiment


@pytest.fixture(scope="module", autouse=True)
def small_voice():
    patch = pytest.MonkeyPatch()
    patch.setitem(voices.GEOMETRIES, "miniature", voices.VitsConfig(**SMALL_VOICE))
    yield
    patch.undo()


@pytest.fixture
def experiment(tone_data, reader_data):
    """Task -> the same experiment by today's keys."""

    def make(task):
        config = tone_experiment(tone_data if task == "asr" else reader_data, task)
        if task == "asr":
            config.model.layerdrop, config.model.activation_dropout = 0.2, 0.1
            config.optimizer.average, config.optimizer.eps = 0.5, 1e-6
            config.input.beta_corpus = config.input.beta_language = 0.5
            return config
        config.model.geometry, config.tts.segment = "miniature", 1024
        config.tts.discriminator_start_step, config.tts.diagonal_prior_steps = 4, 4
        config.input.corpora = ("audio_folder/reader:train",)
        config.input.eval_corpora = ("audio_folder/reader:test",)
        config.optimizer.schedule, config.optimizer.final_scale = "epochs", 0.9
        return config

    return make


@pytest.fixture
def old_run(fixture_file, tmp_path):
    """Task -> the unpacked folder of a run that stopped at step 3."""

    def unpack(task):
        folder = tmp_path / task
        with tarfile.open(fixture_file("version_0_1") / f"{task}.tar.gz") as archive:
            archive.extractall(folder, filter="data")
        return folder

    return unpack


@pytest.mark.parametrize("task", ["asr", "tts"])
def test_an_old_run_goes_on_as_it_would_have(task, old_run, experiment, fixture_file):
    """Its keys are understood, its state is restored, and training goes on from where it was.

    The batches of steps 4 to 6 are others than those of version 0.1, which drew other rows and repeated some: only the
    learning rate is the same. The loss of a voice is near the one that it logged (a new voice's is half as high); that of a
    recognizer depends on the rows as much as on the model, whose parameters are therefore held to those that were stored.
    """
    folder = old_run(task)
    before = load_model(folder).params
    state = train(experiment(task), str(folder))
    assert int(state.step) == 6
    rows = {row["step"]: row for row in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())}
    expected = json.loads((fixture_file("version_0_1") / "expected.json").read_text())[task]
    assert expected
    for step, figures in expected.items():
        assert set(figures) <= set(rows[int(step)])
        assert rows[int(step)]["learning_rate"] == pytest.approx(figures["learning_rate"], rel=1e-5)
        if task == "tts":
            assert rows[int(step)]["loss"] == pytest.approx(figures["loss"], rel=0.25), step
    moved = jax.tree.map(lambda old, new: float(np.abs(np.asarray(new) - old).max()), before, load_model(folder).params)
    # Adam moves a parameter by little more than the learning rate in a step.
    assert 0 < max(jax.tree.leaves(moved)) < 3 * 3 * max(row["learning_rate"] for row in rows.values())


def test_old_checkpoints_are_loaded_and_evaluated(old_run, experiment):
    assert isinstance(mms_jax.load(old_run("tts")), mms_jax.Synthesizer)
    folder = old_run("asr")
    assert mms_jax.load(folder).languages == ("eng", "swh")
    assert evaluate(experiment("asr"), str(folder))["utterances"] == 12


def test_an_old_config_differs_where_it_really_does(old_run, experiment):
    stored = json.loads((old_run("tts") / "config.json").read_text())
    assert stored["tts.flat_start"] == 4 and "pretrain.negatives" in stored, "keys of before, other tasks' among them"
    config = experiment("tts")
    assert differing_keys(config, stored) == {}
    config.tts.diagonal_prior_steps = 5
    assert differing_keys(config, stored) == {"tts.diagonal_prior_steps": (4, 5)}
    with pytest.raises(TrainingError, match=r"tts\.diagonal_prior_steps: 4 there, 5 now"):
        train(config, str(old_run("tts")))


def test_defaults_of_other_tasks_decide_nothing(old_run, experiment):
    stored = json.loads((old_run("asr") / "config.json").read_text())
    assert differing_keys(experiment("asr"), stored | {"pretrain.negatives": 5, "tts.mel_weight": 1.0}) == {}


def test_renamed_corpora_are_the_same_corpora(experiment):
    config = experiment("asr")
    config.input.corpora = ("spoken_phrases/labeled:train",)
    assert "input.corpora" not in differing_keys(config, {"input.corpora": ["spoken_phrases/labelled:train"]})
    assert "input.corpora" in differing_keys(config, {"input.corpora": ["spoken_phrases/labelled:test"]})
