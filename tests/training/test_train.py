"""The loop: learning, killing and resuming, refusing, stopping."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mms_jax import train as training
from mms_jax.checkpoint import load_model
from mms_jax.config import flatten_config
from mms_jax.errors import TrainingError
from mms_jax.optimizers import skipped_updates
from mms_jax.tasks.asr.task import AsrTask
from mms_jax.tasks.weighted import Loss, Weighted
from mms_jax.train import train
from tests.conftest import MINIATURE, tone_experiment

ROOT = pathlib.Path(__file__).parents[2]


def assert_same_trees(one, other):
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(one), jax.device_get(other))


@pytest.mark.parametrize("task", ["asr", "pretrain"])
def test_interrupted_run_reaches_the_same_parameters_bit_for_bit(tone_data, tmp_path, task):
    tone_config = tone_experiment(tone_data, task)
    tone_config.model.layerdrop = 0.2
    tone_config.model.activation_dropout = 0.1
    whole = train(tone_config, str(tmp_path / "whole"))
    stop_after(tone_config, tmp_path / "parts", steps=3)
    resumed = train(tone_config, str(tmp_path / "parts"))
    assert int(resumed.step) == int(whole.step) == 6
    assert_same_trees(whole.params, resumed.params)
    assert_same_trees(whole.optimizer, resumed.optimizer)


def test_average_is_what_is_loaded_and_resuming_is_exact(tone_config, tmp_path):
    tone_config.optimizer.average = 0.5
    whole = train(tone_config, str(tmp_path / "whole"))
    stop_after(tone_config, tmp_path / "parts", steps=3)
    assert_same_trees(whole, train(tone_config, str(tmp_path / "parts")))
    stored = load_model(tmp_path / "whole").params
    assert_same_trees(stored, whole.optimizer.average)
    kernel, raw = (tree["backbone"]["projection"]["kernel"] for tree in (stored, whole.params))
    assert not np.allclose(kernel, raw)


def stop_after(config, workdir, steps):
    """A preemption: SIGTERM arrives after so many steps, the loop saves and says so."""
    original = training.listen_for_termination
    answers = iter([False] * (steps - 1) + [True])
    training.listen_for_termination = lambda: contextlib.nullcontext(lambda step: next(answers))
    try:
        with pytest.raises(TrainingError, match=f"saved at step {steps}; the same command continues"):
            train(config, str(workdir))
    finally:
        training.listen_for_termination = original


EXPERIMENT = """
from mms_jax.models.wav2vec2 import config as geometries
geometries.GEOMETRIES["miniature"] = geometries.Wav2Vec2Config(**{miniature!r})
from mms_jax.config import default_config

def get_config():
    config = default_config({task!r})
    with config.unlocked():
        config.update_from_flattened_dict({flat!r})
    return config
