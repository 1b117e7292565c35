"""Scores a checkpoint: python -m mms_jax.evaluate --config=NAME --workdir=DIR

Restores the newest checkpoint below DIR (with --workdir=DIR@best, the best on the dev corpora), runs it over
`config.input.eval_corpora`, prints a table and writes DIR/evaluation.json. DIR may also be a Hugging Face folder or
repository, or a file of fairseq; the results of these go to evaluations/NAME. The task determines the figures: error rates
by language for recognizers, the accuracy of masked prediction for pretrained models, distances from recordings for
voices.
"""

if __name__ == "__main__":  # before the libraries below are imported, which takes seconds
    from mms_jax.command import hold_signals

    hold_signals()


import contextlib
import math
import pathlib
import sys
from collections.abc import Generator, Sequence

import jax
from absl import logging
from ml_collections import ConfigDict
from tqdm import tqdm

from input_pipeline.dataset import evaluation_data, language_hours, open_corpora, references
from input_pipeline.decode import Batch
from input_pipeline.loader import load_batches
from input_pipeline.table import format_left_out
from mms_jax import distributed, sharding
from mms_jax.checkpoint import FOLDER, StoredModel, checkpoint_folder, is_best, load_model
from mms_jax.config import current_config
from mms_jax.errors import CheckpointError, ConfigError
from mms_jax.experiment import run_experiment
from mms_jax.files import open_path, write_json
from mms_jax.inference.find import find_model
from mms_jax.inference.load import load
from mms_jax.interop import hub
from mms_jax.models.functional import FunctionalModel, Params
from mms_jax.tasks import find_task
from mms_jax.tasks.base import Result, Task
from mms_jax.training.log import MetricWriter


class Evaluator:
    """Scores parameters of one task on corpora; compiles once a bucket.

    It is the task's EvaluationData.

    Attributes:
      corpora: the corpora on which it scores.
      utterances: the number of their utterances.
    """

    def __init__(
        self, config: ConfigDict, task: Task, model: FunctionalModel, mesh: jax.sharding.Mesh, corpora: Sequence[str]
    ):
        """Opens the corpora, "NAME:SPLIT".

        Raises:
          CorpusError: one of them is not prepared.
        """
        self._config, self._task, self._mesh = config, task, mesh
        self.corpora = open_corpora(corpora, config.input.data_dir)
        inputs = config.input.copy_and_resolve_references()
        # Any number of rows gives the same scores.
        inputs.rows_multiple = math.lcm(inputs.rows_multiple, sharding.row_devices(mesh))
        self._plan, self._decoder = evaluation_data(inputs, self.corpora, task.needs)
        self.utterances = len(self._plan.table)
        gathered = sharding.replicated(mesh)
        self._evaluate = task.make_evaluation(model, gathered)
        self._examples = task.make_examples(model, gathered)
        self._progress = False

    def run(self, params: Params, *, progress: bool = False) -> Result:
        """Scores `params`; the result is printed by `Task.format_result` and written to evaluation.json."""
        self._progress = progress
        result = self._evaluate(params, self)
        left_out = self._plan.table.left_out
        return result | ({"left_out": left_out} if left_out else {})

    @property
    def left_out(self) -> str:
        """How many utterances are not scored, and why; "" where all are."""
        return format_left_out(self._plan.table)

    def report(self, params: Params, writer: MetricWriter, step: int) -> Result:
        """Scores `params` during a run, and writes figures and examples to the run's log; returns the result."""
        result = self.run(params)
        # The log keeps numbers by step; lists, such as the worst utterances, are for the final evaluation.
        figures = {name: value for name, value in result.items() if not isinstance(value, list)}
        writer.write(step, {f"eval/{name}": value for name, value in figures.items()})
        logging.info("step %d\n%s\n%s", step, self._task.format_result(result), self.left_out)
        if self._examples is not None:
            with contextlib.closing(self.batches()) as batches:
                writer.write_examples(step, self._examples(params, next(batches)))
        return result

    def batches(self) -> Generator[Batch, None, None]:
        """All utterances once, on the mesh."""
        batches = load_batches(
            self._plan,
            self._decoder,
            start=0,
            stop=self._plan.batches,
            workers=self._config.input.workers,
            **sharding.parts_of_process(self._mesh),
        )
        with contextlib.closing(batches):
            bar = tqdm(batches, total=self._plan.batches, desc="evaluate", unit="batch", disable=not self._progress)
            for batch in bar:
                yield sharding.put_batch(batch, self._mesh)

    def references(self, items: Sequence[int]) -> tuple[list[str], list[str]]:
        """Normalized transcripts and languages of utterances, by `Batch["item"]`."""
        return references(self._plan, self.corpora, items)


