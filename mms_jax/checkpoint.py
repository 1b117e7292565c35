"""Orbax checkpoints; no other module of the project uses Orbax.

WORKDIR/checkpoints/STEP holds three entries:

  params  the parameters, a dict of arrays; inference loads these and no other arrays
  train   optimizer state and step, for resuming. Randomness and data order are functions of the step.
  model   JSON: kind, task, geometry, vocabulary, languages; enough to rebuild the model

WORKDIR/best/checkpoints/STEP holds the entries params and model of the best step on the dev corpora, which is named
WORKDIR@best.
"""

import contextlib
import dataclasses
import errno
import logging as python_logging
import os
import pathlib
from collections.abc import Iterator
from typing import Any, Self

import jax
import numpy as np
from absl import logging
from etils import epath
from jax.experimental import multihost_utils
from orbax.checkpoint import v1 as ocp

from mms_jax.errors import CheckpointError, MmsError, StoreError
from mms_jax.files import in_bucket, open_path, read_json
from mms_jax.models.description import Description, upgraded

PyTree = Any
FOLDER = "checkpoints"
_READ, _DAMAGED, _UNREACHED = 0, 1, 2  # outcomes of a restore
BEST = "best"


class Checkpoints:
    """The checkpoints of one run, saved asynchronously; the newest are kept, and damaged ones are skipped."""

    def __init__(self, workdir: str | pathlib.Path, *, keep: int = 2, keep_every: int | None = None):
        """Opens WORKDIR/checkpoints, and creates it if it does not exist.

        Args:
          workdir: the run's folder.
          keep: number of newest checkpoints that are kept; at least 2, so that a damaged one has a predecessor.
          keep_every: checkpoints at multiples of this step are kept permanently.
        """
        self._directory = _absolute(workdir) / FOLDER
        self._directory.mkdir(parents=True, exist_ok=True)
        policies = ocp.training.preservation_policies
        kept: list[Any] = [policies.LatestN(max(2, keep))]
        if keep_every:
            kept.append(policies.EveryNSteps(keep_every))
        _quiet_orbax()
        self._checkpointer = ocp.training.Checkpointer(
            self._directory, preservation_policy=policies.AnyPreservationPolicy(kept), cleanup_tmp_directories=True
        )
        self._saving: tuple[int, Any] | None = None

    @property
    def steps(self) -> list[int]:
        """The steps of the complete checkpoints, oldest first."""
        return sorted(checkpoint.step for checkpoint in self._checkpointer.checkpoints)

    def save(self, step: int, params: PyTree, train: PyTree, model: Description) -> None:
        """Starts to save a step; returns as soon as the arrays are copied.

        Raises:
          CheckpointError: this save, or the one before it, failed; the disk may be full. Earlier checkpoints are intact.
        """
        self.wait()
        if step in self.steps:
            return
        with self._explained(step):
            entries = {"params": params, "train": train, "model": model}
            self._saving = (step, self._checkpointer.save_checkpointables_async(step, entries, force=True))

    def wait(self) -> None:
        """Blocks until the save under way is complete. Raises CheckpointError where it failed."""
        if self._saving is None:
            return
        (step, response), self._saving = self._saving, None
        with self._explained(step):
            response.result()

    def restore(self, params: PyTree, train: PyTree) -> tuple[PyTree, PyTree, Description] | None:
        """Restores the newest checkpoint that can be read.

        Args:
          params, train: abstract trees: a ShapeDtypeStruct with sharding for each array.

        Returns:
          (params, train, model), or None where nothing was saved yet.

        Raises:
          CheckpointError: there are checkpoints, but none can be read. StoreError: the bucket cannot be reached.
        """
        failures = []
        steps = self._agreed_steps()
        for place, step in enumerate(steps):
            failure, restored, unreachable = "", None, None
            try:
                restored = self._load(step, {"params": params, "train": train, "model": None})
            except Exception as error:  # Orbax and TensorStore raise many kinds for damaged files.
                unreachable = _unreachable(error, self._directory)
                failure = _first_line(error)
            # What one process cannot read, none uses.
            outcome = _READ if restored is not None else _UNREACHED if unreachable else _DAMAGED
            outcomes = np.atleast_1d(multihost_utils.process_allgather(np.asarray(outcome)))
            if (outcomes == _UNREACHED).any():
                raise unreachable or StoreError(f"another process cannot reach {self._directory}")
            if restored is not None and (outcomes == _READ).all():
                self._discard(steps[:place])
                return restored
            failure = failure or f"process {int(np.argmax(outcomes))} cannot read it, see its log"
            failures.append(f"{self._directory / str(step)}: {failure}")
            logging.warning("checkpoint %s is damaged and is skipped (%s)", step, failure)
        if failures:
            raise CheckpointError(
                "no checkpoint of this run can be read; restore the folder from a backup, or start in a new --workdir\n  "
                + "\n  ".join(failures)
            )
        return None

    def _agreed_steps(self) -> list[int]:
        """The steps as the first process sees them, newest first: the listings of others may be stale."""
        ours = np.asarray(self.steps[::-1], np.int32)
        count = int(multihost_utils.broadcast_one_to_all(np.asarray(len(ours), np.int32)))
        return np.asarray(multihost_utils.broadcast_one_to_all(np.resize(ours, count))).tolist()

    def _load(self, step: int, wanted: dict[str, Any]) -> tuple[PyTree, PyTree, Description]:
        """Reads this process's part. No process waits for the others here, of which one may fail."""
        process = jax.process_index()
        alone = ocp.options.MultiprocessingOptions(primary_host=process, active_processes={process})
        with ocp.Context(multiprocessing_options=alone):
            entries = ocp.load_checkpointables(self._directory / str(step), wanted)
        return entries["params"], entries["train"], upgraded(entries["model"])

    def close(self) -> None:
        """Waits for the save under way and closes the folder."""
        try:
            self.wait()
        finally:
            try:
                self._checkpointer.close()
            except Exception as error:  # as `wait` has said, which is not to be hidden
                logging.warning("%s is not closed (%s)", self._directory, _first_line(error))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _discard(self, damaged: list[int]) -> None:
        """Moves checkpoints aside: the steps they name will be reached and saved again."""
        for newer in damaged:
            aside = self._directory.parent / f"damaged_checkpoint_{newer}"
            if jax.process_index() == 0:
                _remove(aside)
                (self._directory / str(newer)).rename(aside)
            multihost_utils.sync_global_devices(f"{newer} is moved")
            logging.warning("moved the damaged checkpoint to %s; delete it when you have looked at it", aside)
        self._checkpointer.reload()

    def _standing(self, step: int) -> str:
        """Says which checkpoint before a step is there."""
        try:
            before = max((other for other in self.steps if other < step), default=None)
        except Exception:  # of a bucket that cannot be reached
            return "earlier checkpoints stand"
        return f"the checkpoint of step {before} stands" if before is not None else "no checkpoint exists yet"

    @contextlib.contextmanager
    def _explained(self, step: int) -> Iterator[None]:
        """Turns a failed save into an error that names the last good checkpoint and the fix."""
        try:
            yield
        except Exception as error:
            standing = self._standing(step)
            reason = "the disk is full" if _is_full_disk(error) else _first_line(error)
            remedy = "See to the bucket" if in_bucket(self._directory) else "Make room (or repair the folder)"
            kind = StoreError if in_bucket(self._directory) else CheckpointError
            raise kind(
                f"step {step} could not be saved in {self._directory}: {reason}. {standing.capitalize()}. "
                f"{remedy} and run the same command again: it continues from there."
            ) from error


