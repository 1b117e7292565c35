"""Every command and every Python example of README and docs runs, in a folder like a user's, on miniature models.

A block ```sh or ```python is run here. ```sh hub needs the hub, ```sh long takes minutes or changes the machine; both are
parsed only.
"""

import argparse
import contextlib
import importlib.util
import pathlib
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from absl import flags
from ml_collections import config_flags

from input_pipeline import prepare
from mms_jax import cli
from mms_jax.checkpoint import save_model
from mms_jax.config import default_config
from mms_jax.evaluate import evaluate
from mms_jax.experiment import find_config
from mms_jax.inference.find import find_model
from mms_jax.models.vits import config as voices
from mms_jax.train import train
from tests.decoding.test_beam import write_arpa

ROOT = pathlib.Path(__file__).parents[1]
PAGES = ["README.md", "CONTRIBUTING.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]
KINDS = {"", "sh", "sh hub", "sh long", "python", "python hub"}
WORDS = "habari ya asubuhi verse one two abba dada quick fox jumps over lazy dogs vexing wizards kept"


def blocks(page):
    """(info, text) of the fenced blocks of a page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(r"^```([^\n]*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def commands(text):
    """The lines of a block, continued ones joined, without comments."""
    joined = re.sub(r"\\\n\s*", " ", text)
    lines = (re.sub(r"\s{2,}#.*", "", line).strip() for line in joined.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("page", PAGES)
def test_blocks_are_of_a_known_kind(page):
    assert {info for info, _ in blocks(page)} <= KINDS


def test_readme_is_short_and_complete():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 130
    assert not re.search(r"\b[A-Z]+_[A-Z]+\b", text), "a placeholder"


@pytest.mark.parametrize("page", PAGES)
def test_modules_files_and_links_exist(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for module in re.findall(r"python -m ([\w.]+)", text):
        assert importlib.util.find_spec(module), f"{page}: no module {module}"
    for script in re.findall(r"\./(launch/[\w.]+)", text):
        assert (ROOT / script).exists(), f"{page}: no {script}"
    for config in re.findall(r"(?:configs/|mms_jax\.\w+ --config=)(\w+)", text):
        assert config == "NAME" or (ROOT / "configs" / f"{config}.py").exists(), f"{page}: no config {config}"
    for link in re.findall(r"\]\(([\w/.-]+\.(?:md|png))\)", text):
        assert ((ROOT / page).parent / link).exists(), f"{page}: no {link}"


@pytest.mark.parametrize("page", PAGES)
def test_commands_that_are_not_run_have_valid_arguments(page):
    """Commands that need the hub are parsed; those of experiments have a config that exists, see above."""
    for info, text in blocks(page):
        for command in commands(text) if info == "sh hub" else []:
            words = shlex.split(command)
            if words[:3] == ["python", "-m", "mms_jax.evaluate"]:
                continue
            parser = argparse.ArgumentParser()
            if words[:3] == ["python", "-m", "input_pipeline.prepare"]:
                parser.add_argument("--data_dir")
                module, arguments = prepare.CORPORA[words[3]], words[4:]
            else:
                assert words[0] == "mms-jax"
                module, arguments = importlib.import_module(f"mms_jax.cli.{words[1]}"), words[2:]
            module.add_arguments(parser)
            parser.parse_args(arguments)


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory, fixture_file):
    """A user's folder: recordings and their table, chapters and texts, a prepared corpus, small models."""
    folder = tmp_path_factory.mktemp("user")
    rng = np.random.default_rng(0)
    patch = pytest.MonkeyPatch()
    patch.setattr("mms_jax.alignment.confidence.BELIEVED", 0.0)  # untrained models align at random
    for name in ("recordings", "chapters", "texts"):
        (folder / name).mkdir()
    lines = ["path\ttext"]
    for number in range(60):
        soundfile.write(folder / "recordings" / f"{number}.flac", rng.normal(0, 0.1, 16_000), 16_000)
        lines.append(f"{number}.flac\t{WORDS}"[:40] if number % 2 else f"{number}.flac\t{WORDS[40:70]}")
    lines[1] = f"0.flac\t{WORDS}"  # all letters
    (folder / "recordings" / "table.tsv").write_text("\n".join(lines) + "\n")
    for name in ("interview", "chapter", "chapters/MAT_01", "chapters/MAT_02", "chapters/MAT_03", "chapters/MRK_01"):
        soundfile.write(folder / f"{name}.mp3", rng.normal(0, 0.1, 64_000), 16_000)
    for name in ("chapter", "texts/MAT_01", "texts/MAT_02", "texts/MAT_03", "texts/MRK_01"):
        (folder / f"{name}.txt").write_text("abba dada\nquick fox\n")
    (folder / "story.txt").write_text("abba dada. bad.\n")
    (folder / "lines.txt").write_text("abba\ndada\n")
    write_arpa(folder / "swh.arpa", [["abba", "dada"]])
    data = f"--data_dir={folder / 'data'}"
    table = f"--table={folder / 'recordings' / 'table.tsv'}"
    assert prepare.main(["audio_folder", data, "--name=mine", table, "--language=swh"]) == 0
    voice = find_model(fixture_file("vits") / "huggingface")
    save_model(folder / "runs" / "voice", voice)
    fields = voice.description["model"] | {"discriminator_width": 64, "periods": (2,)}
    patch.setitem(voices.GEOMETRIES, "miniature", voices.VitsConfig.from_json(fields))
    for name, task in (("mine", "asr"), ("pretrain", "pretrain")):
        config = default_config(task)
        config.input.corpora = config.input.eval_corpora = ("audio_folder/mine:train",)
        config.input.data_dir = str(folder / "data")
        train(shrunk(config), str(folder / "runs" / name))
    patch.chdir(folder)
    yield folder
    patch.undo()


def shrunk(config):
    """The same experiment in seconds."""
    config.model.geometry = "miniature"
    config.compute_dtype = "float32"
    config.total_steps = config.checkpoint.every = 1
    config.eval_every, config.input.workers = int(bool(config.checkpoint.best)), 0
    config.input.batch_rows, config.optimizer.accumulate = 0, 1
    config.input.bucket_seconds, config.input.min_seconds, config.input.batch_seconds = (1.5,), 0.1, 6.0
    config.input.rows_multiple = 1
    if "tts" in config:
        config.tts.segment = 1024
    return config


def run_job(module, arguments):
    """`python -m mms_jax.train` or `evaluate` on a shrunk config; runs go to trained/ in place of runs/."""
    moved = [re.sub(r"^--config=(.*)", lambda found: f"--config={find_config(found[1])}", one) for one in arguments]
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(sys, "argv", [module, *moved])  # where ml_collections looks for --config.KEY
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", None, flag_values=values)
    flags.DEFINE_string("workdir", None, "", flag_values=values)
    values([module, *moved])
    monkeypatch.undo()
    workdir = values.workdir.replace("runs/", "trained/")
    if module == "mms_jax.train":
        train(shrunk(values.config), workdir)
    else:
        evaluate(shrunk(values.config), workdir)
    return 0


def run_command(command):
    """Runs one documented command; returns its exit status."""
    if "|" in command or ">" in command:
        path = f"{pathlib.Path(sys.executable).parent}"
        return subprocess.run(["bash", "-c", f"set -o pipefail; PATH={path}:$PATH; {command}"]).returncode
    program, *arguments = shlex.split(command)
    if program == "source":
        return 0
    if program == "mms-jax":
        return cli.main(arguments)
    assert program == "python" and arguments[0] == "-m", command
    module, *arguments = arguments[1:]
    if module == "input_pipeline.prepare":
        # Untrained models: whatever they find is good enough here.
        loose = [
            "--min_score=-99",
            "--min_confidence=0",
            "--min_seconds=0",
            "--max_cer=99",
            "--max_recording_cer=99",
            "--splits=book",
        ]
        return prepare.main([*arguments, *(loose if arguments[0] == "aligned_chapters" else [])])
    return run_job(module, arguments)


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if any(info in ("sh", "python") for info, _ in blocks(page))])
def test_commands_and_examples_run(sandbox, page):
    for info, text in blocks(page):
        for command in commands(text) if info == "sh" else []:
            with contextlib.redirect_stdout(sys.stderr):
                assert run_command(command) == 0, f"{page}: {command}"
        if info == "python":
            exec(compile(text, page, "exec"), {"waveform": np.random.default_rng(0).normal(0, 0.1, 16_000)})


def test_the_pages_build_without_broken_links(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "architecture" / "index.html").exists()