def evaluate(config: ConfigDict, workdir: str) -> Result:
    """Evaluates a checkpoint of a run on `config.input.eval_corpora`.

    Args:
      config: names the corpora and the mesh; the model comes from the checkpoint.
      workdir: the run, for its newest checkpoint; WORKDIR@best for the best on its dev corpora; or another model that
        `mms_jax.load` takes, of which the languages of the corpora are read.

    Returns:
      The scores, with "step", "checkpoint", the way it was chosen, and "corpora".

    Raises:
      CheckpointError: no readable checkpoint, or one of another task. CorpusError: a corpus is not prepared.
    """
    config = current_config(config)
    if not config.input.eval_corpora:
        raise ConfigError("config.input.eval_corpora is empty; name a corpus, as in ('audio_folder/mine:test',)")
    task_class = find_task(config.task)
    stored = _load(config, workdir)
    _check_task(stored, task_class, workdir)
    task = task_class.from_description(config, stored.description)
    model = FunctionalModel.abstract(task.build)
    mesh = sharding.make_mesh(**config.mesh)
    params = _placed(stored, model, mesh, workdir)
    with jax.set_mesh(mesh):
        evaluator = Evaluator(config, task, model, mesh, config.input.eval_corpora)
        result = evaluator.run(params, progress=sys.stderr.isatty())
        if evaluator.left_out:
            logging.warning("%s", evaluator.left_out)
    result |= task.score_checkpoint(config, stored, evaluator.corpora, load)
    return {
        "step": stored.step,
        "checkpoint": _chosen(stored, workdir),
        "corpora": [corpus.name for corpus in evaluator.corpora],
        **result,
    }


def is_run(workdir: str) -> bool:
    """Whether a name is that of a run, and not of a model of another program."""
    path = open_path(workdir)
    other = path.is_file() or ((path / "config.json").exists() and not (path / FOLDER).exists())
    return is_best(workdir) or not (other or hub.is_remote(workdir))


def _load(config: ConfigDict, workdir: str) -> StoredModel:
    if is_run(workdir):
        return load_model(workdir)
    corpora = open_corpora(config.input.eval_corpora, config.input.data_dir)
    return find_model(workdir, sorted(language_hours(corpora)))


def result_folder(workdir: str) -> pathlib.Path:
    """Where results are written: the folder of the checkpoint, or evaluations/NAME for a model of another program."""
    if is_run(workdir):
        return checkpoint_folder(workdir)
    folder = pathlib.Path("evaluations") / workdir.strip("/").replace("/", "_")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _chosen(stored: StoredModel, workdir: str) -> str:
    """Says which checkpoint was evaluated."""
    chosen = stored.description.get("chosen")
    if chosen:
        return f"best {chosen['by']} on {', '.join(chosen['corpora'])}: {chosen[chosen['by']]:.4g}"
    return "newest" if (checkpoint_folder(workdir) / FOLDER).exists() else "the one that was named"


def _placed(stored: StoredModel, model: FunctionalModel, mesh: jax.sharding.Mesh, workdir: str) -> Params:
    """The stored parameters on the mesh. Raises CheckpointError where the task's module needs others."""
    wanted = model.shapes()
    if missing := sorted(set(wanted) - set(stored.params)):
        raise CheckpointError(
            f"{workdir} has no {', '.join(missing)}, which this task needs; only runs of the task can be evaluated"
        )
    own = {name: stored.params[name] for name in wanted}
    return jax.tree.map(sharding.put_array, own, model.shardings(mesh))


def _check_task(stored: StoredModel, task: type[Task], workdir: str) -> None:
    """Raises CheckpointError if a checkpoint is not of this task. Converted models have a kind, but no task."""
    trained_by = stored.description.get("task")
    if trained_by not in (None, task.name):
        raise CheckpointError(
            f"{workdir} holds a checkpoint of task {trained_by!r}, and config.task={task.name!r}; "
            "give the config that it was trained with"
        )
    if stored.description["kind"] != task.kind:
        raise CheckpointError(
            f"{workdir} holds a model of kind {stored.description['kind']!r}, and task {task.name!r} evaluates those of "
            f"kind {task.kind!r}; give the config of another task"
        )


def _main(config: ConfigDict, workdir: str) -> None:
    distributed.join_job(config.distributed)
    result = evaluate(config, workdir)
    if jax.process_index() == 0:
        path = result_folder(workdir) / "evaluation.json"
        write_json(path, result)
        print(f"step {result['step']} ({result['checkpoint']})")
        task = find_task(config.task)
        print(task.format_result(result))
        task.write_result(result, path.parent)
        logging.info("written to %s", path)


if __name__ == "__main__":
    run_experiment("mms_jax.evaluate", _main, "the run's folder")