class BestCheckpoint:
    """The best checkpoint of a run, for inference only: parameters and description."""

    def __init__(self, workdir: pathlib.Path):
        """WORKDIR/best; it is made with the first checkpoint."""
        self._folder = _absolute(workdir) / BEST / FOLDER

    def chosen(self) -> dict[str, Any] | None:
        """The dev scores of the checkpoint that is there; None for none."""
        for folder in _candidates(self._folder.parent):
            try:
                return ocp.load_checkpointables(folder, {"model": None})["model"]["chosen"]
            except Exception as error:  # a damaged one is replaced by the next that is good
                _raise_if_unreachable(error, folder)
        return None

    def save(self, step: int, params: PyTree, description: Description) -> None:
        """Saves a step, then removes the one before. All processes of a job call this."""
        _quiet_orbax()
        target = self._folder / str(step)
        if jax.process_index() == 0:
            target.parent.mkdir(parents=True, exist_ok=True)
        try:
            ocp.save_checkpointables(target, {"params": params, "model": description}, overwrite=True)
        except Exception as error:
            reason = "the disk is full" if _is_full_disk(error) else _first_line(error)
            kind = StoreError if in_bucket(self._folder) else CheckpointError
            raise kind(f"the best step {step} could not be saved in {self._folder}: {reason}") from error
        if jax.process_index() == 0:
            for older in _candidates(self._folder.parent):
                if older != target:
                    _remove(older)


