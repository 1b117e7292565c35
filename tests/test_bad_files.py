"""Damaged and foreign files end in one line that names the file, whatever command reads them."""

import json
import shutil

import numpy as np
import pytest
import soundfile

import mms_jax
from input_pipeline import prepare
from mms_jax import cli
from mms_jax.checkpoint import StoredModel, load_model, save_model
from mms_jax.errors import CheckpointError, ConversionError, MmsError, TrainingError
from mms_jax.evaluate import evaluate
from mms_jax.inference.find import find_model
from mms_jax.train import train
from tests.conftest import SMALL_VOICE, tone_experiment


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[1]", b""])
def test_a_damaged_config_of_a_workdir_is_named(tone_config, tmp_path, content):
    (tmp_path / "checkpoints" / "3").mkdir(parents=True)
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(TrainingError, match=r"config\.json: (is damaged|is not UTF-8|holds no JSON object)"):
        train(tone_config, str(tmp_path))


@pytest.mark.parametrize("name", ["config.json", "vocab.json", "preprocessor_config.json"])
def test_a_damaged_file_of_a_model_folder_is_named(fixture_file, tmp_path, name, capsys):
    folder = tmp_path / "model"
    shutil.copytree(fixture_file("huggingface") / "ctc", folder)
    (folder / name).write_text("{")
    with pytest.raises(ConversionError, match=rf"{name}: is damaged"):
        mms_jax.load(folder, languages=["eng"])
    assert cli.main(["convert", str(folder), str(tmp_path / "out")]) == 1
    assert f"{name}: is damaged" in capsys.readouterr().err


def test_missing_fields_of_a_configuration_are_named(fixture_file, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(fixture_file("huggingface") / "lid", folder)
    fields = json.loads((folder / "config.json").read_text())
    for name in ("conv_dim", "id2label"):
        (folder / "config.json").write_text(json.dumps({key: value for key, value in fields.items() if key != name}))
        with pytest.raises(ConversionError, match=rf"config\.json lacks '{name}'"):
            mms_jax.load(folder)


def test_descriptions_of_newer_versions_are_refused(fixture_file, tmp_path):
    stored = find_model(fixture_file("huggingface") / "encoder")
    description = stored.description | {"model": stored.description["model"] | {"flux": 1}}
    save_model(tmp_path / "newer", StoredModel(0, description, stored.params))
    with pytest.raises(CheckpointError, match=r"unknown fields \(flux\): a newer version wrote it"):
        mms_jax.load(tmp_path / "newer")


def test_converted_models_without_the_parts_of_a_task_are_not_evaluated(tone_data, fixture_file, tmp_path):
    for name, task, part in (
        ("huggingface/encoder", "pretrain", "project_context"),
        ("vits/huggingface", "tts", "discr"),
    ):
        assert cli.main(["convert", str(fixture_file(name)), str(tmp_path / task)]) == 0
        config = tone_experiment(tone_data, task)
        if task == "tts":
            config.tts.segment = 256
        with pytest.raises(CheckpointError, match=f"has no {part}.*only runs of the task can be evaluated"):
            evaluate(config, str(tmp_path / task))


def test_freezing_nothing_is_refused(tone_config, tmp_path):
    tone_config.optimizer.freeze = ("backbone/encodr:5",)
    with pytest.raises(MmsError, match="no parameter below 'backbone/encodr'; the parts are backbone, head"):
        train(tone_config, str(tmp_path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("path\ttext\na.flac\tñ\n".encode("latin-1"), r"table\.tsv: is not UTF-8"),
        ("path\ttext\n".encode("utf-16"), r"table\.tsv: has no rows"),  # read, as Windows writes it
        ("path\ttext\n".encode("utf-16-le"), r"table\.tsv: is not text \(it holds zero bytes\)"),
        (b"path\ttext\na.flac\t" + b"x" * 200_000 + b"\n", "is no tab-separated table"),
        (b"path\ttext\tsplit\na.flac\tb\tall\n", "'all' cannot name a split"),
    ],
)
def test_tables_that_cannot_be_read_are_named(tmp_path, capsys, content, message):
    (tmp_path / "table.tsv").write_bytes(content)
    arguments = ["audio_folder", f"--data_dir={tmp_path}", f"--table={tmp_path / 'table.tsv'}", "--language=swh"]
    assert prepare.main([*arguments, "--name=mine"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    import re

    assert re.search(message, err)
    assert prepare.main([*arguments, "--name="]) == 1
    assert "--name='' cannot name a corpus" in capsys.readouterr().err


def test_foreign_json_among_alignments_is_named(tmp_path, capsys):
    (tmp_path / "other.json").write_text('{"sha256": "", "verses": []}')
    assert cli.main(["verify", str(tmp_path), "--model", "none"]) == 1
    assert "other.json: is not an aligned chapter ('file')" in capsys.readouterr().err


def test_speech_that_cannot_be_written_is_named(fixture_file, tmp_path, capsys):
    voice = str(fixture_file("vits") / "huggingface")
    (tmp_path / "taken.wav").mkdir()
    assert cli.main(["speak", "abc", "--model", voice, "--out", str(tmp_path / "taken.wav")]) == 1
    assert "taken.wav: cannot be written" in capsys.readouterr().err
    for wrong, message in (
        ("--speed=nan", "finite"),
        ("--noise=-1", "0 or more"),
        ("--seed=-1", "seed=-1 must be from 0"),
    ):
        assert cli.main(["speak", "abc", "--model", voice, "--out", str(tmp_path / "a.wav"), wrong]) == 1
        assert message in capsys.readouterr().err
    assert not (tmp_path / "a.wav").exists()


def test_values_that_are_easily_confused(fixture_file, tmp_path, capsys):
    folder = fixture_file("huggingface")
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).normal(0, 0.1, 8000), 16_000)
    identifier, voice = mms_jax.load(folder / "lid"), mms_jax.load(fixture_file("vits") / "huggingface")
    for call, message in (
        (lambda: mms_jax.load(folder / "ctc", languages="swh"), r"languages='swh' is one string; write \['swh'\]"),
        (lambda: mms_jax.load(folder / "ctc", kind="recogniser"), "kind='recogniser'; choose one of recognizer"),
        (lambda: mms_jax.BeamSettings(hot_words="aum"), "is one string; give a tuple of words"),
        (lambda: mms_jax.align("a.wav", ["a"], language="swh", model=identifier), "Identifier where a recognizer"),
        (lambda: voice.speak(["abc"]), "list where a text is expected"),
        (lambda: voice.speak("abc", noise=0.5), "no option noise; there are noise_scale"),
        (lambda: identifier.identify([str(tmp_path / "a.wav")], top=0), "top=0: ask for at least one"),
    ):
        with pytest.raises(MmsError, match=message):
            call()
    assert cli.main(["transcribe", "", "--model", str(folder / "ctc"), "--lang", "eng"]) == 1
    assert "an AUDIO argument is empty" in capsys.readouterr().err


def test_a_voice_without_discriminators_is_still_loaded(tmp_path, fixture_file):
    assert SMALL_VOICE and "discriminators" not in find_model(fixture_file("vits") / "huggingface").params
    assert cli.main(["convert", str(fixture_file("vits") / "huggingface"), str(tmp_path / "voice")]) == 0
    assert load_model(tmp_path / "voice").description["kind"] == "voice"
