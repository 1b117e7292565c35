"""The loop of every task: python -m mms_jax.train --config=configs/NAME.py --workdir=DIR [--config.key=value]

The same command resumes: what it finds in DIR decides. Read `train` from top to bottom.
"""

import dataclasses
import functools
import json
import pathlib
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from input_pipeline.corpora.storage import Corpus, CorpusError
from input_pipeline.dataset import corpus_vocabulary, corpus_voice, language_hours, open_corpora, training_data
from input_pipeline.loader import load_batches
from mms_jax import sharding
from mms_jax.audio.waveform import SAMPLE_RATE
from mms_jax.checkpoint import CheckpointError, Checkpoints, write_json
from mms_jax.config import default_config, differing_keys, flatten_config
from mms_jax.errors import TrainingError
from mms_jax.evaluate import Evaluator
from mms_jax.metrics import MetricWriter, Profile, Progress, Window
from mms_jax.models.functional import FunctionalModel, Params
from mms_jax.optimizers import Averaged, make_optimizer
from mms_jax.tasks import Task, make_task
from mms_jax.tasks.sums import Weighted
from mms_jax.text.voice_text import Labels
from mms_jax.warm_start import warm_start


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """Everything that changes from step to step.

    Attributes:
      params: the parameters.
      optimizer: optax state.
      step: int32, batches seen. Randomness and data order are functions of it and the seed.
    """

    params: Params
    optimizer: optax.OptState
    step: jax.Array


def train(config: ConfigDict, workdir: str) -> TrainState:
    """Trains until `config.total_steps`, resuming where WORKDIR left off.

    Args:
      config: the experiment, see mms_jax.config.
      workdir: holds checkpoints, metrics.jsonl, TensorBoard files and config.json.

    Returns:
      The last state.

    Raises:
      TrainingError: another experiment's folder, a loss that is no longer finite, too many bad recordings.
      CheckpointError: a checkpoint that cannot be saved or read. CorpusError: a corpus that is not prepared.
      ValueError: an impossible config.
    """
    folder = pathlib.Path(workdir).expanduser()
    claim_workdir(config, folder)

    # ---- mesh, data, model, optimizer --------------------------------------------------------------------------------
    mesh = sharding.make_mesh(**config.mesh)
    corpora = open_corpora(config.input.corpora, config.input.data_dir)
    vocabulary = make_vocabulary(config, corpora)
    task = make_task(config, vocabulary)
    model = FunctionalModel.abstract(task.build)
    sharding.check_rows(config.input.rows_multiple, mesh)
    plan, decoder = training_data(config.input, corpora, vocabulary, config.seed, epsilon=task.waveform_epsilon)
    optimizer, schedule = make_optimizer(config.optimizer, config.total_steps, plan.batches, task.parts)
    hours = language_hours(corpora)
    logging.info("%.2f hours in %d languages, %d batches an epoch", sum(hours.values()), len(hours), plan.batches)

    with jax.set_mesh(mesh):
        checkpoints = Checkpoints(folder, keep=config.checkpoint.keep, keep_every=config.checkpoint.keep_every or None)
        state = starting_state(config, checkpoints, task, model, optimizer, mesh)
        first = int(state.step)
        step_fn = make_train_step(task, model, optimizer, config.seed)
        evaluator = Evaluator(config, task, model, mesh) if config.eval_every else None
        batches = load_batches(
            plan, decoder, start=first, stop=config.total_steps, workers=config.input.workers,
            prefetch=config.input.prefetch, **sharding.this_process(),
        )  # fmt: skip
        writer, window = MetricWriter(folder, first), Window(config.input.max_bad_share)
        profile = Profile(folder, config.profile.start, config.profile.steps)
        stop_asked = _listen_for_termination()

        # ---- the loop ------------------------------------------------------------------------------------------------
        with Progress(first, config.total_steps) as progress:
            for step in range(first + 1, config.total_steps + 1):
                profile.before(step)
                with window.waiting():
                    batch = sharding.put_batch(next(batches), mesh)
                with jax.profiler.StepTraceAnnotation("train", step_num=step), jax.transfer_guard("disallow"):
                    state, metrics = step_fn(state, batch)
                progress.advance(window.add(step, metrics))
                profile.after(step, state)

                last = step == config.total_steps or stop_asked()
                saving = step % config.checkpoint.every == 0 or last
                if saving or step % config.log_every == 0:
                    update = (step - 1) // config.optimizer.accumulate
                    figures = window.close() | {"learning_rate": float(schedule(update))}
                    writer.write(step, figures)
                    _stop_if_broken(figures, window, checkpoints, folder)
                if saving:
                    stored = exchanged(state)
                    train_entry = {"optimizer": stored.optimizer, "step": stored.step}
                    checkpoints.save(step, stored.params, train_entry, task.describe())
                if evaluator and (step % config.eval_every == 0 or step == config.total_steps):
                    evaluator.report(exchanged(state).params, writer, step)
                if last:
                    break
        checkpoints.close()
        writer.close()
        _stop_listening()
    if int(state.step) < config.total_steps:
        raise TrainingError(f"asked to stop: saved at step {int(state.step)}; the same command continues from there")
    return state


