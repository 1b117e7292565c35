"""A job on a real SLURM cluster of two nodes, which are this machine; one task is killed, and the job continues.

Needs SLURM and MUNGE, as Debian's packages slurmctld, slurmd, slurm-client and munge install them, and root.
"""

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import pytest

from tests.training.test_train import ROOT, rows, train_command

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "scontrol", "munged")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not all(map(shutil.which, PROGRAMS)) or os.geteuid() != 0, reason="needs SLURM, MUNGE and root"),
]

CONFIG = """ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
MailProg=/bin/true
KillWait=60
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1 State=UNKNOWN
NodeName=node2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("localhost", 0))
        return [one.getsockname()[1] for one in sockets]


@pytest.fixture
def cluster():
    """The environment of a cluster's user, and the folder of its logs."""
    # The path of a socket has at most 107 bytes, and SLURM's sockets lie deep: pytest's own folders are too long for them.
    folder = pathlib.Path(tempfile.mkdtemp(prefix="slurm", dir="/tmp"))
    folder.chmod(0o755)
    (folder / "state").mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    config = folder / "slurm.conf"
    config.write_text(CONFIG.format(host=socket.gethostname().split(".")[0], ports=free_ports(3), folder=folder))
    environment = os.environ | {"SLURM_CONF": str(config)}
    munge = [
        "munged",
        "-F",
        "--force",
        f"--key-file={key}",
        f"--socket={folder}/munge.socket",
        f"--pid-file={folder}/m.pid",
    ]
    munge += [f"--log-file={folder}/munge.log", f"--seed-file={folder}/munge.seed"]
    daemons = [munge, ["slurmctld", "-D"], ["slurmd", "-D", "-N", "node1"], ["slurmd", "-D", "-N", "node2"]]
    running = []
    for number, daemon in enumerate(daemons):
        with (folder / f"{number}.log").open("w") as log:
            running.append(subprocess.Popen(daemon, env=environment, stdout=log, stderr=subprocess.STDOUT))
        time.sleep(1)
    yield environment, folder
    for daemon in reversed(running):
        daemon.terminate()
    for daemon in running:
        with contextlib.suppress(subprocess.TimeoutExpired):
            daemon.wait(timeout=30)
        daemon.kill()
    shutil.rmtree(folder)


def told(environment, *command):
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60).stdout


def wait_until(condition, seconds, logs):
    """Waits; beyond its seconds, the error shows the end of each log."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail("it took too long:\n" + "\n".join(f"{log}:\n{log.read_text()[-2000:]}" for log in logs()))
        time.sleep(0.2)


def tasks_of(workdir):
    """The processes that train in a folder."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            words = entry.joinpath("cmdline").read_bytes().decode().split("\0") if entry.name.isdigit() else ()
            if f"--workdir={workdir}" in words and "mms_jax.train" in words and "bash" not in words[0]:
                found.append(int(entry.name))
    return found


@pytest.fixture
def submit(cluster, tmp_path):
    """Submits a job of two tasks from a clone; returns its number. The clone's environment is that of the tests."""
    environment, _ = cluster
    clone = tmp_path / "clone"
    (clone / ".venv/bin").mkdir(parents=True)
    shutil.copytree(ROOT / "launch", clone / "launch", ignore=shutil.ignore_patterns("build"))
    for name in ("constraints.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, clone / name)
    python = clone / ".venv/bin/python"
    python.write_text(f'#!/usr/bin/env bash\nexport PYTHONPATH={ROOT}\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    stamp = "none\n" + (clone / "constraints.txt").read_text() + (clone / "pyproject.toml").read_text()
    (clone / ".venv/installed-job.txt").write_text(stamp)
    job = environment | {
        "MMS_JAX_EXTRA": "none", "JAX_CPU_COLLECTIVES_IMPLEMENTATION": "gloo",
        "JAX_COORDINATOR_ADDRESS": f"localhost:{free_ports(1)[0]}",  # the names of the nodes are no hosts here
        "XLA_FLAGS": os.environ["XLA_FLAGS"] + " --xla_force_host_platform_device_count=2",
    }  # fmt: skip

    def run(*arguments):
        command = ["sbatch", "--parsable", "--nodes=2", "--ntasks-per-node=1", f"--chdir={clone}", "launch/slurm.sh"]
        done = subprocess.run([*command, *arguments], env=job, cwd=clone, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


def test_a_job_whose_error_the_log_explains_is_not_put_back(cluster, submit, tmp_path):
    """Though SLURM kills the other task, and tells that."""
    cluster, _ = cluster
    clone = tmp_path / "clone"
    job = submit("--config=nothing", f"--workdir={tmp_path / 'job'}")

    def shown():
        return told(cluster, "scontrol", "show", "job", job)

    wait_until(lambda: "JobState=FAILED" in shown() or "Restarts=1" in shown(), 240, lambda: clone.glob("*.log"))
    assert "Restarts=0" in shown() and "ExitCode=1:0" in shown()
    assert "no experiment of this name" in (clone / f"mms_jax-{job}.log").read_text()


def test_a_job_of_two_nodes_loses_a_task_and_continues(cluster, submit, tone_config, tmp_path):
    cluster, folder = cluster
    clone, workdir = tmp_path / "clone", tmp_path / "job"
    tone_config.total_steps, tone_config.log_every, tone_config.checkpoint.every = 60, 1, 5
    job = submit(*train_command(tone_config, workdir)[3:])
    metrics = workdir / "metrics.jsonl"

    def logs():
        return [*folder.glob("*.log"), *clone.glob("*.log")]

    wait_until(lambda: metrics.exists() and len(rows(workdir)) > 12, 240, logs)
    victims = tasks_of(workdir)
    assert len(victims) == 2
    os.kill(victims[1], signal.SIGKILL)
    wait_until(lambda: "Restarts=1" in told(cluster, "scontrol", "show", "job", job), 180, logs)
    told(cluster, "scontrol", "release", job)
    wait_until(lambda: "JobState=COMPLETED" in told(cluster, "scontrol", "show", "job", job), 400, logs)
    assert [row["step"] for row in rows(workdir)] == list(range(1, 61))
