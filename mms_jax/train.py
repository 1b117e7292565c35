"""The training loop of all tasks: python -m mms_jax.train --config=NAME --workdir=DIR [--config.key=value]

The same command resumes from the checkpoints in DIR. Read `train` from top to bottom.
"""

if __name__ == "__main__":  # before the libraries below are imported, which takes seconds
    from mms_jax.command import hold_signals

    hold_signals()


import contextlib
import os
import pathlib
import signal
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from absl import logging
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from input_pipeline.dataset import language_hours, open_corpora, training_data, warn_of_rare_languages
from input_pipeline.loader import load_batches
from mms_jax import distributed, sharding
from mms_jax.checkpoint import Checkpoints, reaching_store
from mms_jax.command import catching_signals
from mms_jax.config import current_config
from mms_jax.errors import Stopped, TrainingError
from mms_jax.evaluate import Evaluator
from mms_jax.experiment import run_experiment
from mms_jax.files import open_path
from mms_jax.models.functional import FunctionalModel
from mms_jax.optimizers import check_frozen, make_optimizer
from mms_jax.tasks import find_task
from mms_jax.training.best import Best, check_best
from mms_jax.training.history import training_history
from mms_jax.training.log import RECENT, MetricWriter, Profile, Progress, StepWindow
from mms_jax.training.log_folder import LogFolder
from mms_jax.training.machine import MachineFigures
from mms_jax.training.state import TrainState, describe, save_state, starting_state, swap_average
from mms_jax.training.step import make_train_step
from mms_jax.training.tracker import check_tracker, start_tracker
from mms_jax.training.utilization import Utilization
from mms_jax.training.watchdog import Watchdog
from mms_jax.training.workdir import check_workdir, claim_workdir


def train(config: ConfigDict, workdir: str) -> TrainState:
    """Trains until `config.total_steps`, resuming from the newest checkpoint in WORKDIR.

    Args:
      config: the experiment, see mms_jax.config.
      workdir: holds checkpoints, metrics.jsonl, TensorBoard files and config.json; a folder, or gs://BUCKET/NAME.

    Returns:
      The last state.

    Raises:
      TrainingError: another experiment's folder, a loss that is no longer finite, too many bad recordings.
      CheckpointError: a checkpoint that cannot be saved or read. CorpusError: a corpus that is not prepared.
      ConfigError: an impossible config. Stopped: a signal ended the run, which has saved its step.
    """
    folder = open_path(workdir)
    config = current_config(config)
    task_class = find_task(config.task)
    task_class.check_config(config)
    check_best(config, task_class.figures)
    check_tracker(config)
    check_workdir(config, folder)

    # ---- mesh, data, model, optimizer --------------------------------------------------------------------------------
    mesh = sharding.make_mesh(**config.mesh)
    corpora = open_corpora(config.input.corpora, config.input.data_dir)
    task = task_class.from_corpora(config, corpora)
    model = FunctionalModel.abstract(task.build)
    sharding.check_rows(config.input.rows_multiple, config.optimizer.accumulate, mesh)
    plan, decoder = training_data(config.input, corpora, task.needs, config.seed)
    check_frozen(config.optimizer.freeze, model.shapes())
    optimizer, schedule = make_optimizer(
        config.optimizer, config.total_steps, plan.pass_batches, task.parts, task.frozen
    )
    claim_workdir(config, folder)
    if task.needs.tokenizer is not None:
        warn_of_rare_languages(plan, config.total_steps)
    hours = language_hours(corpora)
    logging.info("%.2f hours in %d languages, %d batches a pass", sum(hours.values()), len(hours), plan.pass_batches)

    with contextlib.ExitStack() as stack:
        stack.enter_context(jax.set_mesh(mesh))
        stop_asked = stack.enter_context(listen_for_termination())  # first, so that it outlasts the last save
        keep_every = config.checkpoint.keep_every or None
        checkpoints = stack.enter_context(Checkpoints(folder, keep=config.checkpoint.keep, keep_every=keep_every))
        state, started_from = starting_state(config, checkpoints, task, model, optimizer, mesh)
        history = training_history(corpora, started_from, config.init_from)
        first = int(state.step)
        if first >= config.total_steps:
            logging.info("finished at step %d; raise config.total_steps to train further", first)
        step_fn = make_train_step(task, model, optimizer, config.seed, config.optimizer.accumulate)
        evaluator = Evaluator(config, task, model, mesh, config.input.dev_corpora) if config.eval_every else None
        best = Best(folder, config) if config.checkpoint.best else None
        batches = load_batches(
            plan, decoder, start=first, stop=config.total_steps, workers=config.input.workers,
            prefetch=config.input.prefetch, **sharding.parts_of_process(mesh),
        )  # fmt: skip
        stack.callback(batches.close)
        logs = stack.enter_context(LogFolder(folder))
        writer = stack.enter_context(MetricWriter(logs.local, first, start_tracker(config, folder)))
        window = StepWindow(config.input.max_bad_share)
        utilization = Utilization(config, task, mesh)
        machine = MachineFigures()
        profile = stack.enter_context(Profile(logs.local, config.profile.start, config.profile.steps, first))
        progress = stack.enter_context(Progress(first, config.total_steps))
        watchdog = stack.enter_context(Watchdog(config.watchdog.factor, config.watchdog.seconds))

        # ---- the loop ------------------------------------------------------------------------------------------------
        for step in range(first + 1, config.total_steps + 1):
            profile.before(step)
            with window.waiting():
                batch = sharding.put_batch(next(batches), mesh)
            with jax.profiler.StepTraceAnnotation("train", step_num=step), jax.transfer_guard("disallow"):
                state, metrics = step_fn(state, batch)
            progress.advance(window.add(step, metrics, utilization.seconds(batch)))
            profile.after(step, state)
            watchdog.step()

            stopped_by = stop_asked(step)
            last = step == config.total_steps or bool(stopped_by)
            stopping = bool(stopped_by) and step < config.total_steps
            evaluating = config.eval_every and (step % config.eval_every == 0 or step == config.total_steps)
            # Before an evaluation, too: a preemption does not interrupt it, and may kill the process in it.
            saving = step % config.checkpoint.every == 0 or last or evaluating
            if saving or step % config.log_every == 0:
                figures = window.close() | {"learning_rate": float(schedule(step - 1))} | machine.take()
                writer.write(step, figures)
                _stop_if_broken(figures, window, checkpoints, folder)
            if saving:
                with watchdog.paused():
                    save_state(checkpoints, state, task, history)
                    writer.flush()
                    logs.publish()
            if evaluator and evaluating and not stopping:
                with watchdog.paused():
                    params = swap_average(state).params
                    result = evaluator.report(params, writer, step)
                    if best:
                        best.offer(step, params, describe(task, history), result)
            if last:
                break
    if int(state.step) < config.total_steps:
        raise Stopped(f"saved at step {int(state.step)}; the same command continues from there", stopped_by)
    return state


