"""A run that hangs ends by itself, and says where; one that is slow does not."""

import os
import pathlib
import subprocess
import sys
import time

import pytest

from mms_jax.errors import TRY_AGAIN
from mms_jax.training.watchdog import Watchdog

ROOT = pathlib.Path(__file__).parents[2]
PROGRAM = """
import time
from mms_jax.training.watchdog import Watchdog

def hangs():
    time.sleep(60)

with Watchdog({factor}, 0.5) as watchdog:
    for _ in range(10):
        time.sleep(0.01)
        watchdog.step()
    hangs()
"""


def run(factor):
    command = [sys.executable, "-c", PROGRAM.format(factor=factor)]
    return subprocess.run(command, capture_output=True, text=True, timeout=50, env=os.environ)


def test_a_first_step_that_never_ends_ends_too():
    program = PROGRAM.replace("range(10)", "range(0)").format(factor=20)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50)
    assert done.returncode == TRY_AGAIN and "in hangs" in done.stderr


def test_a_step_that_never_ends_ends_the_process_and_shows_where():
    begun = time.monotonic()
    done = run(factor=20)
    assert done.returncode == TRY_AGAIN and time.monotonic() - begun < 30
    assert "in hangs" in done.stderr and "no step has finished" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")


TRAINING = """
import sys, time
from mms_jax import train as training
from tests.conftest import MINIATURE, tone_experiment
from mms_jax.models.wav2vec2 import config as geometries

geometries.GEOMETRIES["miniature"] = geometries.Wav2Vec2Config(**MINIATURE)
original = training.make_train_step

def make(*arguments):
    step_fn = original(*arguments)
    count = []

    def step(state, batch):
        count.append(0)
        if len(count) == 12:
            hangs()
        return step_fn(state, batch)

    return step

def hangs():
    time.sleep(60)

training.make_train_step = make
config = tone_experiment(sys.argv[1])
config.total_steps, config.checkpoint.every, config.watchdog.seconds = 20, 4, 10.0
training.train(config, sys.argv[2])
"""


@pytest.mark.slow
def test_a_run_whose_step_hangs_ends(tone_data, tmp_path):
    """With saves in between, which are not watched."""
    command = [sys.executable, "-c", TRAINING, str(tone_data), str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, cwd=ROOT)
    assert done.returncode == TRY_AGAIN and "in hangs" in done.stderr
    assert (tmp_path / "run" / "checkpoints" / "8").is_dir()


def test_what_is_slow_but_allowed_goes_on():
    """Pauses, the first steps, and long steps among long ones. The process would end here."""
    with Watchdog(2.0, 0.2) as watchdog:
        time.sleep(0.5)  # the first step compiles
        for _ in range(8):
            time.sleep(0.02)
            watchdog.step()
        with watchdog.paused():
            time.sleep(0.5)
        for _ in range(8):
            watchdog.step()
            time.sleep(0.02)
    time.sleep(0.3)


def test_without_a_factor_nothing_is_watched():
    with Watchdog(0.0, 0.1) as watchdog:
        for _ in range(8):
            watchdog.step()
        time.sleep(0.5)
