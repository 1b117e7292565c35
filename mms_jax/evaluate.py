"""Scores a checkpoint: python -m mms_jax.evaluate --config=configs/NAME.py --workdir=DIR

Restores the newest checkpoint below DIR, runs it over `config.input.eval_corpora`, prints a table and writes
DIR/evaluation.json. Recognisers get character and word error rates by language, pretrained models their accuracy, voices
their distance from recordings and, with `config.tts.recogniser`, how well they are understood.
"""

import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import jax
from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags
from tqdm import tqdm

from input_pipeline.corpora.storage import Corpus, CorpusError, as_text
from input_pipeline.dataset import evaluation_data, open_corpora, references
from input_pipeline.decode import Decoder
from input_pipeline.loader import load_batches
from input_pipeline.plan import EvaluationPlan
from mms_jax import listening, load_recognizer, sharding
from mms_jax.audio.waveform import SAMPLE_RATE
from mms_jax.checkpoint import CheckpointError, StoredModel, load_model, write_json
from mms_jax.loading import voice_of
from mms_jax.metrics import MetricWriter
from mms_jax.models.functional import FunctionalModel, Params
from mms_jax.tasks import Task, stored_task
from mms_jax.tasks.asr import metrics as asr_metrics
from mms_jax.tasks.asr.step import AsrTask
from mms_jax.tasks.pretrain import metrics as pretrain_metrics
from mms_jax.tasks.sums import pooled_means
from mms_jax.tasks.tts import metrics as tts_metrics
from mms_jax.tasks.tts.step import TtsTask

SHOWN = 2  # texts of which a voice's audio and pictures are kept


class Evaluator:
    """Scores parameters of one task on `config.input.eval_corpora`; compiles once a bucket."""

    def __init__(self, config: ConfigDict, task: Task, model: FunctionalModel, mesh: jax.sharding.Mesh):
        """Opens the corpora.

        Raises:
          CorpusError: one of them is not prepared.
        """
        self._config, self._task, self._mesh = config, task, mesh
        self._corpora: list[Corpus] = open_corpora(config.input.eval_corpora, config.input.data_dir)
        self._plan: EvaluationPlan
        self._decoder: Decoder
        self._plan, self._decoder = evaluation_data(
            config.input, self._corpora, task.vocabulary, epsilon=task.waveform_epsilon
        )
        gathered = sharding.replicated(mesh)
        if isinstance(task, AsrTask):
            self._predict = asr_metrics.make_predict(task, model, gathered)
        elif isinstance(task, TtsTask):
            self._predict = tts_metrics.make_predict(task, model, gathered)
            self._examples = tts_metrics.make_examples(task, model, gathered)
        else:
            self._predict = pretrain_metrics.make_predict(task, model, gathered)

    def run(self, params: Params, *, progress: bool = False) -> dict[str, Any]:
        """Scores `params`; the result is what `format_result` prints and evaluation.json holds."""
        if isinstance(self._task, TtsTask):
            return pooled_means(self._predict, params, self._batches(progress))
        if not isinstance(self._task, AsrTask):
            return pretrain_metrics.prediction_rates(self._predict, params, self._batches(progress))
        transcripts = asr_metrics.transcribe_batches(self._task, self._predict, params, self._batches(progress))
        items = sorted(transcripts)
        texts, languages = references(self._plan, self._corpora, items)
        result = asr_metrics.error_rates(texts, [transcripts[item] for item in items], languages)
        result["undecodable"] = len(self._plan.table) - len(items)
        return result

    def report(self, params: Params, writer: MetricWriter, step: int) -> None:
        """Scores `params` of a run under way, and writes the result where the run's figures are."""
        result = self.run(params)
        writer.write(step, {f"eval/{name}": value for name, value in result.items()})
        logging.info("step %d\n%s", step, format_result(result))
        if isinstance(self._task, TtsTask):
            self._show(params, writer, step)

    def _show(self, params: Params, writer: MetricWriter, step: int) -> None:
        """Puts what a voice says of the first texts, and how it aligned them, where people look and listen."""
        found = jax.device_get(self._examples(params, next(self._batches(progress=False))))
        for row in range(min(SHOWN, len(found["said"]))):
            for name in ("said", "read"):
                writer.sound(step, f"{name}/{row}", found[name][row], SAMPLE_RATE)
                writer.picture(step, f"mel_{name}/{row}", found[f"mel_{name}"][row].T)
            writer.picture(step, f"attention/{row}", found["attention"][row])

    def _batches(self, progress: bool) -> Iterator[dict[str, jax.Array]]:
        batches = load_batches(
            self._plan,
            self._decoder,
            start=0,
            stop=self._plan.batches,
            workers=self._config.input.workers,
            **sharding.this_process(),
        )
        for batch in tqdm(batches, total=self._plan.batches, desc="evaluate", unit="batch", disable=not progress):
            yield sharding.put_batch(batch, self._mesh)


