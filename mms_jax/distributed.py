"""The processes of a job: whether there are others, and how they are joined."""

import os
import re
import time
import urllib.error
import urllib.request
from typing import Any

import jax
from absl import logging

from mms_jax.errors import ConfigError, Unavailable

HEARTBEAT_SECONDS = 30  # after which a process that is silent is given up, and all others end
_JOINING_SECONDS = 1800  # for hosts that copy their corpora first
_PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)  # seconds between requests that fail
_ADDRESS = "JAX_COORDINATOR_ADDRESS"
_NUMBERS = {"num_processes": "JAX_NUM_PROCESSES", "process_id": "JAX_PROCESS_ID"}
_NEEDED = f"{_ADDRESS}, {' and '.join(_NUMBERS.values())}"


def join_job(ask: bool = False) -> None:
    """Joins the other processes of a job where there are any; call before anything touches a device.

    A cluster that JAX detects (TPU VMs and Kubernetes of Google Cloud, SLURM with more than one task, Open MPI) is joined
    automatically. With `ask`, or where JAX_COORDINATOR_ADDRESS (HOST:PORT of the first process), JAX_NUM_PROCESSES or
    JAX_PROCESS_ID is set, the process joins in any case; elsewhere than in those clusters it needs all three.

    Raises:
      ConfigError: one of these variables is missing, or wrong. An error while joining is never suppressed.
    """
    tasks = os.environ.get("SLURM_NTASKS", os.environ.get("OMPI_COMM_WORLD_SIZE", "1"))
    named = any(name in os.environ for name in (_ADDRESS, *_NUMBERS.values()))
    if ask or named or tasks != "1" or _tpu_hosts() > 1:
        _join()
        logging.info("process %d of %d", jax.process_index(), jax.process_count())


def _tpu_hosts() -> int:
    """The hosts of the TPU slice of which this machine is one, in all slices of the job; 1 elsewhere.

    Kubernetes names them in the environment, TPU VMs in the metadata of Compute Engine, where JAX looks, too.
    """
    if named := os.environ.get("TPU_PROCESS_ADDRESSES", os.environ.get("TPU_WORKER_HOSTNAMES")):
        return len(named.split(",")) * int(os.environ.get("MEGASCALE_NUM_SLICES") or 1)
    # JAX sets the first of these where it finds no chips.
    if "TPU_SKIP_MDS_QUERY" in os.environ or os.environ.get("JAX_PLATFORMS") == "cpu":
        return 1
    hosts = len(_metadata("worker-network-endpoints").split(","))
    slices = re.search(r"MEGASCALE_NUM_SLICES: *'?(\d+)", _metadata("tpu-env"))
    return hosts * (int(slices[1]) if slices else 1)


def _metadata(name: str) -> str:
    """An attribute of this virtual machine; "" for one that it lacks. Raises Unavailable where nothing answers."""
    server = os.environ.get("GCE_METADATA_IP", "metadata.google.internal")
    address = f"http://{server}/computeMetadata/v1/instance/attributes/{name}"
    request = urllib.request.Request(address, headers={"Metadata-Flavor": "Google"})
    for pause in (*_PAUSES, None):
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.read().decode()
        except OSError as error:
            if isinstance(error, urllib.error.HTTPError) and error.code == 404:
                return ""
            if pause is None:
                raise Unavailable(
                    f"{address}: {error}; whether other hosts are part of this job is not known. On a machine that is not "
                    "Google Cloud's, set TPU_SKIP_MDS_QUERY=1"
                ) from error
            time.sleep(pause)
    raise AssertionError


def _join() -> None:
    named = _named_in_environment()
    try:
        jax.distributed.initialize(
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS, initialization_timeout=_JOINING_SECONDS, **named
        )
    except ValueError as error:  # JAX found no cluster
        slurm = "start the command with srun; or " if "SLURM_JOB_ID" in os.environ else ""
        raise ConfigError(f"no other processes to join were found: {error}; {slurm}set {_NEEDED}") from error


def _named_in_environment() -> dict[str, Any]:
    """The number of processes, and which this is, where the environment says so; JAX itself reads only the address."""
    address = os.environ.get(_ADDRESS, "HOST:0")
    if not re.fullmatch(r"\S+:\d+", address):
        raise ConfigError(f"{_ADDRESS}={address} is not HOST:PORT; choose a free port of the first process's host")
    if not any(name in os.environ for name in _NUMBERS.values()):
        return {}
    try:
        os.environ[_ADDRESS]
        return {argument: int(os.environ[name]) for argument, name in _NUMBERS.items()}
    except (KeyError, ValueError) as error:
        raise ConfigError(f"joining other processes needs {_NEEDED}, the last two as numbers ({error})") from error
