"""Joining the other processes of a job, by environment variables and by the metadata of TPU VMs."""

import contextlib
import http.server
import os
import socket
import subprocess
import sys
import threading

import jax
import pytest

from mms_jax import distributed
from mms_jax.errors import ConfigError, Unavailable


@pytest.fixture
def calls(monkeypatch):
    """The settings of every join, on a machine that knows no cluster."""
    found = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda **settings: found.append(settings))
    for name in ("SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE", "TPU_WORKER_HOSTNAMES", "JAX_COORDINATOR_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    return found


def test_a_job_is_joined_only_where_a_cluster_is(monkeypatch, calls):
    distributed.join_job()
    assert not calls
    distributed.join_job(ask=True)
    monkeypatch.setenv("TPU_WORKER_HOSTNAMES", "host0,host1")
    distributed.join_job()
    monkeypatch.delenv("TPU_WORKER_HOSTNAMES")
    monkeypatch.setenv("SLURM_NTASKS", "4")
    distributed.join_job()
    assert [call["heartbeat_timeout_seconds"] for call in calls] == [distributed.HEARTBEAT_SECONDS] * 3


def test_processes_find_each_other_by_environment_variables():
    """Outside of the clusters that JAX detects."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    program = (
        "import jax; from mms_jax import distributed; distributed.join_job(); "
        "print(jax.process_index(), jax.process_count())"
    )
    jobs = []
    for rank in "01":
        job = {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": rank}
        jobs.append(
            subprocess.Popen([sys.executable, "-c", program], env=os.environ | job, stdout=subprocess.PIPE, text=True)
        )
    assert [job.communicate(timeout=120)[0].split() for job in jobs] == [["0", "2"], ["1", "2"]]


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"JAX_COORDINATOR_ADDRESS": "localhost:1", "JAX_NUM_PROCESSES": "two"}, "the last two as numbers"),
        ({"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1"}, "joining other processes needs JAX_COORDINATOR_ADDRESS"),
        ({"JAX_COORDINATOR_ADDRESS": "localhost"}, "is not HOST:PORT"),
    ],
)
def test_variables_that_are_missing_are_named(monkeypatch, variables, message):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=message):
        distributed.join_job()


def test_a_batch_script_that_forgets_srun_is_told(monkeypatch):
    def initialize(**unused):
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with pytest.raises(ConfigError, match="start the command with srun"):
        distributed.join_job()


@contextlib.contextmanager
def metadata_server(attributes):
    """Serves the attributes of a virtual machine as Compute Engine does; yields its address."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            value = attributes.get(self.path.rpartition("/attributes/")[2])
            known = value is not None and self.headers["Metadata-Flavor"] == "Google"
            self.send_response(200 if known else 404)
            self.end_headers()
            self.wfile.write((value if known else "").encode())

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("localhost", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"localhost:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("attributes", "joins"),
    [
        ({"worker-network-endpoints": "a:1:10.0.0.1,b:2:10.0.0.2"}, True),
        ({"worker-network-endpoints": "10.0.0.1"}, False),
        ({"worker-network-endpoints": "10.0.0.1", "tpu-env": "ZONE: 'z'\nMEGASCALE_NUM_SLICES: '2'\n"}, True),
        ({}, False),
    ],
)
def test_hosts_of_a_tpu_vm_are_those_of_its_metadata(monkeypatch, calls, attributes, joins):
    for name in ("JAX_PLATFORMS", "TPU_SKIP_MDS_QUERY"):
        monkeypatch.delenv(name, raising=False)
    with metadata_server(attributes) as address:
        monkeypatch.setenv("GCE_METADATA_IP", address)
        distributed.join_job()
    assert bool(calls) == joins


def test_a_tpu_vm_whose_metadata_do_not_answer_is_not_taken_for_the_only_one(monkeypatch, calls):
    for name in ("JAX_PLATFORMS", "TPU_SKIP_MDS_QUERY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GCE_METADATA_IP", "localhost:1")
    monkeypatch.setattr(distributed, "_PAUSES", (0.0,))
    with pytest.raises(Unavailable, match=r"other hosts .* is not known"):
        distributed.join_job()
    assert not calls


def test_workers_of_a_tpu_vm_join_each_other():
    """JAX's own detection, which also reads the metadata, finds the same processes."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    program = (
        "import os, jax; from jax._src.clusters import cloud_tpu_cluster as cluster; from mms_jax import distributed; "
        f"cluster.running_in_cloud_tpu_vm = True; cluster.coordinator_port = '{port}'; "
        "os.environ.pop('TPU_SKIP_MDS_QUERY'); jax.config.update('jax_platforms', 'cpu'); distributed.join_job(); "
        "print(jax.process_index(), jax.process_count())"
    )
    environment = {name: value for name, value in os.environ.items() if name != "JAX_PLATFORMS"}
    shared = {"worker-network-endpoints": "localhost,localhost", "tpu-env": ""}
    with contextlib.ExitStack() as stack:
        jobs = []
        for rank in "01":
            address = stack.enter_context(metadata_server(shared | {"agent-worker-number": rank}))
            job = environment | {"GCE_METADATA_IP": address}
            jobs.append(subprocess.Popen([sys.executable, "-c", program], env=job, stdout=subprocess.PIPE, text=True))
        assert [job.communicate(timeout=120)[0].split() for job in jobs] == [["0", "2"], ["1", "2"]]