def make_vocabulary(config: ConfigDict, corpora: Sequence[Corpus]) -> Labels | None:
    """What writes the transcripts of the corpora, for the tasks that read them."""
    if config.task == "tts":
        return corpus_voice(corpora, uroman=config.tts.uroman)
    return corpus_vocabulary(corpora) if config.task == "asr" else None


def make_train_step(
    task: Task, model: FunctionalModel, optimizer: optax.GradientTransformation, seed: int
) -> Callable[[TrainState, dict[str, jax.Array]], tuple[TrainState, dict[str, Weighted]]]:
    """One jitted update; the state is donated. Sharding follows from the arrays that go in."""

    def update(state: TrainState, batch: dict[str, jax.Array]) -> tuple[TrainState, dict[str, Weighted]]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        params, optimizer_state, metrics = task.update(
            model, optimizer, state.params, state.optimizer, batch, key, state.step
        )
        metrics |= {
            "audio_seconds": Weighted(jnp.sum(batch["lengths"]) / SAMPLE_RATE, jnp.ones(())),
            "bad": Weighted(jnp.sum((batch["item"] >= 0) & ~batch["counted"]), jnp.sum(batch["item"] >= 0)),
        }
        return TrainState(params, optimizer_state, state.step + 1), metrics

    @functools.partial(jax.jit, donate_argnums=0)
    def train_step(state: TrainState, batch: dict[str, jax.Array]) -> tuple[TrainState, dict[str, Weighted]]:
        return sharding.automatic(update, state)(state, batch)

    return train_step


def abstract_state(
    model: FunctionalModel, optimizer: optax.GradientTransformation, mesh: jax.sharding.Mesh
) -> TrainState:
    """The state as ShapeDtypeStructs with shardings: what initialising and restoring both aim at."""
    shapes, shardings = model.shapes(), model.shardings(mesh)
    params = jax.tree.map(
        lambda shape, place: jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=place), shapes, shardings
    )
    everywhere = sharding.replicated(mesh)
    places = {_names(path): leaf.sharding for path, leaf in jax.tree_util.tree_leaves_with_path(params)}

    def place(path: tuple, leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        # Moments live where their parameters do, whose names their own path ends with.
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=places.get(_names(path), everywhere))

    optimizer_state = jax.tree_util.tree_map_with_path(place, jax.eval_shape(optimizer.init, shapes))
    step = jax.ShapeDtypeStruct((), jnp.int32, sharding=everywhere)
    return TrainState(params, optimizer_state, step)  # type: ignore[arg-type]


def _names(path: tuple) -> tuple[str, ...]:
    """The dict keys that a path ends with."""
    keys = [getattr(key, "key", None) if isinstance(key, jax.tree_util.DictKey) else None for key in path]
    behind = max((place + 1 for place, key in enumerate(keys) if key is None), default=0)
    return tuple(str(key) for key in keys[behind:])


def initial_state(
    model: FunctionalModel, optimizer: optax.GradientTransformation, abstract: TrainState, seed: int
) -> TrainState:
    """A fresh state, born sharded."""

    def init(key: jax.Array) -> TrainState:
        params = model.init(key)
        return TrainState(params, optimizer.init(params), jnp.zeros((), jnp.int32))

    shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract)
    return jax.jit(init, out_shardings=shardings)(jax.random.key(seed))


def starting_state(
    config: ConfigDict,
    checkpoints: Checkpoints,
    task: Task,
    model: FunctionalModel,
    optimizer: optax.GradientTransformation,
    mesh: jax.sharding.Mesh,
) -> TrainState:
    """This run's newest checkpoint; else a fresh state, warm where the config names a model to start from."""
    abstract = abstract_state(model, optimizer, mesh)
    state = restore_state(checkpoints, abstract)
    origin = "fresh start" if state is None else f"resuming at step {int(state.step)}"
    if state is None:
        state = initial_state(model, optimizer, abstract, config.seed)
        if config.init_from:
            state = dataclasses.replace(state, params=warm_start(state.params, config.init_from, task))
            if isinstance(state.optimizer, Averaged):
                average = jax.tree.map(jnp.copy, state.params)
                state = dataclasses.replace(state, optimizer=state.optimizer._replace(average=average))
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    logging.info("%s parameters; %s", f"{parameters:,}", origin)
    return state


