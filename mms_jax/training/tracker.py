"""A run's figures in Weights & Biases or Trackio, whose functions are the same."""

import hashlib
import importlib
import importlib.util
from typing import Any

import jax
from ml_collections import ConfigDict

from mms_jax.config import flatten_config
from mms_jax.errors import ConfigError
from mms_jax.files import in_bucket

PROJECT = "mms_jax"


def check_tracker(config: ConfigDict) -> None:
    """Raises ConfigError where the library that `config.tracker` names is missing."""
    if config.tracker and importlib.util.find_spec(config.tracker) is None:
        raise ConfigError(f"config.tracker={config.tracker!r} needs pip install 'mms-jax[{config.tracker}]'")


def start_tracker(config: ConfigDict, folder: Any) -> Any:
    """Begins to follow a run on the job's first process, or goes on with it: the folder identifies it.

    Args:
      config: the experiment; `config.tracker` names the library.
      folder: of the run.

    Returns:
      An object with `log(figures, step=)` and `finish()`; None where the config names none.

    Raises:
      ConfigError: it refuses to start, as without an account.
    """
    name = config.tracker
    if not name or jax.process_index() > 0:
        return None
    place = str(folder) if in_bucket(folder) else str(folder.resolve())
    run = f"{folder.name}-{hashlib.sha256(place.encode()).hexdigest()[:8]}"
    library = importlib.import_module(name)
    known = {"id": run} if name == "wandb" else {}  # Trackio knows a run by its name
    try:
        return library.init(project=PROJECT, name=run, config=flatten_config(config), resume="allow", **known)
    except Exception as error:  # of any kind, as the library changes
        raise ConfigError(f"config.tracker={name!r}: it does not start: {error}") from error
