"""Runs that start from another model: what stands still in them, and for how long."""

import json

import jax
import numpy as np
import pytest

from mms_jax.checkpoint import load_model
from mms_jax.config import default_config
from mms_jax.errors import TrainingError
from mms_jax.train import train
from tests.conftest import tone_experiment


@pytest.fixture(scope="module")
def pretrained(tone_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrained")
    config = tone_experiment(tone_data, "pretrain")
    config.total_steps = 1
    train(config, str(folder))
    return folder


def bits(tree):
    return [np.asarray(leaf).view(np.uint32) for leaf in jax.tree.leaves(jax.device_get(tree))]


def same_bits(one, other):
    return all(np.array_equal(a, b) for a, b in zip(bits(one), bits(other)))


def fine_tuning(tone_data, pretrained):
    config = tone_experiment(tone_data)
    config.init_from = str(pretrained)
    config.optimizer.weight_decay = 0.1
    config.optimizer.average = 0.5
    config.optimizer.schedule = "constant"
    config.optimizer.warmup = 0.0
    config.total_steps, config.log_every, config.checkpoint.every = 5, 1, 1
    config.checkpoint.keep_every = 1
    return config


def test_defaults_are_fairseqs_and_the_papers():
    config = default_config("asr")
    assert (config.optimizer.eps, config.optimizer.learning_rate) == (1e-8, 1e-4)
    assert (config.input.beta_corpus, config.input.beta_language) == (0.0, 0.3)
    assert config.fine_tuning.freeze_extractor and config.fine_tuning.freeze_backbone == 0.2
    pretrain = default_config("pretrain")
    assert (pretrain.optimizer.eps, pretrain.input.beta_corpus, pretrain.input.beta_language) == (1e-6, 0.5, 0.5)


def test_the_extractor_never_moves_and_the_backbone_not_at_first(tone_data, pretrained, tmp_path):
    config = fine_tuning(tone_data, pretrained)
    config.fine_tuning.freeze_backbone = 0.4  # two of five updates
    train(config, str(tmp_path))
    origin = load_model(pretrained).params["backbone"]
    steps = [load_model(tmp_path / "checkpoints" / str(step)).params for step in range(1, 6)]
    for step, params in enumerate(steps, 1):
        assert same_bits(params["backbone"]["extractor"], origin["extractor"])
        assert same_bits(params["backbone"]["encoder"], origin["encoder"]) == (step <= 2)
    assert not same_bits(steps[0]["head"], steps[1]["head"])


def test_a_resumed_run_remembers_how_it_began(tone_data, pretrained, tmp_path):
    config = fine_tuning(tone_data, pretrained)
    train(config, str(tmp_path))
    again = fine_tuning(tone_data, pretrained)
    again.init_from = ""
    state = train(again, str(tmp_path))
    assert same_bits(state.params["backbone"]["extractor"], load_model(pretrained).params["backbone"]["extractor"])
    changed = fine_tuning(tone_data, pretrained)
    changed.fine_tuning.freeze_extractor = False
    with pytest.raises(TrainingError, match=r"freeze_extractor: True there, False now"):
        train(changed, str(tmp_path))


@pytest.mark.parametrize("task", ["pretrain", "asr"])
def test_no_gradient_means_no_weight_decay_either(tone_data, tmp_path, task):
    config = tone_experiment(tone_data, task)
    config.model.feature_gradient_scale, config.optimizer.weight_decay = 0.0, 0.1
    config.total_steps, config.checkpoint.every, config.log_every = 2, 1, 1
    state = train(config, str(tmp_path))
    first = load_model(tmp_path / "checkpoints" / "1").params
    assert same_bits(state.params["backbone"]["extractor"], first["backbone"]["extractor"])
    assert not same_bits(state.params["backbone"]["encoder"], first["backbone"]["encoder"])


def test_a_run_that_accumulated_batches_is_not_continued_in_parts(tone_data, tmp_path):
    config = tone_experiment(tone_data)
    config.total_steps = 1
    train(config, str(tmp_path))
    stored = json.loads((tmp_path / "config.json").read_text())
    del stored["input.batch_rows"]  # as an older version wrote it
    (tmp_path / "config.json").write_text(json.dumps(stored | {"optimizer.accumulate": 2}))
    with pytest.raises(
        TrainingError, match=r"of an older version with config\.optimizer\.accumulate=2\. It meant batches"
    ):
        train(config, str(tmp_path))
