"""Figures of the machine, of its utilization, and of trackers, beside those of the task."""

import importlib.machinery
import importlib.util
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from input_pipeline.dataset import open_corpora
from mms_jax import sharding
from mms_jax.config import default_config
from mms_jax.errors import ConfigError
from mms_jax.hardware.chips import CHIPS, peak_of
from mms_jax.tasks import find_task
from mms_jax.train import train
from mms_jax.training.machine import MachineFigures
from mms_jax.training.tracker import start_tracker
from mms_jax.training.utilization import Utilization, model_flops
from tests.training.test_train import rows


@pytest.mark.parametrize(
    ("kind", "peak"),
    [
        ("TPU v4", CHIPS["v4"].peak),
        ("TPU v5 lite", CHIPS["v5e"].peak),
        ("TPU v5", CHIPS["v5p"].peak),
        ("TPU v6 lite", CHIPS["v6e"].peak),
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA A100-SXM4-40GB", 312e12),
        ("cpu", None),
    ],
)
def test_peaks_are_found_by_jaxs_names(kind, peak):
    assert peak_of(kind) == peak


def test_operations_grow_with_rows_and_recomputation_adds_none(tone_config):
    task = find_task("asr").from_corpora(
        tone_config, open_corpora(tone_config.input.corpora, tone_config.input.data_dir)
    )

    def batch(rows):
        shapes = {"waveforms": ((rows, 16_000), jnp.float32), "labels": ((rows, 8), jnp.int32)}
        shapes |= dict.fromkeys(("lengths", "label_lengths", "item", "language"), ((rows,), jnp.int32))
        shapes["counted"] = ((rows,), jnp.bool_)
        return {name: jax.ShapeDtypeStruct(*shape) for name, shape in shapes.items()}

    one = model_flops(tone_config, task, batch(1))
    assert 1.8 * one < model_flops(tone_config, task, batch(2)) <= 2 * one
    tone_config.model.remat = "full"
    again = find_task("asr").from_corpora(
        tone_config, open_corpora(tone_config.input.corpora, tone_config.input.data_dir)
    )
    assert model_flops(tone_config, again, batch(1)) == one


def test_log_has_memory_compilations_and_utilization(tone_config, tmp_path, monkeypatch):
    monkeypatch.setattr("mms_jax.training.utilization.peak_of", lambda kind: 1e12)
    tone_config.total_steps, tone_config.log_every = 4, 1
    train(tone_config, str(tmp_path))
    lines = rows(tmp_path)
    assert lines[0]["compiled"] >= 1 and lines[0]["compile_seconds"] > 0
    assert all(0 < row["mfu"] < 1 and row["host_memory_gb"] > 0.1 for row in lines[:4])


def test_utilization_is_not_said_where_no_peak_is_known(tone_config, tmp_path):
    tone_config.total_steps, tone_config.log_every = 1, 1
    train(tone_config, str(tmp_path))
    assert "mfu" not in rows(tmp_path)[0]
    assert np.isnan(Utilization(tone_config, None, sharding.make_mesh()).seconds({}))


def test_machine_counts_what_is_compiled_between_two_lines():
    machine = MachineFigures()
    jax.jit(lambda x: x * 3.25 + 1)(jnp.ones(7)).block_until_ready()
    assert machine.take()["compiled"] >= 1
    assert machine.take() | {"host_memory_gb": 0} == {"host_memory_gb": 0, "compiled": 0, "compile_seconds": 0}


def tracked(name):
    config = default_config("asr")
    config.tracker = name
    return config


@pytest.mark.parametrize("name", ["trackio", "wandb"])
def test_figures_go_to_a_tracker_that_goes_on_with_the_run(tone_config, tmp_path, monkeypatch, name):
    begun, logged = [], []

    class Run:
        def log(self, figures, step):
            logged.append((step, figures["loss"]))

        def finish(self):
            logged.append("finished")

    def init(**settings):
        begun.append(settings)
        return Run()

    module = types.ModuleType(name)
    module.__spec__, module.init = importlib.machinery.ModuleSpec(name, None), init
    monkeypatch.setitem(sys.modules, name, module)
    tone_config.tracker, tone_config.total_steps, tone_config.log_every = name, 2, 1
    train(tone_config, str(tmp_path / "a"))
    tone_config.total_steps = 2
    train(tone_config, str(tmp_path / "a"))
    assert [entry if entry == "finished" else entry[0] for entry in logged][:3] == [1, 2, "finished"]
    assert begun[0] == begun[1] and begun[0]["name"].startswith("a-") and begun[0]["config"]["task"] == "asr"
    assert ("id" in begun[0]) == (name == "wandb")


@pytest.mark.parametrize("name", ["trackio", "wandb"])
def test_the_real_tracker_takes_our_calls(tmp_path, monkeypatch, name):
    pytest.importorskip(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    monkeypatch.chdir(tmp_path)
    for step in (1, 2):
        run = start_tracker(tracked(name), tmp_path / "run")
        run.log({"loss": 2.0 / step}, step=step)
        run.finish()


def test_trackers_that_are_missing_or_unknown_or_refuse_are_explained(tone_config, tmp_path, monkeypatch):
    tone_config.tracker = "tensorboard"
    with pytest.raises(ConfigError, match=r"config.tracker='tensorboard'; choose trackio, wandb"):
        train(tone_config, str(tmp_path))

    tone_config.tracker = "wandb"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"config.tracker='wandb' needs pip install 'mms-jax\[wandb\]'"):
        train(tone_config, str(tmp_path))
    monkeypatch.undo()

    def refusing(**unused):
        raise RuntimeError("no account")

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=refusing))
    with pytest.raises(ConfigError, match="it does not start: no account"):
        start_tracker(tracked("wandb"), tmp_path)