def restore_state(checkpoints: Checkpoints, abstract: TrainState) -> TrainState | None:
    """The state of this run's newest readable checkpoint, or None where there is none."""
    restored = checkpoints.restore(abstract.params, {"optimizer": abstract.optimizer, "step": abstract.step})
    if restored is None:
        return None
    params, rest = restored
    return exchanged(TrainState(params, rest["optimizer"], rest["step"]))


def exchanged(state: TrainState) -> TrainState:
    """Average and parameters in each other's place, as checkpoints hold them; the same state where there is no average.

    What is loaded for inference is then the average, without knowing of it. Twice is back again.
    """
    if not isinstance(state.optimizer, Averaged):
        return state
    return TrainState(state.optimizer.average, state.optimizer._replace(average=state.params), state.step)


def claim_workdir(config: ConfigDict, folder: pathlib.Path) -> None:
    """Makes the folder this experiment's, or checks that it already is.

    Raises:
      TrainingError: it holds another experiment's checkpoints; the message lists what differs.
    """
    path = folder / "config.json"
    ours = flatten_config(config)
    if path.exists():
        # Keys that are newer than that run stood at what is their default now.
        defaults = json.loads(json.dumps(flatten_config(default_config())))
        theirs = defaults | json.loads(path.read_text())
        differing = differing_keys(json.loads(json.dumps(ours)), theirs)
        if differing and any((folder / "checkpoints").glob("[0-9]*")):
            lines = [f"  {name}: {theirs.get(name)!r} there, {ours.get(name)!r} now" for name in differing]
            raise TrainingError(
                f"{folder} holds the checkpoints of another experiment:\n"
                + "\n".join(lines)
                + "\nChoose a new --workdir, or give these keys the values they have there to continue that run."
            )
    if jax.process_index() == 0:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, ours)


def _stop_if_broken(figures: dict[str, Any], window: Window, checkpoints: Checkpoints, folder: pathlib.Path) -> None:
    """Stops before anything broken is saved. Raises TrainingError."""
    standing = f"the checkpoint of step {checkpoints.steps[-1]} in {folder} stands" if checkpoints.steps else (
        "no checkpoint was saved yet"
    )  # fmt: skip
    broken = [name for name in ("loss", "gradient_norm") if not np.isfinite(figures[name])]
    if broken:
        raise TrainingError(
            f"{' and '.join(broken)} became non-finite between steps {window.first} and {window.last}; {standing}. "
            "Lower config.optimizer.learning_rate, or set config.optimizer.clip_norm=1.0, in a new --workdir; "
            "bfloat16 runs also profit from more warmup."
        )
    if window.too_many_bad():
        raise TrainingError(
            f"{window.bad} of {window.rows} recordings since the start could not be decoded (named in the log above), "
            f"more than config.input.max_bad_share; {standing}. Repair the corpus, or raise that share."
        )


def _listen_for_termination() -> Callable[[], bool]:
    """SIGTERM, which announces a preemption, asks the loop to save and stop. Every process of a job gets it.

    The first signal asks; a second one ends the process as it always did.
    """
    asked: list[int] = []

    def ask(number: int, frame: object) -> None:
        del frame
        asked.append(number)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    try:
        signal.signal(signal.SIGTERM, ask)
    except ValueError:  # not in the main thread, as in some notebooks
        return lambda: False
    return lambda: bool(asked)


def _stop_listening() -> None:
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def main(argv: list[str]) -> None:
    """Command line."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments {argv[1:]}")
    config = _CONFIG.value
    sharding.start_distributed(config.distributed)
    try:
        train(config, _WORKDIR.value)
    except (TrainingError, CheckpointError, CorpusError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    _CONFIG = config_flags.DEFINE_config_file("config", None, "experiment, configs/NAME.py", lock_config=True)
    _WORKDIR: flags.FlagHolder[str] = flags.DEFINE_string(  # type: ignore[assignment]
        "workdir", None, "folder of the run; made if it is not there"
    )
    flags.mark_flags_as_required(["config", "workdir"])
    app.run(main)