"""


def train_command(config, workdir):
    """The command line that trains `config`, which is written beside the workdir."""
    flat = {name: tuple(value) if isinstance(value, list) else value for name, value in flatten_config(config).items()}
    experiment = workdir.parent / "experiment.py"
    experiment.write_text(EXPERIMENT.format(miniature=MINIATURE, task=config.task, flat=flat))
    return [sys.executable, "-m", "mms_jax.train", f"--config={experiment}", f"--workdir={workdir}"]


@pytest.mark.slow
@pytest.mark.parametrize("times", [int(os.environ.get("MMS_JAX_KILLS", "10"))])
def test_kill_minus_nine_and_resume_is_bit_identical(tone_config, tmp_path, times):
    """The real thing: a process killed at random moments, ten by default, and the same command again."""
    tone_config.total_steps = 8 * times
    tone_config.checkpoint.every = 5

    def command(workdir):
        return train_command(tone_config, tmp_path / workdir)

    subprocess.run(command("whole"), check=True, cwd=ROOT, capture_output=True)
    kills = 0
    rng = np.random.default_rng()
    while kills < times:
        process = subprocess.Popen(command("killed"), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for_progress(tmp_path / "killed" / "metrics.jsonl", process)
        time.sleep(rng.uniform(0.0, 0.5))
        if process.poll() is not None:
            break
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        kills += 1
    assert kills == times, "the run ended before it could be killed so often"
    subprocess.run(command("killed"), check=True, cwd=ROOT, capture_output=True)

    assert_same_trees(load_model(tmp_path / "whole").params, load_model(tmp_path / "killed").params)
    whole, killed = (rows(tmp_path / name) for name in ("whole", "killed"))
    assert [row["step"] for row in killed] == sorted({row["step"] for row in killed}), "no line of a lost step stays"
    assert whole[-1]["loss"] == killed[-1]["loss"]


@pytest.mark.slow
def test_two_processes_train_what_one_does(tone_config, tmp_path):
    """A SLURM job of two tasks with two devices each, against one process with four; then one process goes on alone."""
    tone_config.checkpoint.every = 3
    tone_config.total_steps = 6
    devices = os.environ["XLA_FLAGS"] + " --xla_force_host_platform_device_count="  # the last one counts
    alone = os.environ | {"XLA_FLAGS": f"{devices}4"}
    job = os.environ | {
        "XLA_FLAGS": f"{devices}2", "JAX_CPU_COLLECTIVES_IMPLEMENTATION": "gloo",
        "SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2",
    }  # fmt: skip
    # Both start from another run, which is stored on one device and taken to a mesh that spans the processes.
    origin = tone_config.copy_and_resolve_references()
    origin.total_steps = 1
    subprocess.run(train_command(origin, tmp_path / "origin"), check=True, cwd=ROOT, env=alone, capture_output=True)
    tone_config.init_from = str(tmp_path / "origin")
    one, two = (train_command(tone_config, tmp_path / name) for name in ("one", "two"))
    subprocess.run(one, check=True, cwd=ROOT, env=alone, capture_output=True)
    tasks = [
        subprocess.Popen(two, cwd=ROOT, env=job | {"SLURM_PROCID": rank, "SLURM_LOCALID": rank}) for rank in ("0", "1")
    ]
    assert [task.wait(timeout=300) for task in tasks] == [0, 0]
    evaluate = [sys.executable, "-m", "mms_jax.evaluate", *two[3:]]
    jobs = [
        subprocess.Popen(evaluate, cwd=ROOT, env=job | {"SLURM_PROCID": rank, "SLURM_LOCALID": rank})
        for rank in ("0", "1")
    ]
    assert [task.wait(timeout=300) for task in jobs] == [0, 0]
    together = json.loads((tmp_path / "two" / "evaluation.json").read_text())
    subprocess.run(evaluate, check=True, cwd=ROOT, env=alone, capture_output=True)
    assert json.loads((tmp_path / "two" / "evaluation.json").read_text())["cer"] == pytest.approx(
        together["cer"], abs=1e-3
    )
    losses = [[row["loss"] for row in rows(tmp_path / name)] for name in ("one", "two")]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-3)
    # One host more or fewer changes nothing but who reads which rows.
    shutil.rmtree(tmp_path / "two" / "checkpoints" / "6")
    subprocess.run(two, check=True, cwd=ROOT, env=alone, capture_output=True)
    assert rows(tmp_path / "two")[-1]["loss"] == pytest.approx(losses[0][-1], rel=1e-3)


def rows(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def wait_for_progress(path, process, seconds=120):
    """Until the run wrote a line after those that were there."""
    before = path.read_text().count("\n") if path.exists() else 0
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        if path.exists() and path.read_text().count("\n") > before:
            return
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_signal_to_the_whole_group_is_saved_though_workers_get_it_too(tone_config, tmp_path, number, status):
    """As a terminal, systemd and SLURM send it; workers whose trainer was killed end, too."""
    tone_config.total_steps, tone_config.log_every, tone_config.input.workers = 2000, 1, 2
    log = tmp_path / "log.txt"
    with log.open("w") as file:
        process = subprocess.Popen(
            train_command(tone_config, tmp_path / "run"), cwd=ROOT, stderr=file, start_new_session=True
        )
    for _ in range(3):
        wait_for_progress(tmp_path / "run" / "metrics.jsonl", process)
    os.kill(process.pid, number) if number == signal.SIGKILL else os.killpg(process.pid, number)
    assert process.wait(timeout=60) == status, log.read_text()[-3000:]
    if number != signal.SIGKILL:
        assert "stopped: saved at step" in log.read_text()
    deadline = time.monotonic() + 30
    while _members(process.pid) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not _members(process.pid)


def _members(group):
    """The processes of a group that still run, zombies left out."""
    shown = subprocess.run(["ps", "-eo", "pgid=,stat=,pid="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in shown.splitlines()]
    return [pid for pgid, stat, pid in rows if int(pgid) == group and not stat.startswith("Z")]


def test_learns_the_tones(tone_config, tmp_path):
    tone_config.total_steps = 60
    tone_config.optimizer.learning_rate = 3e-3
    tone_config.optimizer.clip_norm = 1.0
    tone_config.masking.time_probability = 0.0
    tone_config.masking.time_minimum = 0
    train(tone_config, str(tmp_path))
    losses = [row["loss_per_character"] for row in rows(tmp_path)]
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("task", ["asr", "pretrain"])
def test_bfloat16_keeps_parameters_and_losses_in_float32(tone_data, tmp_path, task):
    tone_config = tone_experiment(tone_data, task)
    tone_config.compute_dtype = "bfloat16"
    state = train(tone_config, str(tmp_path))
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {np.dtype("float32")}
    assert all(np.isfinite(row["loss"]) for row in rows(tmp_path))


def test_another_experiments_workdir_is_refused(tone_config, tmp_path):
    train(tone_config, str(tmp_path))
    tone_config.optimizer.learning_rate = 5e-4
    tone_config.log_every = 1
    with pytest.raises(TrainingError, match=r"optimizer\.learning_rate: 0\.001 there, 0\.0005 now") as error:
        train(tone_config, str(tmp_path))
    assert "log_every" not in str(error.value) and "new --workdir" in str(error.value)


def test_a_run_moves_to_a_machine_that_needs_other_settings(tone_config, tmp_path):
    """Of which none changes the batches."""
    tone_config.log_every = 1
    train(tone_config, str(tmp_path / "whole"))
    stop_after(tone_config, tmp_path / "moved", steps=3)
    tone_config.model.remat, tone_config.input.rows_multiple = "full", 4
    train(tone_config, str(tmp_path / "moved"))
    # Losses, since Adam turns the rounding of gradients that are nearly zero into whole updates.
    one, other = ([row["loss"] for row in rows(tmp_path / name)] for name in ("whole", "moved"))
    np.testing.assert_allclose(other, one, rtol=1e-3)
    tone_config.optimizer.accumulate = 2
    train(tone_config, str(tmp_path / "moved"))
    tone_config.input.rows_multiple = 6
    with pytest.raises(TrainingError, match=r"input\.rows_multiple: 4 there, 6 now"):
        train(tone_config, str(tmp_path / "moved"))


def test_finished_run_is_left_as_it_is(tone_config, tmp_path):
    first = train(tone_config, str(tmp_path))
    again = train(tone_config, str(tmp_path))
    assert_same_trees(first.params, again.params)


def test_non_finite_loss_stops_with_what_stands(tone_config, tmp_path, monkeypatch):
    tone_config.total_steps = 8
    stop_after(tone_config, tmp_path, steps=3)
    original = training.make_train_step

    def broken(*arguments):
        step_fn = original(*arguments)

        def step(state, batch):
            state, metrics = step_fn(state, batch)
            with jax.transfer_guard("allow"):
                loss = metrics["loss"]
                return state, metrics | {"loss": type(loss)(loss.sum * np.float32("nan"), loss.weight)}

        return step

    monkeypatch.setattr(training, "make_train_step", broken)
    with pytest.raises(TrainingError, match=r"non-finite between steps 4 and 4; the checkpoint of step 3"):
        train(tone_config, str(tmp_path))
    assert (tmp_path / "checkpoints" / "3").is_dir() and not (tmp_path / "checkpoints" / "6").exists()


def broken_at(monkeypatch, steps):
    """The loss of these steps, counted from 0, is not a number."""
    original = AsrTask.loss

    def loss(self, model, batch, key, step):
        found = original(self, model, batch, key, step)
        broken = jnp.isin(step, jnp.asarray(steps))
        total = Weighted(found.total.sum * jnp.where(broken, jnp.nan, 1.0), found.total.weight)
        return Loss(total, found.metrics)

    monkeypatch.setattr(AsrTask, "loss", loss)


def test_a_broken_update_is_skipped_counted_and_leaves_no_trace(tone_config, tmp_path, monkeypatch):
    tone_config.optimizer.skip_above = 10.0
    broken_at(monkeypatch, [1])
    state = train(tone_config, str(tmp_path))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))
    lines = rows(tmp_path)
    assert [row["skipped"] * 2 if row["step"] == 2 else row["skipped"] for row in lines] == [1, 0, 0, 0]
    assert all(np.isfinite(row["loss"]) and row["loss"] > 0 for row in lines)
    assert int(skipped_updates(state.optimizer)) == 1


@pytest.mark.slow
def test_too_many_broken_updates_stop_the_run(tone_config, tmp_path, monkeypatch):
    tone_config.optimizer.skip_above, tone_config.total_steps, tone_config.log_every = 10.0, 200, 50
    tone_config.checkpoint.every = 50
    broken_at(monkeypatch, list(range(60, 71)))
    with pytest.raises(TrainingError, match=r"11 of the last 100 updates were skipped.*checkpoint of step 50 in"):
        train(tone_config, str(tmp_path))


def test_too_many_bad_recordings_stop_the_run(tone_config, tmp_path, monkeypatch):
    monkeypatch.setattr("input_pipeline.decode.decode_flac", unreadable)
    tone_config.total_steps = 40
    with pytest.raises(TrainingError, match=r"could not be decoded.*max_bad_share"):
        train(tone_config, str(tmp_path))


def unreadable(data, name):
    from mms_jax.errors import AudioError

    raise AudioError(f"{name}: cannot be decoded")


def test_backbone_comes_from_another_run(tone_data, tone_config, tmp_path):
    pretrained = train(tone_experiment(tone_data, "pretrain"), str(tmp_path / "pretrain"))
    tone_config.init_from = str(tmp_path / "pretrain")
    tone_config.optimizer.learning_rate = 0.0
    tuned = train(tone_config, str(tmp_path / "asr"))
    assert_same_trees(pretrained.params["backbone"], tuned.params["backbone"])
    tone_config.model.geometry = "tiny"
    with pytest.raises(TrainingError, match=r"set config\.model\.geometry to that model's"):
        train(tone_config, str(tmp_path / "other"))


def test_metrics_go_to_json_lines_and_tensorboard(tone_config, tmp_path):
    tone_config.eval_every = 3
    tone_config.profile.start, tone_config.profile.steps = 2, 1
    train(tone_config, str(tmp_path))
    lines = rows(tmp_path)
    assert [row["step"] for row in lines if "loss" in row] == [2, 3, 4, 6]
    assert [row["step"] for row in lines if "eval/cer" in row] == [3, 6]
    assert {"learning_rate", "audio_rate", "data_share", "gradient_norm", "infeasible"} <= set(lines[0])
    assert list((tmp_path / "tensorboard").glob("events*"))
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))


def test_a_run_that_resumes_behind_the_profiled_step_is_profiled_at_once(tone_config, tmp_path):
    stop_after(tone_config, tmp_path, 3)
    tone_config.profile.start, tone_config.profile.steps = 2, 1
    train(tone_config, str(tmp_path))
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))


def test_unknown_config_key_names_the_nearest():
    command = [sys.executable, "-m", "mms_jax.train", "--config=configs/asr_phrases.py", "--workdir=x"]
    done = subprocess.run([*command, "--config.optimizer.learning_rat=1"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert "learning_rat" in done.stderr and "learning_rate" in done.stderr


def test_files_are_closed_when_the_loop_fails(tone_config, tmp_path, monkeypatch):
    """A bug in a step ends the run with its own traceback, and everything that was open is closed."""
    closed = []
    for kind in (training.Checkpoints, training.MetricWriter, training.Profile, training.Progress):
        original = kind.__exit__

        def leave(self, *error, original=original):
            closed.append(type(self).__name__)
            original(self, *error)

        monkeypatch.setattr(kind, "__exit__", leave)

    def broken(*arguments):
        def step(state, batch):
            raise ValueError("incompatible shapes")

        return step

    monkeypatch.setattr(training, "make_train_step", broken)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ValueError, match="incompatible shapes"):
        train(tone_config, str(tmp_path))
    assert closed == ["Progress", "Profile", "MetricWriter", "Checkpoints"]
    assert signal.getsignal(signal.SIGTERM) == before == signal.SIG_DFL


def test_another_tasks_workdir_is_refused(tone_data, tone_config, tmp_path):
    train(tone_config, str(tmp_path))
    with pytest.raises(TrainingError, match=r"checkpoints of another task .*'asr', this is 'pretrain'"):
        train(tone_experiment(tone_data, "pretrain"), str(tmp_path))
