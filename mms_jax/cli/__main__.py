"""python -m mms_jax.cli is the command `mms-jax`."""

from mms_jax.cli import run_and_leave

run_and_leave()