def format_result(result: dict[str, Any]) -> str:
    """An evaluation as a table."""
    if "mel" in result:
        heard = "\n" + listening.format_table(result) if "mcd" in result else ""
        return tts_metrics.format_table(result) + heard
    return asr_metrics.format_table(result) if "cer" in result else pretrain_metrics.format_table(result)


def evaluate(config: ConfigDict, workdir: str) -> dict[str, Any]:
    """Evaluates the newest checkpoint of a run.

    Args:
      config: names the corpora and the mesh; the model comes from the checkpoint.
      workdir: the run.

    Returns:
      The scores, with "step" and "corpora".

    Raises:
      CheckpointError: no readable checkpoint. CorpusError: a corpus is not prepared.
    """
    stored = load_model(workdir)
    description = stored.description
    if description["task"] != config.task:
        raise CheckpointError(
            f"{workdir} holds a checkpoint of task {description['task']!r}, the config says {config.task!r}; "
            "give the config that it was trained with"
        )
    task = stored_task(config, description)
    model = FunctionalModel.abstract(task.build)
    mesh = sharding.make_mesh(**config.mesh)
    params = jax.device_put(stored.params, model.shardings(mesh))
    with jax.set_mesh(mesh):
        result = Evaluator(config, task, model, mesh).run(params, progress=sys.stderr.isatty())
    if isinstance(task, TtsTask):
        result |= _listen(config, stored)
    return {"step": stored.step, "corpora": list(config.input.eval_corpora), **result}


def _listen(config: ConfigDict, stored: StoredModel) -> dict[str, Any]:
    """What a voice says of the sentences of `config.input.eval_corpora`; see mms_jax.listening."""
    records = [
        record for corpus in open_corpora(config.input.eval_corpora, config.input.data_dir) for record in corpus.source
    ]
    languages = sorted({as_text(record["language"]) for record in records})
    recogniser = load_recognizer(config.tts.recogniser, languages) if config.tts.recogniser else None
    return listening.listen(voice_of(stored), records, recogniser)


def main(argv: list[str]) -> None:
    """Command line."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments {argv[1:]}")
    config, workdir = _CONFIG.value, _WORKDIR.value
    sharding.start_distributed(config.distributed)
    try:
        result = evaluate(config, workdir)
    except (CheckpointError, CorpusError, ValueError) as error:
        sys.exit(f"error: {error}")
    if jax.process_index() == 0:
        path = pathlib.Path(workdir) / "evaluation.json"
        write_json(path, result)
        print(format_result(result))
        logging.info("written to %s", path)


if __name__ == "__main__":
    _CONFIG = config_flags.DEFINE_config_file("config", None, "experiment, configs/NAME.py", lock_config=True)
    _WORKDIR: flags.FlagHolder[str] = flags.DEFINE_string(  # type: ignore[assignment]
        "workdir", None, "the run's folder"
    )
    flags.mark_flags_as_required(["config", "workdir"])
    app.run(main)
