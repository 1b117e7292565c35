"""The rooms of the house, and which of them each may import. Every import is read, those inside functions too."""

import ast
import graphlib
import pathlib

import pytest

from mms_jax.tasks import TASKS

ROOT = pathlib.Path(__file__).parents[1]

# Room -> the rooms that it may import. A room is a package of mms_jax, one of its root modules, or the input pipeline.
ROOMS: dict[str, set[str]] = {
    "errors": set(),
    "files": {"errors"},
    "text": {"errors"},
    "audio": {"errors"},
    "decoding": {"text", "files", "errors"},
    "sharding": {"errors"},
    "distributed": {"errors"},
    "hardware": {"errors"},
    "optimizers": {"errors"},
    "models": {"sharding", "audio", "text", "errors"},
    "checkpoint": {"models", "files", "errors"},
    "interop": {"checkpoint", "models", "text", "files", "errors"},
    "inference": {"command", "interop", "checkpoint", "models", "decoding", "audio", "text", "files", "errors"},
    "alignment": {"inference", "decoding", "audio", "text", "files", "errors"},
    "reranking": {"alignment", "inference", "decoding", "audio", "text", "files", "errors"},
    "input_pipeline": {"audio", "text", "files", "errors"},
    # The command that wires corpora to a recognizer; the corpora themselves are given a function.
    "input_pipeline.prepare": {"input_pipeline", "inference", "command", "files", "errors"},
    "tasks": {"files", "input_pipeline", "checkpoint", "sharding", "models", "decoding", "audio", "text", "errors"},
    "config": {"tasks", "errors"},
    "training": {
        "input_pipeline",
        "config",
        "files",
        "tasks",
        "inference",
        "checkpoint",
        "optimizers",
        "sharding",
        "hardware",
        "audio",
        "models",
        "errors",
    },
    "command": {"errors"},
    "experiment": {"command", "config", "errors"},
    "evaluate": {
        "command",
        "distributed",
        "experiment",
        "config",
        "training",
        "tasks",
        "inference",
        "interop",
        "input_pipeline",
        "checkpoint",
        "files",
        "sharding",
        "models",
        "errors",
    },
    "train": {
        "command",
        "distributed",
        "experiment",
        "config",
        "evaluate",
        "training",
        "tasks",
        "input_pipeline",
        "checkpoint",
        "files",
        "optimizers",
        "sharding",
        "models",
        "audio",
        "errors",
    },
    # The training step of `train`, without data and without a machine.
    "compile": {
        "command",
        "experiment",
        "config",
        "training",
        "tasks",
        "input_pipeline",
        "optimizers",
        "sharding",
        "hardware",
        "models",
        "audio",
        "errors",
    },
    # The one command that trains: from a table of recordings to a model with one language more.
    "adapt": {
        "config",
        "train",
        "training",
        "tasks",
        "inference",
        "interop",
        "input_pipeline",
        "checkpoint",
        "optimizers",
        "sharding",
        "models",
        "audio",
        "text",
        "files",
        "errors",
    },
    "cli": {
        "adapt",
        "reranking",
        "command",
        "alignment",
        "inference",
        "input_pipeline",
        "interop",
        "checkpoint",
        "decoding",
        "models",
        "audio",
        "text",
        "files",
        "errors",
        "mms_jax",
    },
    "mms_jax": {"alignment", "inference", "decoding", "errors"},  # the public API
}


def sources():
    return sorted([*(ROOT / "mms_jax").rglob("*.py"), *(ROOT / "input_pipeline").rglob("*.py")])


def room_of(module):
    """The room of a dotted module name."""
    parts = module.split(".")
    if parts[0] == "input_pipeline":
        return "input_pipeline.prepare" if parts[1:] == ["prepare"] else "input_pipeline"
    return "mms_jax" if len(parts) == 1 else parts[1]


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path):
    """The project's modules that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            # "from mms_jax import sharding" imports a module, not a name of the package.
            names = [f"{node.module}.{alias.name}" if node.module in ("mms_jax", "input_pipeline") else node.module
                     for alias in node.names]  # fmt: skip
        else:
            continue
        yield from (name for name in names if name and name.split(".")[0] in ("mms_jax", "input_pipeline"))


def test_imports_run_downwards():
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources()
        for name in imported(path)
        if room_of(name) not in {room_of(module_of(path)), *ROOMS[room_of(module_of(path))]}
    ]
    assert not wrong, "\n".join(wrong)


def test_the_rooms_have_an_order():
    order = list(graphlib.TopologicalSorter(ROOMS).static_order())
    assert order.index("text") < order.index("models") < order.index("tasks") < order.index("train")
    assert {room_of(module_of(path)) for path in sources()} == set(ROOMS)


@pytest.mark.parametrize(("library", "homes"), [("orbax", {"mms_jax/checkpoint.py"})])
def test_a_library_has_one_home(library, homes):
    found = {
        str(path.relative_to(ROOT))
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
        if name.split(".")[0] == library
    }
    assert found == homes


def test_only_sharding_makes_meshes():
    makers = {
        str(path.relative_to(ROOT))
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("jax.make_mesh", "Mesh", "jax.sharding.Mesh")
    }
    assert makers == {"mms_jax/sharding.py"}


def test_no_file_outside_its_folder_knows_a_task():
    """Neither by its name as a string nor by importing its folder; the table of tasks does both.

    `adapt` knows one: it is the command that fine-tunes recognizers.
    """
    wrong = []
    for path in sources():
        name = str(path.relative_to(ROOT))
        for task in TASKS:
            if (
                (task, name.split("/")[1]) == ("asr", "adapt")
                or name == "mms_jax/tasks/__init__.py"
                or name.startswith(f"mms_jax/tasks/{task}/")
            ):
                continue
            constants = {
                node.value for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Constant)
            }
            folder = f"mms_jax.tasks.{task}"
            if task in constants or any(other == folder or other.startswith(f"{folder}.") for other in imported(path)):
                wrong.append(f"{name} knows {task}")
    assert not wrong, "\n".join(wrong)


def test_no_class_name_twice():
    names = {}
    others = [path for folder in ("launch", "benchmarks", "configs") for path in sorted((ROOT / folder).rglob("*.py"))]
    for path in [*sources(), *others]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                names.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert not {name: places for name, places in names.items() if len(places) > 1}
