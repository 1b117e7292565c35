"""Voices through the whole program: trained, resumed, spread over devices, begun from other voices, evaluated."""

import json
import shutil

import jax
import numpy as np
import pytest

import mms_jax
from mms_jax.checkpoint import load_model
from mms_jax.cli import main
from mms_jax.errors import CorpusError, InputError, TrainingError
from mms_jax.evaluate import evaluate
from mms_jax.models.vits import config as vits_config
from mms_jax.tasks.tts.task import TtsTask
from mms_jax.train import train
from tests.conftest import SMALL_VOICE, prepare_folder, tone_experiment


@pytest.fixture(scope="module", autouse=True)
def small_voice():
    """A geometry that compiles quickly, under the name "miniature"."""
    vits_config.GEOMETRIES["miniature"] = vits_config.VitsConfig(**SMALL_VOICE)


def experiment(data, **changes):
    config = tone_experiment(data, "tts")
    config.tts.segment = 1024
    config.tts.discriminator_start_step, config.tts.diagonal_prior_steps = 1, 4
    config.input.corpora = ("audio_folder/reader:train",)
    config.input.dev_corpora = config.input.eval_corpora = ("audio_folder/reader:test",)
    config.optimizer.schedule = "epochs"
    config.optimizer.final_scale = 0.9
    for name, value in changes.items():
        config[name] = value
    return config


def assert_equal_trees(one, other, **tolerance):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for ours, theirs in zip(jax.tree.leaves(one), jax.tree.leaves(other)):
        np.testing.assert_allclose(ours, theirs, **(tolerance or {"rtol": 0, "atol": 0}))


@pytest.fixture(scope="module")
def run(reader_data, tmp_path_factory):
    """(folder, last state) of a run of six steps, evaluated at its end."""
    folder = tmp_path_factory.mktemp("run")
    return folder, train(experiment(reader_data, eval_every=6), str(folder))


def test_resuming_is_exact_with_both_optimizers(run, reader_data, tmp_path):
    first = experiment(reader_data)
    train(first.copy_and_resolve_references(), str(tmp_path))
    steps = sorted(tmp_path.glob("checkpoints/*"))
    assert [step.name for step in steps] == ["3", "6"]
    shutil.rmtree(tmp_path / "checkpoints" / "6")  # as if killed after step 3
    state = train(experiment(reader_data), str(tmp_path))
    assert_equal_trees(jax.device_get(state), jax.device_get(run[1]))


def test_what_a_run_leaves(run, reader_data):
    folder, _ = run
    last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-2])
    assert {"mel", "kl", "duration", "adversarial", "feature", "discriminator", "discriminator_gradient_norm"} <= set(
        last
    )
    events = b"".join(path.read_bytes() for path in (folder / "tensorboard").glob("events*"))
    for name in (b"synthesized/0", b"recorded/0", b"mel_synthesized/0", b"attention/1"):
        assert name in events
    config = experiment(reader_data)
    config.tts.recognizer = ""
    result = evaluate(config, str(folder))
    assert result["sentences"] == 12 and 0 < result["mcd"] < 100
    assert "mel-cepstral distortion" in TtsTask.format_result(result)
    voice = mms_jax.load_voice(folder)
    assert voice.tokenizer.language == "swh" and len(voice.speak("abcd").samples) > 0


def test_beginning_from_another_voice(run, reader_data, tmp_path, monkeypatch):
    folder, state = run
    monkeypatch.setattr("mms_jax.tasks.tts.task.corpus_alphabets", lambda corpora: {"swh": " bdz"})
    config = experiment(reader_data, init_from=str(folder), total_steps=1)
    config.optimizer.learning_rate = 0.0
    begun = train(config, str(tmp_path)).params
    old = jax.device_get(state.params["voice"]["text_encoder"]["embedding"])
    new = begun["voice"]["text_encoder"]["embedding"]
    np.testing.assert_array_equal(new[:4], old[[0, 1, 3, 5]])  # _, space, b, d of _ abcd
    assert_equal_trees(begun["discriminators"], state.params["discriminators"])
    assert_equal_trees(begun["voice"]["flow"], state.params["voice"]["flow"])


def test_beginning_from_the_wrong_thing(fixture_file, reader_data, tmp_path):
    config = experiment(reader_data, init_from=str(fixture_file("vits") / "huggingface"))
    with pytest.raises(TrainingError, match=r"another structure .* set config.model.geometry to that model's"):
        train(config, str(tmp_path / "a"))
    config = experiment(reader_data, init_from=str(fixture_file("huggingface") / "ctc"))
    with pytest.raises(TrainingError, match="kind recognizer, which has no part in common with a voice"):
        train(config, str(tmp_path / "b"))


def test_a_voice_speaks_one_language(tone_data, tmp_path):
    config = experiment(tone_data)
    config.input.corpora = ("audio_folder/tones:train",)
    with pytest.raises(CorpusError, match="a voice speaks one language, these hold eng, swh"):
        train(config, str(tmp_path))


