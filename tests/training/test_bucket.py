"""Runs in a bucket of Google Cloud Storage, which an emulator on this machine stands in for."""

import contextlib
import importlib.util
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from orbax.checkpoint import v1 as ocp

import mms_jax
from input_pipeline.dataset import open_corpora
from mms_jax import files
from mms_jax.checkpoint import BestCheckpoint, load_model
from mms_jax.errors import (
    TRY_AGAIN,
    CheckpointError,
    ConfigError,
    ConversionError,
    CorpusError,
    StoreError,
    TrainingError,
)
from mms_jax.evaluate import evaluate
from mms_jax.train import train
from mms_jax.training.log_folder import LogFolder
from tests.test_checkpoint import MODEL, abstract, saved, trees
from tests.training.test_train import ROOT, assert_same_trees, rows, train_command

BUCKET = "gs://bucket"


class Store:
    """The emulator, in a process of its own."""

    def __init__(self, folder: pathlib.Path):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            self.port = free.getsockname()[1]
        self._folder = folder
        self.process = None

    @property
    def address(self) -> str:
        return f"http://localhost:{self.port}"

    def start(self) -> None:
        where = ["--port", str(self.port), "--host", "localhost", "--default-bucket", "bucket"]
        with (self._folder / "log.txt").open("a") as log:
            command = [sys.executable, "-m", "tests.bucket_emulator", "-d", str(self._folder / "data"), "start", *where]
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(self.address + "/storage/v1/b")
                return
            time.sleep(0.1)
        raise TimeoutError((self._folder / "log.txt").read_text())

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("store"))
    store.start()
    patch = pytest.MonkeyPatch()
    # The first is read by gcsfs, the second by TensorStore, the last by both, in place of an account.
    patch.setenv("STORAGE_EMULATOR_HOST", store.address)
    patch.setenv("TENSORSTORE_GCS_HTTP_URL", store.address)
    patch.setenv("GOOGLE_AUTH_TOKEN_FOR_TESTING", "none")
    patch.setenv("GOOGLE_CLOUD_PROJECT", "test")
    patch.setenv("NO_GCE_CHECK", "true")
    patch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # asks for what the emulator lacks, and warns each time
    yield store
    patch.undo()
    store.stop()


def test_checkpoints_are_saved_restored_and_removed(store):
    checkpoints = saved(f"{BUCKET}/round", 1, 2, 3, keep=2)
    assert checkpoints.steps == [2, 3]
    params, train, _ = checkpoints.restore(*abstract())
    assert_same_trees((params, train), trees(3.0))
    stored = load_model(f"{BUCKET}/round")
    assert (stored.step, stored.description) == (3, MODEL)
    assert load_model(f"{BUCKET}/round/checkpoints/2").step == 2


def test_a_damaged_checkpoint_is_moved_aside(store):
    saved(f"{BUCKET}/damaged", 1, 2).close()
    for entry in ("params", "train"):
        for path in files.open_path(f"{BUCKET}/damaged/checkpoints/2/{entry}/d").glob("*"):
            path.write_bytes(path.read_bytes()[:10])
    again = saved(f"{BUCKET}/damaged")
    params, *_ = again.restore(*abstract())
    assert_same_trees(params, trees(1.0)[0])
    assert again.steps == [1]
    assert files.open_path(f"{BUCKET}/damaged/damaged_checkpoint_2").exists()


def test_only_the_best_checkpoint_is_kept(store):
    best = BestCheckpoint(files.open_path(f"{BUCKET}/best"))
    assert best.chosen() is None
    for step, cer in ((1, 0.5), (2, 0.25)):
        best.save(step, trees(float(step))[0], MODEL | {"chosen": {"cer": cer}})
    assert best.chosen() == {"cer": 0.25}
    assert load_model(f"{BUCKET}/best@best").step == 2
    assert [path.name for path in files.open_path(f"{BUCKET}/best/best/checkpoints").glob("*")] == ["2"]


def test_a_run_in_a_bucket_is_evaluated_and_loaded(store, tone_config, tmp_path):
    tone_config.eval_every, tone_config.checkpoint.best = 3, "cer"
    with contextlib.chdir(tmp_path):
        state = train(tone_config, f"{BUCKET}/run")
        result = evaluate(tone_config, f"{BUCKET}/run@best")
        assert not list(tmp_path.iterdir()), "nothing is written to a folder gs:"
    assert 0 <= result["cer"] <= 2
    assert_same_trees(load_model(f"{BUCKET}/run").params, state.params)
    names = {path.name for path in files.open_path(f"{BUCKET}/run").glob("*")}
    assert {"config.json", "metrics.jsonl", "checkpoints", "best", "tensorboard"} <= names
    recognizer = mms_jax.load(f"{BUCKET}/run", languages=["swh"])
    assert "swh" in recognizer.languages
    tone_config.total_steps += 1
    tone_config.init_from = f"{BUCKET}/run"
    train(tone_config, str(tmp_path / "tuned"))


