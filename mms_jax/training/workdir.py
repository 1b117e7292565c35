"""The folder of a run: it belongs to one experiment."""

import pathlib

import jax
from ml_collections import ConfigDict

from input_pipeline.plan import rows_of_batches
from mms_jax.config import differing_keys, flatten_config
from mms_jax.errors import TrainingError
from mms_jax.files import read_json, write_json


def check_workdir(config: ConfigDict, folder: pathlib.Path) -> None:
    """Checks that the folder is this experiment's, or nobody's; `config.init_from` becomes that of the run's first start.

    Raises:
      TrainingError: it holds another experiment's checkpoints; the message lists the keys that differ.
    """
    if folder.exists() and not folder.is_dir():
        raise TrainingError(f"--workdir={folder} is a file; name a folder, which is made if it does not exist")
    path = folder / "config.json"
    if path.exists() and any((folder / "checkpoints").glob("[0-9]*")):
        stored = read_json(path, TrainingError)
        if stored.get("task") != config.task:
            raise TrainingError(
                f"{folder} holds the checkpoints of another task ({stored.get('task')!r}, this is {config.task!r}); "
                "choose a new --workdir"
            )
        if stored.get("optimizer.accumulate", 1) > 1 and "input.batch_rows" not in stored:
            raise TrainingError(
                f"{folder} holds a run of an older version with config.optimizer.accumulate="
                f"{stored['optimizer.accumulate']}. It meant batches an update then, and means parts of a batch now: "
                "continue the run with that version, or give its checkpoint as config.init_from to a new --workdir, with "
                "larger batches"
            )
        if config.init_from != (origin := stored.get("init_from", "")):
            # The run has its checkpoint to start from; what stands still in it depends on how it began.
            config.init_from = origin
        differing = differing_keys(config, stored)
        if "input.rows_multiple" in differing and _same_rows(config, *differing["input.rows_multiple"]):
            del differing["input.rows_multiple"]  # another number of devices, and the same batches
        if differing:
            lines = [f"  {name}: {there!r} there, {now!r} now" for name, (there, now) in differing.items()]
            raise TrainingError(
                f"{folder} holds the checkpoints of another experiment:\n"
                + "\n".join(lines)
                + "\nChoose a new --workdir, or give these keys the values they have there to continue that run."
            )


def _same_rows(config: ConfigDict, before: int, now: int) -> bool:
    """Whether both multiples give batches of the same rows."""
    given = (config.input.bucket_seconds, config.input.batch_seconds, config.input.batch_rows)
    return rows_of_batches(*given, before) == rows_of_batches(*given, now)


def claim_workdir(config: ConfigDict, folder: pathlib.Path) -> None:
    """Makes the folder this experiment's, once it is known that the experiment can start."""
    if jax.process_index() == 0:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "config.json", flatten_config(config))
