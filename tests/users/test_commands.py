"""Commands: stops, pipes, limits and messages."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from mms_jax import cli
from mms_jax.alignment.pairs import find_pairs
from mms_jax.command import run_command
from mms_jax.decoding.beam import BeamSettings
from mms_jax.errors import AlignmentError, ConversionError, LanguageModelError, Stopped
from mms_jax.files import whole_folder
from mms_jax.inference.find import find_model
from mms_jax.train import train
from tests.conftest import tone_experiment
from tests.users.conftest import record

ROOT = pathlib.Path(__file__).parents[2]


def command_line(*arguments):
    return [sys.executable, "-m", "mms_jax.cli", *map(str, arguments)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_is_one_line_and_leaves_nothing(number, tmp_path, fixture_file):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    process = subprocess.Popen(
        command_line("transcribe", "-", "--model", fixture_file("huggingface") / "ctc", "--lang", "swh"), cwd=ROOT,
        env=os.environ | {"TMPDIR": str(scratch)}, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not list(scratch.rglob("stdin")):  # it copies standard input
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (128 + number, "stopped\n")
    assert not list(scratch.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_a_command_with_one_line(number, capsys):
    before = signal.getsignal(number)
    assert run_command(lambda: os.kill(os.getpid(), number) or time.sleep(5)) == 128 + number
    assert capsys.readouterr().err == "stopped\n" and signal.getsignal(number) == before

    def stop():
        raise Stopped("saved at step 3; the same command continues from there", number)

    assert run_command(stop) == 128 + number
    assert capsys.readouterr().err == "stopped: saved at step 3; the same command continues from there\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_both_signals_save_a_run(tone_data, tmp_path, number, monkeypatch):
    from mms_jax import train as training

    config = tone_experiment(tone_data)
    original = training.StepWindow.add
    monkeypatch.setattr(
        training.StepWindow,
        "add",
        lambda self, *step: os.kill(os.getpid(), number) or original(self, *step),
    )
    with pytest.raises(Stopped, match="saved at step 1; the same command continues") as stop:
        train(config, str(tmp_path))
    assert stop.value.number == number and find_model(tmp_path).step == 1


def test_a_reader_that_has_enough_is_no_error(tmp_path, fixture_file):
    for number in range(3):
        record(tmp_path / f"{number}.wav")
    command = command_line("transcribe", tmp_path, "--model", fixture_file("huggingface") / "ctc", "--lang", "swh")
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    err = process.stderr.read()
    assert process.wait(timeout=60) == 128 + signal.SIGPIPE and err == ""


def test_empty_standard_input_is_named(tmp_path):
    process = subprocess.run(
        command_line("transcribe", "-", "--model", tmp_path, "--lang", "swh"), cwd=ROOT, input="", capture_output=True,
        text=True,
    )  # fmt: skip
    assert process.returncode == 1 and process.stderr.startswith("error: standard input is empty; pipe a recording")


def test_messages_blame_what_is_at_fault(tmp_path, transcribe, capsys, monkeypatch):
    recording = record(tmp_path / "a.wav")
    (tmp_path / "a.txt").write_text("abc")
    (tmp_path / "fake.mp3").write_bytes(np.random.default_rng(0).bytes(5000))
    assert transcribe(tmp_path / "fake.mp3") == 1
    assert "fake.mp3: is not audio, or is damaged (FFmpeg: Invalid data" in capsys.readouterr().err
    with pytest.raises(
        AlignmentError, match=r"a\.txt is the text and .*a\.wav the recording; write the recording first"
    ):
        find_pairs(str(tmp_path / "a.txt"), str(recording))
    texts, sounds = tmp_path / "texts", tmp_path / "sounds"
    texts.mkdir()
    (texts / "b.txt").write_text("abc")
    record(sounds / "b.wav")
    with pytest.raises(AlignmentError, match=r"sounds the recording; write the recording first"):
        find_pairs(str(texts), str(sounds))
    os.mkfifo(tmp_path / "pipe.wav")
    assert transcribe(tmp_path / "pipe.wav") == 1
    assert "pipe.wav: is a pipe; pipe into the command and write -" in capsys.readouterr().err
    with pytest.raises(AlignmentError, match="is a recording, not a text; name the text of"):
        find_pairs(str(recording), str(recording))
    assert transcribe(recording, "--output-dir", tmp_path / "a.txt") == 1
    assert "--output-dir" in capsys.readouterr().err
    assert transcribe(recording, recording, "--format", "vtt") == 1
    assert "--format vtt of several recordings needs --output-dir" in capsys.readouterr().err

    opened = pathlib.Path.open

    def denied(self, *arguments, **settings):
        if self == recording:
            raise PermissionError(13, "Permission denied", str(self))
        return opened(self, *arguments, **settings)

    monkeypatch.setattr(pathlib.Path, "open", denied)
    assert transcribe(recording) == 1
    assert "a.wav: cannot be opened (Permission denied); check its permissions" in capsys.readouterr().err
    monkeypatch.undo()

    def refused(folder, onerror=None, **settings):
        onerror(PermissionError(13, "Permission denied", str(folder)))
        return iter(())

    monkeypatch.setattr("os.walk", refused)
    assert transcribe(sounds) == 1
    assert "sounds: cannot be read (Permission denied); check its permissions" in capsys.readouterr().err


def test_a_failed_alignment_claims_no_folder(tmp_path, fixture_file, capsys):
    recording = record(tmp_path / "a.wav")
    (tmp_path / "a.txt").write_text("abc")
    out, aligner = tmp_path / "out", str(fixture_file("torchaudio/mms_fa.pt"))
    command = ["align", str(recording), str(tmp_path / "a.txt"), "--output-dir", str(out), "--model"]
    assert cli.main([*command, str(tmp_path / "none"), "--lang", "eng"]) == 1
    recording.write_bytes(b"junk")
    assert cli.main([*command, aligner, "--lang", "eng"]) == 1
    assert not list(out.rglob("*.settings"))
    record(recording, 3.0)
    cli.main([*command, aligner, "--lang", "swh"])
    assert list(out.rglob("*.settings")) and list(out.glob("*.json"))
    capsys.readouterr()
    other = record(tmp_path / "other" / "a.wav", 3.0, seed=1)
    assert cli.main(["align", str(other), str(tmp_path / "a.txt"), *command[3:], aligner, "--lang", "swh"]) == 1
    assert f"a.json holds the alignment of {recording.resolve()}" in capsys.readouterr().err


def test_limits_have_reasons():
    with pytest.raises(LanguageModelError, match="beam=100000000; keep 1 to 5000 hypotheses: time grows with them"):
        BeamSettings(beam=100_000_000)


def test_folders_appear_whole_or_not_at_all(tmp_path):
    with pytest.raises(KeyboardInterrupt), whole_folder(tmp_path / "a") as folder:
        (folder / "half").write_text("")
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())
    with whole_folder(tmp_path / "a") as folder:
        (folder / "file").write_text("")
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "file"]
    with (
        pytest.raises(ConversionError, match="holds something already; choose a new folder"),
        whole_folder(tmp_path / "a"),
    ):
        pass