@pytest.mark.slow
def test_a_killed_run_continues_and_a_store_that_refuses_for_a_while_costs_a_save_at_most(store, tone_config, tmp_path):
    tone_config.total_steps, tone_config.checkpoint.every, tone_config.log_every = 40, 5, 1
    subprocess.run(train_command(tone_config, tmp_path / "whole"), check=True, cwd=ROOT, capture_output=True)
    command = train_command(tone_config, tmp_path / "killed")
    command[-1] = f"--workdir={BUCKET}/killed"
    checkpoints = files.open_path(f"{BUCKET}/killed/checkpoints")

    log = tmp_path / "log.txt"

    def start():
        with log.open("a") as file:
            return subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file)

    def wait_for(step, process):
        deadline = time.monotonic() + 240
        while not (checkpoints / str(step)).exists():
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.05)

    process = start()
    wait_for(10, process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process = start()
    wait_for(20, process)
    store.stop()
    time.sleep(float(os.environ.get("MMS_JAX_OUTAGE", "20")))
    store.start()
    if status := process.wait(timeout=300):  # it gave up while it saved, and says how to go on
        assert status == TRY_AGAIN  # upon which launch/job.sh does so
        assert "run the same command again" in log.read_text(), log.read_text()[-3000:]
        assert load_model(f"{BUCKET}/killed").step >= 15
        assert start().wait(timeout=300) == 0, log.read_text()[-3000:]
    assert_same_trees(load_model(tmp_path / "whole").params, load_model(f"{BUCKET}/killed").params)
    (tmp_path / "metrics.jsonl").write_text(files.open_path(f"{BUCKET}/killed/metrics.jsonl").read_text())
    assert [row["step"] for row in rows(tmp_path)] == list(range(1, 41))


def test_a_store_that_cannot_be_reached_is_no_damage(store):
    checkpoints = saved(f"{BUCKET}/away", 1, 2)
    error = ValueError("UNAVAILABLE: HTTP response code: 503")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ocp, "load_checkpointables", lambda *unused: (_ for _ in ()).throw(error))
        with pytest.raises(StoreError, match=r"cannot be reached now .* run the same command again"):
            checkpoints.restore(*abstract())
    assert checkpoints.steps == [1, 2] and not files.open_path(f"{BUCKET}/away/damaged_checkpoint_2").exists()


def test_logs_that_cannot_be_copied_end_no_run_and_hide_no_error(monkeypatch, caplog):
    class Refusing:
        name = "metrics.jsonl"

        def __truediv__(self, name):
            return self

        def __fspath__(self):
            return f"{BUCKET}/run"

        def exists(self):
            return False

        def write_bytes(self, content):
            raise OSError("refused")

    with pytest.raises(TrainingError, match="broken"), LogFolder(Refusing()) as logs:
        (logs.local / "metrics.jsonl").write_text("{}")
        raise TrainingError("broken")
    assert "cannot be written now (refused)" in caplog.text and not logs.local.exists()


@pytest.mark.parametrize("address", ["s3://bucket/run", "gcs://bucket/run"])
def test_other_addresses_are_refused(tone_config, address):
    with pytest.raises(ConfigError, match=f"{address}: of addresses, only gs://"):
        train(tone_config, address)


def test_folders_of_this_machine_are_asked_for(tmp_path):
    target = pathlib.Path(f"{BUCKET}/exported")
    refused = pytest.raises(ConversionError, match="name a folder of this machine")
    with contextlib.chdir(tmp_path), refused, files.whole_folder(target):
        pass
    assert not list(tmp_path.iterdir())


def test_what_is_no_run_is_to_be_copied(store):
    with pytest.raises(CheckpointError, match=r"gs://bucket/nothing: no such run; .* copy them"):
        mms_jax.load(f"{BUCKET}/nothing")


def test_corpora_in_a_bucket_are_to_be_copied(tone_config):
    with pytest.raises(CorpusError, match=r"gcloud storage rsync --recursive gs://bucket/data data\), or mount"):
        open_corpora(tone_config.input.corpora, "gs://bucket/data")


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"gs://bucket/run: buckets need pip install 'mms-jax\[gcs\]'"):
        files.open_path("gs://bucket/run")