def test_checkpoints_describe_the_voice(run):
    description = load_model(run[0]).description
    assert (description["task"], description["kind"]) == ("tts", "voice")
    assert description["text"]["tokens"] == ["_", " ", "a", "b", "c", "d"]


@pytest.fixture(scope="module")
def two_readers(tone_table, tmp_path_factory):
    """A data folder with the tones as one language's, read by two: audio_folder/two."""
    return of_readers(tone_table, tmp_path_factory.mktemp("two"), "two", ("anna", "ben"))


@pytest.mark.slow
def test_a_voice_of_two_readers(two_readers, tmp_path, capsys):
    config = experiment(two_readers)
    config.input.corpora = ("audio_folder/two:train",)
    config.input.dev_corpora = config.input.eval_corpora = ("audio_folder/two:test",)
    config.tts.speaker_width, config.eval_every = 4, 6
    state = train(config, str(tmp_path / "run"))
    first = load_model(tmp_path / "run" / "checkpoints" / "3")
    assert first.description["speakers"] == ["anna", "ben"]
    moved = np.abs(np.asarray(state.params["voice"]["speakers"]) - np.asarray(first.params["voice"]["speakers"]))
    assert (moved.max(axis=1) > 0).all()  # both have a gradient

    result = evaluate(config, str(tmp_path / "run"))
    assert result["sentences"] == 12 and np.isfinite(result["mcd"])
    voice = mms_jax.load(tmp_path / "run")
    anna, ben = (voice.speak("abca", speaker=name).samples for name in ("anna", "ben"))
    np.testing.assert_array_equal(anna, voice.speak("abca", speaker=0).samples)
    assert len(anna) != len(ben) or np.abs(anna - ben).max() > 1e-4
    with pytest.raises(InputError, match=r"speaker=carl: this voice has speakers 0 to 1 \(anna, ben\)"):
        voice.speak("abca", speaker="carl")
    out = tmp_path / "ben.wav"
    assert main(["speak", "abca", "--model", str(tmp_path / "run"), "--speaker", "ben", "--out", str(out)]) == 0
    alone = experiment(two_readers, init_from=str(tmp_path / "run"))
    alone.input.corpora = ("audio_folder/two:train",)
    alone.tts.speaker_width = 8
    with pytest.raises(TrainingError, match=r"config\.init_from"):
        train(alone, str(tmp_path / "other"))


def of_readers(tone_table, tmp_path, name, readers):
    """A data folder with the tones as one language's, read by some in turn: audio_folder/NAME."""
    table = tone_table.with_name(f"{name}.tsv")
    lines = tone_table.read_text().replace("\teng\t", "\tswh\t").splitlines()
    turns = [line.replace("sine", readers[row % len(readers)]) for row, line in enumerate(lines)]
    table.write_text("\n".join(turns) + "\n")
    return prepare_folder(name, table, tmp_path)


def starting_params(data, name, folder, **changes):
    config = experiment(data, total_steps=1, **changes)
    config.input.corpora, config.tts.speaker_width = (f"audio_folder/{name}:train",), 4
    config.optimizer.learning_rate = 0.0
    return jax.device_get(train(config, str(folder)).params["voice"])


@pytest.mark.slow
def test_speakers_carry_over_by_name(tone_table, two_readers, run, tmp_path, carried_over):
    before = starting_params(two_readers, "two", tmp_path / "a")
    of_readers(tone_table, two_readers, "others", ("ben", "carl", "dora"))
    after = starting_params(two_readers, "others", tmp_path / "b", init_from=str(tmp_path / "a"), seed=1)
    np.testing.assert_array_equal(after["speakers"][0], before["speakers"][1])  # ben
    assert not any(np.array_equal(row, old) for row in after["speakers"][1:] for old in before["speakers"])
    assert "embeddings taken: ben" in carried_over[-1]

    starting_params(two_readers, "two", tmp_path / "c", init_from=str(run[0]))  # from a voice of one speaker
    assert "fresh  speakers" in carried_over[-1] and "taken  voice" in carried_over[-1]


def test_speakers_without_a_name_may_be_two_people(tone_table, tmp_path):
    for name in ("one", "two"):
        of_readers(tone_table, tmp_path, name, ("unknown",))
    config = experiment(tmp_path)
    config.input.corpora = ("audio_folder/one:train", "audio_folder/two:train")
    with pytest.raises(CorpusError, match="audio_folder/one and audio_folder/two do not name their speakers"):
        train(config, str(tmp_path / "run"))


@pytest.mark.slow
def test_a_stranger_is_no_dev_speaker(tone_table, two_readers, tmp_path):
    of_readers(tone_table, two_readers, "strangers", ("zoe",))
    config = experiment(two_readers, total_steps=1, eval_every=1)
    config.input.corpora, config.tts.speaker_width = ("audio_folder/two:train",), 4
    config.input.dev_corpora = ("audio_folder/strangers:test",)
    with pytest.raises(CorpusError, match="is read by zoe, whom this voice does not know; its speakers are anna, ben"):
        train(config, str(tmp_path))
