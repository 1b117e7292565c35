"""Every config of `configs/` by its values, so that a changed default is seen in review.

After a change that is meant: python -m tests.test_configs
"""

import importlib.util
import json
import pathlib

import pytest

from mms_jax.config import current_config, default_config, flatten_config
from mms_jax.errors import ConfigError
from mms_jax.tasks import TASKS

ROOT = pathlib.Path(__file__).parents[1]
STORED = ROOT / "tests" / "fixtures" / "configs"
NAMES = sorted(path.stem for path in (ROOT / "configs").glob("*.py"))


def load_config(name):
    specification = importlib.util.spec_from_file_location(name, ROOT / "configs" / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.get_config()


def as_text(config):
    """A line a key, sorted."""
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in sorted(flatten_config(config).items()))


@pytest.mark.parametrize("name", NAMES)
def test_config_has_the_values_that_are_stored(name):
    config = load_config(name)
    assert as_text(current_config(config)) == as_text(config)
    assert as_text(config) == (STORED / f"{name}.txt").read_text(), "if this is meant: python -m tests.test_configs"


def test_every_stored_config_is_there():
    assert sorted(path.stem for path in STORED.glob("*.txt")) == NAMES


@pytest.mark.parametrize("task", sorted(TASKS))
def test_a_task_has_no_keys_of_others(task):
    own = set(flatten_config(default_config(task)))
    for other in set(TASKS) - {task}:
        assert not {name for name in own if name.startswith(f"{other}.")}
    assert ("masking.time_length" in own) == (task != "tts")


def test_config_files_of_version_0_1_still_load():
    """They began with all keys of all tasks, and chose a task."""
    config = default_config()
    config.task = "tts"
    config.tts.geometry, config.tts.flat_start, config.tts.adversarial_from = "tiny", 500, 2100
    config.tts.recogniser = "runs/asr"
    config.input.corpora = ("spoken_phrases/reader:train",)
    current = current_config(config)
    assert current.model.geometry == "tiny" and current.tts.diagonal_prior_steps == 500
    assert current.tts.discriminator_start_step == 2100 and current.tts.recognizer == "runs/asr"
    assert set(flatten_config(current)) == set(flatten_config(default_config("tts")))
    for task in ("asr", "pretrain"):
        config = default_config()
        config.task, config.optimizer.learning_rate = task, 0.5
        expected = default_config(task)
        expected.optimizer.learning_rate, expected.optimizer.eps = 0.5, 1e-6
        expected.input.beta_corpus = expected.input.beta_language = 0.5
        if task == "asr":  # nothing stood still in fine-tuning then
            expected.fine_tuning.freeze_extractor, expected.fine_tuning.freeze_backbone = False, 0.0
        assert current_config(config) == expected
    assert default_config().task == "asr"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("checkpoint.every", 0, r"config\.checkpoint\.every=0 must be at least 1"),
        ("log_every", 0, "config.log_every=0"),
        ("fine_tuning.freeze_backbone", 1.0, "fine_tuning.freeze_backbone=1.0"),
        ("optimizer.accumulate", 0, "optimizer.accumulate=0"),
        ("hubert.unmasked_weight", -1.0, "hubert.unmasked_weight=-1.0"),
        ("input.rows_multiple", 0, "input.rows_multiple=0"),
        ("input.workers", -1, "input.workers=-1 must be at least 0"),
        ("seed", -1, "config.seed=-1"),
        ("mesh.fsdp", 0, "mesh.fsdp=0"),
        ("masking.time_length", 0, "masking.time_length=0"),
        ("optimizer.average", 2.0, r"optimizer\.average=2\.0 must be below 1\.0"),
        ("input.corpora", (), r"config\.input\.corpora is empty"),
        ("input.bucket_seconds", (), "bucket_seconds is empty"),
    ],
)
def test_impossible_values_are_named(key, value, message):
    config = default_config("hubert" if key.startswith("hubert") else "asr")
    config.update_from_flattened_dict({key: value})
    with pytest.raises(ConfigError, match=message):
        current_config(config)


def test_unknown_tasks_and_keys_are_named():
    with pytest.raises(ConfigError, match=r"config\.task='singing'; choose one of pretrain, hubert, asr, lid, tts"):
        default_config("singing")
    with pytest.raises(AttributeError, match="learning_rate"):
        default_config("asr").optimizer.learning_rat = 1.0


if __name__ == "__main__":
    STORED.mkdir(exist_ok=True)
    for path in STORED.glob("*.txt"):
        path.unlink()
    for config_name in NAMES:
        (STORED / f"{config_name}.txt").write_text(as_text(load_config(config_name)))
