"""The keys that every experiment has, with their defaults. Each task adds its own: mms_jax/tasks/TASK/config.py.

Files in `configs/` start from `default_config(TASK)` and change the keys that differ.
"""

import importlib.util
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from mms_jax.errors import ConfigError
from mms_jax.tasks import DEFAULT_TASK, TASKS, find_task
from mms_jax.tasks.base import Task

# Corpora of version 0.1 and their current names.
_RENAMED_CORPORA = {"spoken_phrases/labelled": "spoken_phrases/labeled"}


def default_config(task: str | None = None) -> ConfigDict:
    """The defaults of a task, locked: setting a key that does not exist fails and names the nearest one.

    Args:
      task: its name; None for a config with the keys of version 0.1, those of all tasks, for config files that were
        written for it. `current_config` turns that into a config of one task.

    Raises:
      ConfigError: no such task.
    """
    if task is None:
        return _version_0_1_config()
    found = find_task(task)
    config = _common_config()
    config.task = task
    config.update(found.default_config())
    return config.lock()


def config_beside(file: str, name: str) -> ConfigDict:
    """The experiment of another file in the same folder, for config files that change some of its keys.

    Args:
      file: `__file__` of the config file that calls.
      name: of the other file, without .py.
    """
    spec = importlib.util.spec_from_file_location(name, pathlib.Path(file).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config()


def _common_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.total_steps = 1000  # updates, each with one batch
    config.compute_dtype = "float32"  # "bfloat16" on accelerators; parameters and losses stay float32
    config.init_from = ""  # any model that mms_jax.load takes; ignored once this run has a checkpoint

    config.input = ConfigDict()
    config.input.data_dir = "data"
    config.input.corpora = ("spoken_phrases/verses:train",)  # NAME:SPLIT
    config.input.dev_corpora = ("spoken_phrases/verses:validation",)  # scored during training, see eval_every
    config.input.eval_corpora = ("spoken_phrases/verses:test",)  # scored by mms_jax.evaluate, and never before
    config.input.beta_corpus = 0.5
    config.input.beta_language = 0.5
    config.input.bucket_seconds = (4.0, 8.0, 12.0, 16.0, 20.0)
    config.input.min_seconds = 0.5
    config.input.max_characters = 0  # longer transcripts are left out; 0: no limit
    config.input.batch_seconds = 160.0  # audio in a global batch, padding included
    config.input.batch_rows = 0  # rows of a batch, however long they are; 0: as many as batch_seconds hold
    config.input.rows_multiple = 1  # divides the rows of a batch; a multiple of accumulate and the mesh's data * fsdp
    config.input.noise = ()  # (low, high): signal-to-noise ratio in dB of noise that is added in training; (): none
    config.input.workers = 0  # decoding processes; 0 decodes in threads
    config.input.prefetch = 4  # batches
    config.input.max_bad_share = 0.01  # largest share of utterances that may fail to decode; above it the run stops

    config.optimizer = ConfigDict()
    config.optimizer.name = "adam"  # or "adafactor", whose state is small
    config.optimizer.moments = "float32"  # of Adam's first; "bfloat16" takes half the memory
    config.optimizer.learning_rate = 1e-3
    config.optimizer.b1 = 0.9
    config.optimizer.b2 = 0.98
    config.optimizer.eps = 1e-6
    config.optimizer.weight_decay = 0.0
    config.optimizer.clip_norm = 0.0  # 0: no clipping
    # An update whose gradient is not finite, or so many times larger than on average, is skipped; 0: none is.
    config.optimizer.skip_above = 0.0
    config.optimizer.accumulate = 1  # parts in which a batch is computed, one after another, to save memory
    config.optimizer.schedule = "tri_stage"  # or "polynomial", "constant", "epochs"
    config.optimizer.warmup = 0.1  # share of the updates
    config.optimizer.hold = 0.4  # tri_stage: share of the updates
    config.optimizer.final_scale = 0.05  # tri_stage: last learning rate, relative to the peak; epochs: factor per epoch
    config.optimizer.average = 0.0  # decay of the moving average that checkpoints store as parameters; 0: none
    config.optimizer.freeze = ()  # "PATH:UPDATES": parameters below PATH are frozen for that many updates; -1: always

    config.mesh = ConfigDict()
    config.mesh.data = -1  # all remaining devices
    config.mesh.fsdp = 1
    config.mesh.tensor = 1

    config.log_every = 20
    config.tracker = ""  # "trackio" or "wandb": the figures of the log also go there
    config.eval_every = 0  # steps from one evaluation on the dev corpora to the next; 0: none
    config.checkpoint = ConfigDict()
    config.checkpoint.every = 500
    config.checkpoint.keep = 2
    config.checkpoint.keep_every = 0  # checkpoints at multiples of this step are kept for good; 0: none
    config.checkpoint.best = (
        ""  # a figure of the evaluation on the dev corpora, such as "cer": the best is kept as WORKDIR@best
    )
    config.checkpoint.best_mode = "min"  # or "max"
    config.watchdog = ConfigDict()
    config.watchdog.factor = (
        20.0  # a step that takes so many times the median ends the process with status 75; 0: none does
    )
    config.watchdog.seconds = 1800.0  # that every step may take: batches of a new length are compiled first
    config.profile = ConfigDict()
    config.profile.start = 0  # first step of a profile written to WORKDIR/profile; 0: none
    config.profile.steps = 3
    config.distributed = False  # join a cluster even where none is detected
    return config


# Keys that may change when a run resumes: none of them affects the parameters that it will reach, but for rounding, and for
# the random numbers of dropout, which each part of a batch draws.
_FREE_KEYS = ("input.workers", "input.prefetch", "input.data_dir", "input.dev_corpora", "input.eval_corpora",
              "input.max_bad_share", "mesh", "log_every", "tracker", "eval_every", "checkpoint", "watchdog", "profile",
              "distributed", "init_from",
              "model.remat", "optimizer.accumulate")  # fmt: skip


# Keys that must be at least this; a key that a task lacks is passed over.
_AT_LEAST = {
    "total_steps": 1, "seed": 0, "log_every": 1, "eval_every": 0, "checkpoint.every": 1, "checkpoint.keep": 1,
    "checkpoint.keep_every": 0, "watchdog.factor": 0, "watchdog.seconds": 0.1,
    "profile.start": 0, "profile.steps": 1, "mesh.fsdp": 1, "mesh.tensor": 1,
    "input.workers": 0, "input.prefetch": 1, "input.rows_multiple": 1, "input.batch_rows": 0, "input.batch_seconds": 1e-3,
    "input.min_seconds": 0, "input.max_characters": 0, "optimizer.accumulate": 1, "optimizer.learning_rate": 0,
    "optimizer.clip_norm": 0,
    "optimizer.skip_above": 0, "optimizer.average": 0, "masking.time_length": 1, "masking.channel_length": 1,
    "hubert.clusters": 2, "hubert.unmasked_weight": 0, "hubert.cluster_minutes": 0.1, "fine_tuning.freeze_backbone": 0,
}  # fmt: skip
_BELOW = {"optimizer.average": 1.0, "optimizer.b1": 1.0, "optimizer.b2": 1.0, "fine_tuning.freeze_backbone": 1.0}


def current_config(config: ConfigDict) -> ConfigDict:
    """An experiment with exactly the keys of its task, checked.

    Args:
      config: from `default_config`; one with the keys of version 0.1 is translated.

    Raises:
      ConfigError: no such task; keys are missing, since the config was made for another task; or an impossible value.
    """
    task = find_task(config.task)
    wanted = default_config(config.task)
    leaves = _leaves(config)
    if set(leaves) - set(_leaves(wanted)):
        for old, new in task.renamed_keys.items():
            if old in leaves:
                leaves[new] = leaves.pop(old)
    missing = sorted(set(_leaves(wanted)) - set(leaves))
    if missing:
        raise ConfigError(
            f"config.task={config.task!r} needs keys that this config lacks: {', '.join(missing[:5])}"
            f"{', ...' if len(missing) > 5 else ''}; start the config file from default_config({config.task!r})"
        )
    with wanted.unlocked():
        wanted.update_from_flattened_dict({name: leaves[name] for name in _leaves(wanted)})
    _check_values(_leaves(wanted))
    return wanted


def _check_values(leaves: Mapping[str, Any]) -> None:
    for name, least in _AT_LEAST.items():
        if name in leaves and leaves[name] < least:
            raise ConfigError(f"config.{name}={leaves[name]!r} must be at least {least}")
    for name, limit in _BELOW.items():
        if name in leaves and leaves[name] >= limit:
            raise ConfigError(f"config.{name}={leaves[name]!r} must be below {limit}")
    if leaves["tracker"] not in ("", "trackio", "wandb"):
        raise ConfigError(f"config.tracker={leaves['tracker']!r}; choose trackio, wandb, or nothing")
    for name in ("input.corpora", "input.dev_corpora", "input.eval_corpora"):
        if not isinstance(leaves[name], tuple | list) or not all(isinstance(one, str) for one in leaves[name]):
            raise ConfigError(f"config.{name}={leaves[name]!r} must be a tuple of names, as in ('NAME:train',)")
    for name in ("input.corpora", "input.bucket_seconds"):
        if not leaves[name]:
            raise ConfigError(f"config.{name} is empty; give at least one, as in ('NAME',)")


def _version_0_1_config() -> ConfigDict:
    """The keys of all tasks, by their names of version 0.1."""
    config = _common_config()
    config.task = DEFAULT_TASK
    for task in TASKS.values():
        old_names = {new: old for old, new in task.renamed_keys.items()}
        for name, value in _leaves(task.default_config()).items():
            section, _, key = old_names.get(name, name).partition(".")
            if section not in config:
                config[section] = ConfigDict()
            if key not in config[section]:
                config[section][key] = task.older_values.get(name, value)
    return config.lock()


def _leaves(config: ConfigDict) -> dict[str, Any]:
    """{"input.corpora": ..., ...}, with values as they are."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            flat |= {f"{name}.{inner}": leaf for inner, leaf in _leaves(value).items()}
        else:
            flat[name] = value
    return flat


def flatten_config(config: ConfigDict) -> dict[str, object]:
    """{"input.corpora": ..., ...}, with tuples as lists, as JSON gives them back."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in _leaves(config).items()}


def differing_keys(config: ConfigDict, stored: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The keys whose stored values differ and that determine which parameters a run reaches.

    Keys that are newer than the stored config are taken to have had their current default. Stored keys that this task
    does not have, including those of other tasks, are ignored.

    Args:
      config: of this start.
      stored: the flattened config of an earlier start, of any version.

    Returns:
      {key: (stored value, value now)}.
    """
    task = find_task(config.task)
    ours = json.loads(json.dumps(flatten_config(config)))
    defaults = json.loads(json.dumps(flatten_config(default_config(config.task))))
    theirs = defaults | (task.older_values if stored.get("init_from") else {}) | _renamed(stored, task)
    free = (*_FREE_KEYS, *task.free_keys)
    fixed = [name for name in sorted(ours) if not any(name == key or name.startswith(key + ".") for key in free)]
    return {name: (theirs.get(name), ours[name]) for name in fixed if theirs.get(name) != ours[name]}


def _renamed(stored: Mapping[str, Any], task: type[Task]) -> dict[str, Any]:
    """A stored config under the current names of keys and corpora."""
    found = dict(stored)
    for old, new in task.renamed_keys.items():
        if old in found:
            found[new] = found.pop(old)
    for key in ("input.corpora", "input.dev_corpora", "input.eval_corpora"):
        names = [name.partition(":") for name in found.get(key, ())]
        found[key] = [_RENAMED_CORPORA.get(name, name) + colon + split for name, colon, split in names]
    return found
