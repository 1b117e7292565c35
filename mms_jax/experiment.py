"""The command line of an experiment: --config=NAME --workdir=DIR --config.key=value, for training and evaluation."""

import difflib
import logging as python_logging
import pathlib
import re
import sys
from collections.abc import Callable, Sequence

from absl import app, flags
from ml_collections import ConfigDict, config_flags

from mms_jax.command import leave, run_command
from mms_jax.config import flatten_config
from mms_jax.errors import ConfigError

_PACKAGE = pathlib.Path(__file__).resolve().parent
# In a clone, beside the package; a wheel puts them into PREFIX/share, above lib/pythonX/site-packages.
_FOLDERS = (_PACKAGE.parent / "configs", *(parent / "share/mms_jax/configs" for parent in _PACKAGE.parents[:4]))


def shipped_configs() -> dict[str, pathlib.Path]:
    """The experiments that come with the package, by name."""
    folder = next((folder for folder in _FOLDERS if (folder / "asr_folder.py").is_file()), _FOLDERS[0])
    return {path.stem: path for path in sorted(folder.glob("*.py")) if not path.stem.startswith("_")}


def find_config(given: str) -> pathlib.Path:
    """The file of an experiment.

    Args:
      given: the path of a file; or the name of a shipped one, from any folder: asr_folder, also as configs/asr_folder.py.

    Raises:
      ConfigError: there is none; the message lists those that are shipped.
    """
    path, shipped = pathlib.Path(given).expanduser(), shipped_configs()
    if path.is_file():
        return path
    if path.parent.name in ("", "configs") and path.suffix in ("", ".py") and path.stem in shipped:
        return shipped[path.stem]
    near = difflib.get_close_matches(path.stem, shipped, n=1)
    hint = f"; you may mean {near[0]}" if near else ""
    raise ConfigError(
        f"--config={given}: no such file, and no experiment of this name{hint}; shipped: {', '.join(shipped)}"
    )


def run_experiment(name: str, command: Callable[..., int | None], workdir_help: str = "") -> None:
    """Parses the command line, runs `command` with config and workdir, and exits.

    Args:
      name: the module that runs, for usage.
      command: (config, workdir), or (config) without --workdir; returns the exit status, or None.
      workdir_help: of --workdir; "" for commands that have none.
    """
    python_logging.getLogger("jax._src.xla_bridge").setLevel(
        python_logging.WARNING
    )  # it tries backends that are not here
    config = config_flags.DEFINE_config_file("config", None, "an experiment: its name or file", lock_config=True)
    if workdir_help:
        flags.DEFINE_string("workdir", None, workdir_help)
    needed = ("config", "workdir") if workdir_help else ("config",)
    usage = f"python -m {name} --config=NAME{' --workdir=DIR' if workdir_help else ''} [--config.key=value]"
    help_wanted = any(argument.startswith(("--help", "-h", "-?")) for argument in sys.argv[1:])

    def parse(argv: list[str]) -> list[str]:
        if help_wanted:
            return flags.FLAGS(argv)
        status = run_command(lambda: _parse(argv, rest, needed, usage))
        if status:
            leave(status)
        return rest

    rest: list[str] = []

    def main(argv: list[str]) -> None:
        if len(argv) > 1:
            print(f"error: unexpected arguments {' '.join(argv[1:])}; usage: {usage}", file=sys.stderr)
            leave(1)
        workdir = (flags.FLAGS["workdir"].value,) if workdir_help else ()
        leave(run_command(lambda: command(config.value, *workdir)))

    app.run(main, flags_parser=parse)


def _parse(argv: list[str], rest: list[str], needed: Sequence[str], usage: str) -> None:
    """Parses flags. Raises ConfigError, with the nearest key, for those that do not exist."""
    argv = _with_config_file(argv)
    for name in needed:
        if not any(re.match(rf"--?{name}(=|$)", argument) for argument in argv):
            raise ConfigError(f"--{name} is missing; usage: {usage}")
    try:
        rest += flags.FLAGS(argv)
    except flags.Error as error:
        raise ConfigError(_nearest_key(str(error))) from error
    except (AttributeError, KeyError) as error:  # ml_collections' own, for keys below --config
        message = str(error.args[0] if error.args else error)
        if "Did you mean" not in message and "get_config" not in message and "unknown" not in message.lower():
            raise ConfigError(
                f"--config: the file cannot be used: {type(error).__name__}: {_one_line(error)}"
            ) from error
        if "get_config" in message:
            raise ConfigError("--config: the file defines no get_config(); see those in configs/") from error
        unknown = re.search(r"'(\w+)'", message.replace("\\", ""))
        near = re.search(r'Did you mean "(\w+)"', message)
        raise ConfigError(
            f"{_argument_with(argv, unknown[1]) if unknown else message}: no such key"
            + (f"; you may mean {near[1]} instead of {unknown[1]}" if near and unknown else "")
        ) from error
    except Exception as error:  # whatever the file of a user raises
        raise ConfigError(f"--config: the file cannot be used: {type(error).__name__}: {_one_line(error)}") from error
    if not isinstance(flags.FLAGS["config"].value, ConfigDict):
        raise ConfigError("--config: get_config() returns no ConfigDict; start from mms_jax.config.default_config")
    if "workdir" in needed and not flags.FLAGS["workdir"].value:
        raise ConfigError("--workdir is empty; name a folder, which is made if it does not exist")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _argument_with(argv: list[str], key: str) -> str:
    """The argument that holds a key of the config."""
    return next((one.partition("=")[0] for one in argv if key in one.partition("=")[0].split(".")), key)


def _with_config_file(argv: list[str]) -> list[str]:
    """Replaces the name in --config=NAME or --config NAME by its file."""
    found = list(argv)
    for place, argument in enumerate(found):
        if match := re.fullmatch(r"--?config=(.*)", argument):
            found[place] = f"--config={find_config(match[1])}"
        elif argument in ("--config", "-config") and place + 1 < len(found):
            found[place + 1] = str(find_config(found[place + 1]))
    return found


def _nearest_key(message: str) -> str:
    """absl's message; for an unknown key of the config, with the nearest one."""
    match = re.search(r"Unknown command line flag '(config\.)?([^']*)'", message)
    if not match:
        return " ".join(message.split())
    keys: list[str] = []
    if match[1] and flags.FLAGS["config"].value is not None:
        keys = [f"config.{key}" for key in flatten_config(flags.FLAGS["config"].value)]
    unknown = (match[1] or "") + match[2]
    near = difflib.get_close_matches(unknown, [*keys, "config", "workdir"], n=1, cutoff=0.4)
    return f"--{unknown}: no such key" + (f"; you may mean --{near[0]}" if near else "")
