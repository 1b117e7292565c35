"""Experiments by name, and their wrong arguments."""

import subprocess
import sys

import pytest

from mms_jax.config import default_config
from mms_jax.errors import ConfigError
from mms_jax.experiment import find_config, shipped_configs
from mms_jax.train import train


def test_experiments_are_found_by_name_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    expected = shipped_configs()["asr_folder"]
    for given in ("asr_folder", "asr_folder.py", "configs/asr_folder.py", str(expected)):
        assert find_config(given) == expected or find_config(given).samefile(expected)
    with pytest.raises(
        ConfigError,
        match=r"asr_foldr: no such file, .*; you may mean asr_folder; shipped: asr_1b, asr_300m, asr_asterisk",
    ):
        find_config("asr_foldr")
    with pytest.raises(ConfigError, match=r"experiments/asr_folder\.py: no such file"):
        find_config("experiments/asr_folder.py")


def run_train(folder, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "mms_jax.train", *arguments], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    return done.stderr


def test_wrong_arguments_of_an_experiment_are_one_line(tmp_path):
    """From another folder; the message names the nearest key."""
    message = run_train(tmp_path, "--config=asr_folder", "--workdir=r", "--config.optimzer.learning_rate=1")
    assert (
        message == "error: --config.optimzer.learning_rate: no such key; you may mean optimizer instead of optimzer\n"
    )
    message = run_train(tmp_path, "--config=asr_folder", "--workdir=r", "--config.model.geometry=tinny")
    assert message == "error: no geometry 'tinny'; there are tiny, small, 300m, 1b, 3b, 7b\n", (
        "before any corpus is read"
    )
    (tmp_path / "file").touch()
    assert "--workdir=file is a file; name a folder" in run_train(tmp_path, "--config=asr_folder", "--workdir=file")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [("model.geometry", "tinny", "no geometry"), ("compute_dtype", "float16", "choose float32 or bfloat16")],
)
@pytest.mark.parametrize("task", ["asr", "pretrain", "tts"])
def test_settings_are_checked_before_the_corpora(task, key, value, message, tmp_path):
    config = default_config(task)
    config.update_from_flattened_dict({key: value})
    with pytest.raises(ConfigError, match=message):
        train(config, str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
