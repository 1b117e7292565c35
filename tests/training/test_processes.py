"""Several real processes on this machine: one that dies ends all, and the same command continues on fewer."""

import os
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.training.test_train import ROOT, rows, train_command, wait_for_progress

DEVICES = "--xla_force_host_platform_device_count="


def start(command, count, logs):
    """The processes of a job that find each other by environment variables."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    job = {"JAX_CPU_COLLECTIVES_IMPLEMENTATION": "gloo", "JAX_COORDINATOR_ADDRESS": address}
    job |= {"JAX_NUM_PROCESSES": str(count), "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} {DEVICES}{4 // count}"}
    found = []
    for rank in range(count):
        with (logs / f"{rank}.log").open("w") as log:
            environment = os.environ | job | {"JAX_PROCESS_ID": str(rank)}
            found.append(subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT))
    return found


def running(config, folder, count):
    """The command of a job, its processes, and the file that shows their progress, after some steps."""
    command = train_command(config, folder / "job")
    processes = start(command, count, folder)
    metrics = folder / "job" / "metrics.jsonl"
    for _ in range(12):
        wait_for_progress(metrics, processes[0])
    return command, processes, metrics


@pytest.mark.slow
def test_one_of_four_processes_dies(tone_config, tmp_path):
    tone_config.total_steps, tone_config.log_every, tone_config.checkpoint.every = 400, 1, 5
    command, processes, metrics = running(tone_config, tmp_path, 4)
    processes[2].send_signal(signal.SIGKILL)
    killed = time.monotonic()
    ended = [process.wait(timeout=120) for process in processes]
    assert time.monotonic() - killed < 60 and all(ended)
    named = r"stopped sending heartbeats\):\s*2\b|Task 2 heartbeat timeout"
    assert re.search(named, (tmp_path / "0.log").read_text())
    reached = rows(tmp_path / "job")[-1]["step"]
    assert 10 <= reached < 400
    # The data of a step do not depend on the number of processes: one, with as many devices, goes on from the checkpoint.
    tone_config.total_steps = 400
    before = {row["step"]: row["loss"] for row in rows(tmp_path / "job")}
    (one,) = start(command, 1, tmp_path)
    for _ in range(8):
        wait_for_progress(metrics, one)
    one.send_signal(signal.SIGTERM)
    assert one.wait(timeout=120) == 128 + signal.SIGTERM
    after = {row["step"]: row["loss"] for row in rows(tmp_path / "job")}
    again = sorted(step for step in before if step > reached - reached % 5 and step in after)
    np.testing.assert_allclose([after[step] for step in again], [before[step] for step in again], rtol=1e-3)
    assert max(after) > reached


@pytest.mark.slow
@pytest.mark.parametrize(("fsdp", "tensor"), [(1, 4), (2, 2), (4, 1)])
def test_meshes_that_span_processes_give_the_losses_of_one_process(tone_config, tmp_path, fsdp, tensor):
    """Where the tensor axis spans processes, these hold the same rows."""
    tone_config.total_steps, tone_config.log_every = 3, 1
    tone_config.mesh.fsdp, tone_config.mesh.tensor = fsdp, tensor
    losses = []
    for count in (1, 2):
        folder = tmp_path / str(count)
        folder.mkdir()
        processes = start(train_command(tone_config, folder / "job"), count, folder)
        ended = [process.wait(timeout=240) for process in processes]
        assert not any(ended), (folder / "0.log").read_text()[-3000:]
        losses.append([row["loss"] for row in rows(folder / "job")])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)


@pytest.mark.slow
def test_what_one_process_cannot_read_none_uses(tone_config, tmp_path):
    """The newest checkpoint is damaged where the second process alone reads it."""
    tone_config.mesh.fsdp, tone_config.log_every = 4, 1
    command, checkpoints = train_command(tone_config, tmp_path / "job"), tmp_path / "job" / "checkpoints"
    for _ in range(2):
        ended = [process.wait(timeout=240) for process in start(command, 2, tmp_path)]
        assert not any(ended), (tmp_path / "0.log").read_text()[-3000:]
        for path in (checkpoints / "6" / "params" / "ocdbt.process_1" / "d").iterdir():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "process 1 cannot read it" in (tmp_path / "0.log").read_text()
    assert (tmp_path / "job" / "damaged_checkpoint_6").is_dir()
    assert [row["step"] for row in rows(tmp_path / "job")] == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
def test_a_process_that_fails_keeps_its_status_and_ends_the_others(tone_config, tmp_path):
    """The second of two cannot find its corpora once the first is waiting for it."""
    program = (
        "import sys\nfrom mms_jax import distributed\nfrom mms_jax.command import leave, run_command\n"
        "from mms_jax.errors import CorpusError\nimport jax\nfrom jax.experimental import multihost_utils\n"
        "def job():\n    distributed.join_job()\n    multihost_utils.sync_global_devices('one')\n"
        "    if jax.process_index():\n        raise CorpusError('none here')\n"
        "    multihost_utils.sync_global_devices('two')\n"
        "leave(run_command(job))\n"
    )
    processes = start([sys.executable, "-c", program], 2, tmp_path)
    begun = time.monotonic()
    statuses = [process.wait(timeout=240) for process in processes]
    assert statuses[1] == 1 and statuses[0] not in (0, 1, 2) and time.monotonic() - begun < 120
    assert (tmp_path / "1.log").read_text().splitlines()[-1] == "error: none here"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_one_process_stops_all_at_the_same_step(tone_config, tmp_path, number):
    """As when one host is preempted: a process that stopped alone would leave the other waiting for it."""
    tone_config.total_steps, tone_config.log_every, tone_config.checkpoint.every = 2000, 1, 1000
    _, processes, _ = running(tone_config, tmp_path, 2)
    processes[1].send_signal(number)
    sent = time.monotonic()
    statuses = [process.wait(timeout=60) for process in processes]
    assert time.monotonic() - sent < 30
    assert statuses == [128 + signal.SIGTERM, 128 + number], (tmp_path / "1.log").read_text()[-3000:]
    saved = [int(path.name) for path in (tmp_path / "job" / "checkpoints").iterdir()]
    assert saved == [rows(tmp_path / "job")[-1]["step"]]
