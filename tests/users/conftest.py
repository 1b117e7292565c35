"""What the tests of users' first days share: short recordings, and the small model of the fixtures."""

import numpy as np
import pytest
import soundfile

from input_pipeline import prepare
from mms_jax import cli


def record(path, seconds=0.6, seed=0):
    """A short recording of noise; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(seed).normal(0, 0.1, int(16_000 * seconds)), 16_000, format="WAV")
    return path


@pytest.fixture
def transcribe(fixture_file):
    """`mms-jax transcribe` with the small model; returns the exit status."""
    model = ["--model", str(fixture_file("huggingface") / "ctc"), "--lang", "swh"]
    return lambda *arguments: cli.main(["transcribe", *map(str, arguments), *model])


def folder_corpus(tmp_path, table, *arguments):
    return prepare.main(["audio_folder", f"--data_dir={tmp_path / 'data'}", "--name=c", f"--table={table}", *arguments])
