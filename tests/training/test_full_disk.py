"""A run on a disk that is really full: a small file system in memory, which takes root to mount."""

import os
import pathlib
import subprocess
import time

import pytest

from mms_jax.checkpoint import load_model
from tests.training.test_train import ROOT, train_command

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("cannot mount a file system here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def fill(folder: pathlib.Path) -> pathlib.Path:
    path = folder / "other"
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return path


def test_a_full_disk_ends_the_run_and_costs_a_save_interval(small_disk, tone_config, tmp_path):
    tone_config.total_steps, tone_config.checkpoint.every, tone_config.log_every = 4000, 5, 1
    command = train_command(tone_config, tmp_path / "run")
    command[-1] = f"--workdir={small_disk / 'run'}"
    checkpoints = small_disk / "run" / "checkpoints"
    log = tmp_path / "log.txt"

    def start():
        with log.open("w") as file:
            return subprocess.Popen(command, cwd=ROOT, stderr=file)

    def wait_for(step, process):
        deadline = time.monotonic() + 240
        while not any(int(path.name) >= step for path in checkpoints.glob("[0-9]*") if path.name.isdigit()):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.05)

    process = start()
    wait_for(10, process)
    other = fill(small_disk)
    assert process.wait(timeout=120) == 1
    last = log.read_text().splitlines()[-1]
    assert last.startswith("error: step ") and "the disk is full" in last and "run the same command again" in last
    stands = load_model(small_disk / "run").step
    assert f"The checkpoint of step {stands} stands" in last
    other.unlink()
    process = start()
    wait_for(stands + 5, process)
    process.terminate()
    assert process.wait(timeout=60) == 143
