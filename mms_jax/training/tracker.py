"""A run's figures in Weights & Biases or Trackio, whose functions are the same."""

import hashlib
import importlib
import pathlib
from collections.abc import Mapping
from typing import Any

from mms_jax.errors import ConfigError

PROJECT = "mms_jax"


def start_tracker(name: str, folder: pathlib.Path, config: Mapping[str, Any]) -> Any:
    """Begins to follow a run, or goes on with it: the folder identifies it.

    Args:
      name: of the library, trackio or wandb.
      folder: of the run.
      config: the experiment, flattened.

    Returns:
      An object with `log(figures, step=)` and `finish()`.

    Raises:
      ConfigError: it is not installed, or refuses to start, as without an account.
    """
    run = f"{folder.name}-{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:8]}"
    try:
        library = importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ConfigError(f"config.tracker={name!r} needs pip install 'mms-jax[{name}]'") from error
    known = {"id": run} if name == "wandb" else {}  # Trackio knows a run by its name
    try:
        return library.init(project=PROJECT, name=run, config=dict(config), resume="allow", **known)
    except Exception as error:  # of any kind, as the library changes
        raise ConfigError(f"config.tracker={name!r}: it does not start: {error}") from error
