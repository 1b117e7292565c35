"""The tasks. A new task is a folder with a class that implements `mms_jax.tasks.base.Task`, and an entry here."""

from mms_jax.errors import ConfigError
from mms_jax.tasks.asr.task import AsrTask
from mms_jax.tasks.base import Task
from mms_jax.tasks.hubert.task import HubertTask
from mms_jax.tasks.lid.task import LidTask
from mms_jax.tasks.pretrain.task import PretrainTask
from mms_jax.tasks.tts.task import TtsTask

TASKS: dict[str, type[Task]] = {task.name: task for task in (PretrainTask, HubertTask, AsrTask, LidTask, TtsTask)}


DEFAULT_TASK = AsrTask.name  # of config files of version 0.1 that name none


def find_task(name: str) -> type[Task]:
    """The task of the given name.

    Raises:
      ConfigError: no task has this name.
    """
    if name not in TASKS:
        raise ConfigError(f"config.task={name!r}; choose one of {', '.join(TASKS)}")
    return TASKS[name]
