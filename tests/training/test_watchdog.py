"""A run that hangs ends by itself, and says where; one that is slow does not."""

import os
import subprocess
import sys
import time

from mms_jax.training.watchdog import STATUS, Watchdog

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


def test_a_step_that_never_ends_ends_the_process_and_shows_where():
    begun = time.monotonic()
    done = run(factor=20)
    assert done.returncode == STATUS and time.monotonic() - begun < 30
    assert "in hangs" in done.stderr and "no step has finished" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")


def test_what_is_slow_but_allowed_goes_on():
    """Pauses, the first steps, and long steps among long ones. The process would end here."""
    with Watchdog(2.0, 0.1) as watchdog:
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
