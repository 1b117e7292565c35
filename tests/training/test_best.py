"""The best checkpoint by a score on the dev corpora."""

import pathlib

import numpy as np
import pytest

import mms_jax
from mms_jax.checkpoint import load_model
from mms_jax.config import default_config
from mms_jax.errors import CheckpointError, ConfigError
from mms_jax.evaluate import evaluate
from mms_jax.files import write_json
from mms_jax.inference.recognizer import Recognizer
from mms_jax.train import train
from mms_jax.training.best import Best
from tests.conftest import tone_experiment


def following(metric="cer", mode="min"):
    config = default_config("asr")
    config.checkpoint.best, config.checkpoint.best_mode, config.eval_every = metric, mode, 1
    return config


def offer(best, *scores, first=1, metric="cer"):
    for step, score in enumerate(scores, first):
        best.offer(step, {"w": np.full(2, step, np.float32)}, {"kind": "toy", "model": {}}, {metric: score, "by": {}})


def kept(folder):
    stored = load_model(f"{folder}@best")
    assert len(list((pathlib.Path(folder) / "best" / "checkpoints").iterdir())) == 1
    assert stored.params["w"][0] == stored.step == stored.description["chosen"]["step"]
    return stored.step


def test_the_lowest_or_highest_is_kept_also_after_a_restart(tmp_path):
    offer(Best(tmp_path, following()), 0.5, 0.3, 0.4, 0.3)
    assert kept(tmp_path) == 2
    offer(Best(tmp_path, following()), 0.35, 0.25, first=5)
    assert kept(tmp_path) == 6
    highest = tmp_path / "highest"
    offer(Best(highest, following("accuracy", "max")), 0.1, 0.3, 0.2, metric="accuracy")
    assert kept(highest) == 2
    with pytest.raises(ConfigError, match=r"'wer' is no figure of the evaluation; choose one of cer"):
        offer(Best(tmp_path / "other", following("wer")), 0.5)


def test_what_is_not_a_number_is_never_the_best(tmp_path):
    offer(Best(tmp_path, following()), float("nan"), 0.4, float("nan"))
    assert kept(tmp_path) == 2


def test_scores_on_other_corpora_do_not_count(tmp_path):
    offer(Best(tmp_path, following()), 0.1)
    config = following()
    config.input.dev_corpora = ("audio_folder/other:validation",)
    offer(Best(tmp_path, config), 0.4, first=2)
    assert kept(tmp_path) == 2


def test_settings_that_cannot_be_followed(tone_config, tmp_path):
    tone_config.checkpoint.best = "cer"
    with pytest.raises(ConfigError, match=r"set config\.eval_every and config\.input\.dev_corpora"):
        train(tone_config, str(tmp_path))
    tone_config.eval_every, tone_config.checkpoint.best_mode = 2, "least"
    with pytest.raises(ConfigError, match="choose min or max"):
        train(tone_config, str(tmp_path))
    tone_config.checkpoint.best, tone_config.checkpoint.best_mode = "ser", "min"
    with pytest.raises(ConfigError, match=r"best='ser' is no figure of the evaluation; choose one of cer, wer"):
        train(tone_config, str(tmp_path))


def test_a_run_keeps_its_best_and_evaluate_says_which_it_used(tone_data, tmp_path):
    config = tone_experiment(tone_data)
    config.checkpoint.best, config.eval_every, config.total_steps = "cer", 2, 4
    train(config, str(tmp_path))
    stored = load_model(f"{tmp_path}@best")
    assert stored.step in (2, 4) and stored.description["history"]["corpora"] == ["audio_folder/tones:train"]
    recognizer = mms_jax.load(f"{tmp_path}@best")
    assert isinstance(recognizer, Recognizer)
    newest, best = evaluate(config, str(tmp_path)), evaluate(config, f"{tmp_path}@best")
    write_json(tmp_path / "best" / "evaluation.json", best)
    assert evaluate(config, f"{tmp_path}@best") == best  # its scores on the test do not take the place of those on dev
    assert load_model(f"{tmp_path}@best").description["evaluation"]["corpora"] == ["audio_folder/tones:test"]
    assert evaluate(config, f"{tmp_path}/checkpoints/3")["checkpoint"] == "the one that was named"
    assert newest["checkpoint"] == "newest" and newest["step"] == 4
    assert best["checkpoint"].startswith("best cer on audio_folder/tones:test: ") and best["step"] == stored.step
    assert best["cer"] == pytest.approx(stored.description["chosen"]["cer"])


def test_a_run_without_a_best_checkpoint_says_how_to_get_one(tone_data, tmp_path):
    config = tone_experiment(tone_data)
    config.total_steps = 1
    train(config, str(tmp_path))
    with pytest.raises(
        CheckpointError, match=r"keeps no best checkpoint; train it with --config\.checkpoint\.best=cer"
    ):
        mms_jax.load(f"{tmp_path}@best")
