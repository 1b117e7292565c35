"""The contract of a task. train.py, evaluate.py and the input pipeline use tasks only through it.

A task is a folder: config.py (its keys), loss.py, task.py (a class that implements `Task`), metrics.py; and one line in
`mms_jax.tasks.TASKS`.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Protocol, Self

import jax
import numpy as np
import optax
from flax import nnx
from ml_collections import ConfigDict

from input_pipeline.corpora.storage import Corpus
from input_pipeline.dataset import DataNeeds
from input_pipeline.decode import Batch
from mms_jax.checkpoint import StoredModel
from mms_jax.models.description import Description
from mms_jax.models.functional import FunctionalModel, Params
from mms_jax.models.layers import compute_dtype
from mms_jax.tasks.weighted import Weighted

Metrics = dict[str, Weighted]
Updated = tuple[Params, optax.OptState, Metrics]
Result = dict[str, Any]  # of an evaluation, in plain types as stored in evaluation.json


class EvaluationData(Protocol):
    """The corpora that a task is evaluated on."""

    utterances: int

    def batches(self) -> Iterator[Batch]:
        """All utterances once, on the mesh."""

    def references(self, items: Sequence[int]) -> tuple[list[str], list[str]]:
        """Normalized transcripts and languages (ISO 639-3) of utterances, by `Batch["item"]`."""


Evaluation = Callable[[Params, EvaluationData], Result]
LoadModel = Callable[..., Any]  # mms_jax.load, which also takes a StoredModel


@dataclasses.dataclass(frozen=True)
class Examples:
    """Sounds and pictures of a model in training, for TensorBoard.

    Attributes:
      sounds: float (samples,) at `rate`, by name.
      rate: samples a second.
      pictures: float (rows, columns), the first row at the bottom, by name.
    """

    sounds: Mapping[str, np.ndarray]
    rate: int
    pictures: Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class CarriedOver:
    """Another model's parameters in terms of a new model.

    Attributes:
      params: arrays by path; paths that the new model lacks are left out later.
      notes: remarks for the log, by the first key of a path, such as "31 of 45 symbols".
    """

    params: Params
    notes: Mapping[str, str] = dataclasses.field(default_factory=dict)


class Task(Protocol):
    """A training objective with its data, module, update, evaluation and checkpoint.

    Attributes:
      name: `config.task`; also the folder below mms_jax/tasks.
      kind: of the models it trains, see `mms_jax.models.description`.
      renamed_keys: keys of older versions and their current names, for runs that resume.
      figures: names of numbers in the result of an evaluation, by which a best checkpoint may be chosen.
      older_values: keys that older versions lack, and what those did, for runs that started from another model.
      free_keys: keys of its own that may change when a run resumes.
      parts: top-level keys of the parameters that are updated one after the other, each by an optimizer of its own; ()
        where one optimizer updates all.
      needs: its requirements on the input pipeline.
      frozen: parts that stand still, "PATH:UPDATES" as in `config.optimizer.freeze`, besides those of the config.
    """

    name: ClassVar[str]
    kind: ClassVar[str]
    renamed_keys: ClassVar[Mapping[str, str]] = {}
    figures: ClassVar[tuple[str, ...]] = ()
    older_values: ClassVar[Mapping[str, Any]] = {}
    free_keys: ClassVar[tuple[str, ...]] = ()
    parts: ClassVar[tuple[str, ...]] = ()
    needs: DataNeeds
    frozen: tuple[str, ...] = ()

    @staticmethod
    def default_config() -> ConfigDict:
        """The keys of this task and their defaults; it may also change defaults of the common keys."""
        ...

    @classmethod
    def check_config(cls, config: ConfigDict) -> None:
        """Raises ConfigError for settings that are impossible whatever the corpora are; called before they are read."""
        compute_dtype(config.compute_dtype)

    @classmethod
    def from_corpora(cls, config: ConfigDict, corpora: Sequence[Corpus]) -> Self:
        """The task of a new run. Raises ConfigError or CorpusError for impossible settings and data."""
        ...

    @classmethod
    def from_description(cls, config: ConfigDict, description: Description) -> Self:
        """The task of a checkpoint, with the model that it describes."""
        ...

    def build(self, key: jax.Array) -> nnx.Module:
        """A fresh module."""
        ...

    def trained(self, params: Params) -> Params:
        """The part of the parameters that learns, and for which the optimizer has a state; by default all."""
        return params

    def describe(self) -> Description:
        """The description that is stored with a checkpoint; the inverse of `from_description`."""
        ...

    def update(
        self,
        model: FunctionalModel,
        optimizer: optax.GradientTransformation,
        params: Params,
        optimizer_state: optax.OptState,
        batch: Batch,
        key: jax.Array,
        step: jax.Array,
        parts: int = 1,
    ) -> Updated:
        """One training step; `mms_jax.tasks.gradient_update` serves tasks with one loss.

        Args:
          model: the functional form of the module from `build`.
          optimizer, optimizer_state: optax's.
          params: the parameters.
          batch: see `input_pipeline.decode`.
          key: randomness of this step.
          step: int32, updates so far.
          parts: the rows are computed in that many parts, which divides their number, one after another. The update is that
            of the whole batch.

        Returns:
          Parameters and optimizer state after it; and the figures of the step, "loss" and "gradient_norm" among them.
        """
        ...

    def make_evaluation(self, model: FunctionalModel, gathered: jax.sharding.Sharding) -> Evaluation:
        """A function that scores parameters on corpora; its jitted parts place their results by `gathered`."""
        ...

    @staticmethod
    def format_result(result: Result) -> str:
        """A result of `make_evaluation` and `score_checkpoint` as a table."""
        ...

    @staticmethod
    def write_result(result: Result, folder: pathlib.Path) -> None:
        """Writes a result into the folder of a run in further forms: tables, pictures; by default none."""
        del result, folder

    def carry_over(self, params: Params, stored: StoredModel) -> CarriedOver:
        """Another model's parameters in this model's terms; see `mms_jax.training.warm_start`.

        Args:
          params: fresh parameters, which are kept where the other model has none, such as those of unknown symbols.
          stored: a model of any kind.
        """
        del params
        return CarriedOver(stored.params)

    def make_examples(
        self, model: FunctionalModel, gathered: jax.sharding.Sharding
    ) -> Callable[[Params, Batch], Examples] | None:
        """A function that makes sounds and pictures from a batch; None for tasks without examples."""
        del model, gathered
        return None

    def score_checkpoint(
        self, config: ConfigDict, stored: StoredModel, corpora: Sequence[Corpus], load: LoadModel
    ) -> Result:
        """Scores that need the model as users load it; part of the final evaluation, not of those during training."""
        del config, stored, corpora, load
        return {}