def _stop_if_broken(
    figures: dict[str, Any], window: StepWindow, checkpoints: Checkpoints, folder: pathlib.Path
) -> None:
    """Raises TrainingError before a broken state is saved."""
    standing = f"the checkpoint of step {checkpoints.steps[-1]} in {folder} stands" if checkpoints.steps else (
        "no checkpoint was saved yet"
    )  # fmt: skip
    skipped_all = figures.get("skipped") == 1.0
    broken = [name for name in ("loss", "gradient_norm") if not (np.isfinite(figures[name]) or skipped_all)]
    if broken:
        raise TrainingError(
            f"{' and '.join(broken)} became non-finite between steps {window.first} and {window.last}; {standing}. "
            "Lower config.optimizer.learning_rate, or set config.optimizer.clip_norm=1.0, in a new --workdir; "
            "bfloat16 runs also profit from more warmup."
        )
    if window.too_many_skipped():
        raise TrainingError(
            f"{window.skipped} of the last {RECENT} updates were skipped, because their gradient was not finite or a spike;"
            f" {standing}. Lower config.optimizer.learning_rate, or look for damaged recordings."
        )
    if window.too_many_bad():
        raise TrainingError(
            f"{window.bad} of {window.rows} recordings since the start could not be decoded (named in the log above), "
            f"more than config.input.max_bad_share; {standing}. Repair the corpus, or raise that share."
        )


@contextlib.contextmanager
def listen_for_termination() -> Iterator[Callable[[int], int]]:
    """SIGTERM, which announces a preemption, and Ctrl-C ask the loop to save and stop, all processes of a job together.

    Yields:
      A function of each step, in turn, that returns the number of the signal after which to stop, 0 for none. In a job of
      one process, a second signal ends it at once.
    """
    asked: list[int] = []
    if jax.process_count() == 1:
        with catching_signals(asked.append):
            yield lambda step: asked[0] if asked else 0
        return

    # A process that stopped alone would leave the others in a collective. JAX's own handler of SIGTERM tells the others,
    # whichever of them gets it, and all agree on a step.
    def tell_others(number: int) -> None:
        asked.append(number)
        os.kill(os.getpid(), signal.SIGTERM)

    with catching_signals(tell_others, (signal.SIGINT,)):
        yield lambda step: (asked or [signal.SIGTERM])[0] if multihost_utils.reached_preemption_sync_point(step) else 0


def _main(config: ConfigDict, workdir: str) -> None:
    distributed.join_job(config.distributed)
    with reaching_store(workdir):
        train(config, workdir)


if __name__ == "__main__":
    run_experiment("mms_jax.train", _main, "folder of the run; made if it does not exist")