@dataclasses.dataclass(frozen=True, repr=False)
class StoredModel:
    """The part of a checkpoint that inference needs.

    Attributes:
      step: the training step; 0 for converted models without one.
      description: see `mms_jax.models.description`; the fields besides "kind" and "model" depend on the kind.
      params: the parameters, a dict of arrays, unsharded.
    """

    step: int
    description: Description
    params: PyTree

    def __repr__(self) -> str:
        parameters = sum(int(leaf.size) for leaf in jax.tree.leaves(self.params))
        return f"StoredModel({self.description['kind']}, step {self.step}, {parameters:,} parameters)"


def load_model(path: str | os.PathLike) -> StoredModel:
    """Loads the entries of a checkpoint that inference needs.

    Args:
      path: a run's folder (its newest readable checkpoint is taken), WORKDIR@best, or one checkpoint's folder.

    Raises:
      CheckpointError: no checkpoint there, or none that can be read.
    """
    _quiet_orbax()
    failures = []
    place = checkpoint_folder(path)
    if is_best(path) and not place.exists():
        raise CheckpointError(
            f"{path}: this run keeps no best checkpoint; train it with --config.checkpoint.best=cer (or another figure of "
            f"its evaluation), or give {str(path).removesuffix('@' + BEST)} for its newest"
        )
    for folder in _candidates(_absolute(place)):
        try:
            shapes = ocp.checkpointables_metadata(folder).metadata["params"]
            wanted = {"model": None, "params": jax.tree.map(_on_first_device, shapes)}
            entries = ocp.load_checkpointables(folder, wanted)
            step = int(folder.name)
            return StoredModel(step, _with_evaluation(upgraded(entries["model"]), folder, step), entries["params"])
        except Exception as error:
            _raise_if_unreachable(error, folder)
            failures.append(f"{folder}: {_first_line(error)}")
            logging.warning("checkpoint %s is incomplete or damaged, and is skipped (%s)", folder, _first_line(error))
    raise CheckpointError(
        f"no readable checkpoint in {path}; give the --workdir of a run of mms_jax.train"
        + "".join(f"\n  {failure}" for failure in failures)
    )


def is_best(path: str | os.PathLike) -> bool:
    """Whether a path names the best checkpoint of a run, WORKDIR@best."""
    return str(path).rstrip("/").endswith("@" + BEST) and not open_path(path).exists()


def checkpoint_folder(path: str | os.PathLike) -> pathlib.Path:
    """The folder that a path names; WORKDIR/best for WORKDIR@best."""
    text = str(path).rstrip("/")
    return open_path(text.removesuffix("@" + BEST) + f"/{BEST}" if is_best(text) else path)


