"""Commands side by side: each on a core of its own; a failure or Ctrl-C ends all, and lets them save."""

import concurrent.futures
import os
import threading
import time

import pytest

from launch.steps import Steps
from mms_jax.errors import InputError


@pytest.fixture
def steps(tmp_path, monkeypatch):
    """Steps that run the modules of a folder."""
    (tmp_path / "saves.py").write_text(
        "import pathlib, signal, sys, time\n"
        "def stop(*_):\n    pathlib.Path(sys.argv[1]).write_text('saved'); sys.exit(143)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "pathlib.Path(sys.argv[1]).write_text('begun')\n"
        "time.sleep(60)\n"
    )
    (tmp_path / "status.py").write_text("import sys; print('the reason'); sys.exit(int(sys.argv[1]))\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return Steps(tmp_path / "study")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores cannot be chosen here")
def test_each_job_has_a_core_and_the_first_failure_ends_the_rest(steps):
    cores = sorted(os.sched_getaffinity(0))
    used, begun = [], []
    every = threading.Barrier(len(cores))

    def job(number):
        begun.append(number)
        used.append(os.sched_getaffinity(0))
        every.wait(10)
        if number == 0:
            raise InputError("job 0")
        time.sleep(0.5)

    with pytest.raises(InputError, match="job 0"):
        steps.side_by_side({str(number): lambda number=number: job(number) for number in range(10 * len(cores))})
    assert {frozenset(one) for one in used[: len(cores)]} == {frozenset({core}) for core in cores}
    assert len(begun) <= 2 * len(cores)


def test_a_failure_lets_the_others_save_and_starts_nothing_more(steps, tmp_path):
    saved = tmp_path / "saved.txt"

    def fails():
        while not saved.exists() or saved.read_text() != "begun":
            time.sleep(0.05)
        steps.command("fails", "status", "3")

    jobs = {"saves": lambda: steps.command("saves", "saves", str(saved)), "fails": fails}
    if len(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else [0, 1]) < 2:
        pytest.skip("one core runs one job at a time")
    with pytest.raises(SystemExit, match=r"(?s)fails failed; the end of .*the reason"):
        steps.side_by_side(jobs)
    assert saved.read_text() == "saved"
    with pytest.raises(concurrent.futures.CancelledError):
        steps.command("late", "status", "0")
    assert not steps._running


def test_accepted_statuses(steps):
    assert "the reason" in steps.command("one", "status", "1", accepted=(0, 1))
    with pytest.raises(SystemExit, match="one failed"):
        steps.command("one", "status", "1")
