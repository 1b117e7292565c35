"""The checkpoint of a run with the best score on its dev corpora, beside the newest ones: WORKDIR/best."""

import math
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
from absl import logging
from ml_collections import ConfigDict

from mms_jax.checkpoint import BEST, BestCheckpoint
from mms_jax.errors import ConfigError
from mms_jax.models.description import Description
from mms_jax.models.functional import Params

MODES = ("min", "max")


def check_best(config: ConfigDict, figures: Sequence[str]) -> None:
    """Raises ConfigError where `config.checkpoint.best` cannot be followed.

    Args:
      config: the experiment.
      figures: of the task's evaluation; () where they are not known.
    """
    if not config.checkpoint.best:
        return
    if config.checkpoint.best_mode not in MODES:
        raise ConfigError(f"config.checkpoint.best_mode={config.checkpoint.best_mode!r}; choose min or max")
    if figures and config.checkpoint.best not in figures:
        raise ConfigError(
            f"config.checkpoint.best={config.checkpoint.best!r} is no figure of the evaluation; choose one of "
            f"{', '.join(figures)}"
        )
    if not config.eval_every or not config.input.dev_corpora:
        raise ConfigError(
            f"config.checkpoint.best={config.checkpoint.best!r} is measured in evaluations during the run: set "
            "config.eval_every and config.input.dev_corpora"
        )


class Best:
    """Keeps the best parameters of a run."""

    def __init__(self, folder: pathlib.Path, config: ConfigDict):
        """Reads the best score so far, where the run has one.

        Args:
          folder: of the run.
          config: the experiment.
        """
        self._metric, self._mode = config.checkpoint.best, config.checkpoint.best_mode
        self._corpora = list(config.input.dev_corpora)
        self._checkpoint = BestCheckpoint(folder)
        stored = self._checkpoint.chosen()
        same = stored is not None and stored.get("corpora") == self._corpora
        self._value: float | None = stored.get(self._metric) if same and stored is not None else None

    def offer(self, step: int, params: Params, description: Description, result: dict[str, Any]) -> None:
        """Saves the parameters if their score is better than all before.

        Raises:
          ConfigError: the evaluation has no such figure; the message lists those it has.
          CheckpointError: it cannot be saved.
        """
        numbers = {name: value for name, value in result.items() if isinstance(value, int | float)}
        if self._metric not in numbers:
            raise ConfigError(f"config.checkpoint.best={self._metric!r} is no figure of the evaluation; choose one of "
                              f"{', '.join(numbers)}")  # fmt: skip
        value = numbers[self._metric]
        if not math.isfinite(value):
            logging.warning(
                "step %d: %s is not a number on these corpora; the step cannot be the best", step, self._metric
            )
            return
        if self._value is not None and not (value < self._value if self._mode == "min" else value > self._value):
            return
        self._value = value
        chosen = {**numbers, "step": step, "corpora": self._corpora, "by": self._metric}
        self._checkpoint.save(step, params, {**description, "chosen": chosen})
        if jax.process_index() == 0:
            logging.info("step %d: best %s so far, %.4g; kept as WORKDIR@%s", step, self._metric, value, BEST)