def _with_evaluation(description: Description, folder: pathlib.Path, step: int) -> Description:
    """Adds the scores of the run's last evaluation, where it was of this checkpoint."""
    path = folder.parent.parent / "evaluation.json"
    if not path.exists():
        return description
    scores = read_json(path, CheckpointError)
    if scores.get("step") != step:
        return description
    plain = {name: value for name, value in scores.items() if isinstance(value, int | float | str) or name == "corpora"}
    rows = scores.get("by_language", {})
    for figure in ("cer", "accuracy"):  # of recognizers, of identifiers
        if found := {name: row[figure] for name, row in rows.items() if figure in row}:
            plain[f"{figure}_by_language"] = found
    return {**description, "evaluation": plain}


def save_model(folder: pathlib.Path, stored: StoredModel) -> None:
    """Writes a model that was not trained here, so that `load_model` and `config.init_from` find it.

    Raises:
      CheckpointError: the folder holds a run already.
    """
    target = folder.expanduser().resolve() / FOLDER / str(stored.step)
    if target.parent.exists():
        raise CheckpointError(f"{folder} holds checkpoints already; choose a new folder")
    target.parent.mkdir(parents=True)
    ocp.save_checkpointables(target, {"params": stored.params, "model": stored.description})


def _on_first_device(leaf: Any) -> jax.ShapeDtypeStruct:
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device)


def _absolute(path: str | os.PathLike) -> Any:
    """As Orbax needs it."""
    return open_path(path) if in_bucket(path) else open_path(path).resolve()


def _candidates(path: pathlib.Path) -> list[pathlib.Path]:
    """Complete checkpoint folders at or below `path`, newest first."""
    for parent in (path / FOLDER, path):
        steps = [child for child in parent.glob("*") if child.name.isdigit() and (child / "model").exists()]
        if steps:
            return sorted(steps, key=lambda child: int(child.name), reverse=True)
    return [path] if path.name.isdigit() and (path / "model").exists() else []


# Of gRPC and HTTP: the store is there, or will be, and the checkpoint may be whole.
_UNREACHABLE = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "UNAUTHENTICATED", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED",
                "code: 503", "code: 429", "Connection", "Cannot connect", "timed out")  # fmt: skip


def _unreachable(error: BaseException, place: Any) -> StoreError | None:
    """An error that says so where a bucket could not be reached, which says nothing of the checkpoint."""
    if not in_bucket(place) or not any(
        isinstance(one, ConnectionError | TimeoutError) or any(sign in str(one) for sign in _UNREACHABLE)
        for one in _causes(error)
    ):
        return None
    return StoreError(
        f"{place} cannot be reached now ({_first_line(error)}); see to network and permissions, and run the same command "
        "again"
    )


def _raise_if_unreachable(error: BaseException, place: Any) -> None:
    if unreachable := _unreachable(error, place):
        raise unreachable from error


@contextlib.contextmanager
def reaching_store(place: str | os.PathLike) -> Iterator[None]:
    """Raises StoreError for what fails inside because the bucket of `place` cannot be reached."""
    try:
        yield
    except MmsError:
        raise
    except Exception as error:
        _raise_if_unreachable(error, place)
        raise


def _remove(folder: Any) -> None:
    """Removes what is not needed any more; what cannot be removed is named."""
    try:
        epath.Path(folder).rmtree(missing_ok=True)
    except Exception as error:
        logging.warning("%s cannot be removed (%s); delete it by hand", folder, _first_line(error))


def _is_full_disk(error: BaseException) -> bool:
    return any(
        getattr(one, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(one)
        for one in _causes(error)
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and those that led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def _quiet_orbax() -> None:
    """Suppresses the dozens of lines that Orbax logs per save and load, which would bury the run's own."""
    logging.get_absl_logger().addFilter(_not_orbax_chatter)


def _not_orbax_chatter(record: python_logging.LogRecord) -> bool:
    return record.levelno >= python_logging.ERROR or "orbax" not in record.pathname
