"""Inference: what a user calls, from Python and from the shell."""

import json
import shutil
import subprocess
import sys
import types

import jax
import numpy as np
import pytest
import soundfile

import mms_jax
from mms_jax import cli
from mms_jax.audio.read import read_audio
from mms_jax.decoding.greedy import collapse
from mms_jax.decoding.long_audio import Windows
from mms_jax.decoding.subtitles import cues, to_srt, to_vtt
from mms_jax.decoding.timestamps import Word, words_of_path
from mms_jax.errors import AudioError, CheckpointError
from mms_jax.evaluate import evaluate
from mms_jax.inference.windows import Buckets
from mms_jax.text.vocabulary import spell
from mms_jax.train import train
from tests.conftest import tone_experiment


@pytest.fixture(scope="module")
def run(tone_data, tmp_path_factory):
    """A recognizer of tones that has learned them."""
    config = tone_experiment(tone_data)
    config.total_steps = 200
    config.optimizer.learning_rate = 3e-3
    config.optimizer.clip_norm = 1.0
    config.masking.time_probability = 0.0
    config.masking.time_minimum = 0
    config.checkpoint.every = 200
    workdir = tmp_path_factory.mktemp("recognizer")
    train(config, str(workdir))
    return config, workdir


@pytest.fixture(scope="module")
def model(run):
    return mms_jax.load(run[1])


def tones(tone_table, count):
    lines = [line.split("\t") for line in tone_table.read_text().splitlines()[1 : count + 1]]
    return (
        [str(tone_table.parent / line[0]) for line in lines],
        [line[1] for line in lines],
        [line[2] for line in lines],
    )


def test_evaluation_of_the_restored_checkpoint(run, tone_data):
    result = evaluate(run[0], str(run[1]))
    assert result["cer"] < 0.15 and result["utterances"] == 12 and result["step"] == 200
    assert set(result["by_language"]) == {"eng", "swh"}
    with pytest.raises(CheckpointError, match="holds a checkpoint of task 'asr'"):
        evaluate(tone_experiment(tone_data, "pretrain"), str(run[1]))


def test_evaluation_of_a_converted_bank_of_languages(run, fixture_file, tmp_path):
    source = str(fixture_file("huggingface") / "ctc")
    assert cli.main(["convert", source, str(tmp_path / "bank"), "--lang", "swh,eng"]) == 0
    result = evaluate(run[0], str(tmp_path / "bank"))
    assert set(result["by_language"]) == {"eng", "swh"} and result["undecodable"] == 0


def test_transcripts_have_text_and_word_times(model, tone_table):
    files, texts, languages = tones(tone_table, 6)
    transcripts = model.transcribe(files, language=languages)
    right = sum(transcript.text == text for transcript, text in zip(transcripts, texts))
    assert right >= 4
    for transcript, language in zip(transcripts, languages):
        assert transcript.language == language
        assert 0 <= transcript.words[0].start < transcript.words[-1].end <= transcript.seconds
        assert all(0 < word.score <= 1 for word in transcript.words)


def test_batch_gives_what_each_file_gives_alone(model, tone_table):
    files, _, languages = tones(tone_table, 6)
    waveforms = [read_audio(file) for file in files]
    together = model.logits(waveforms, language=languages)
    for waveform, language, logits in zip(waveforms, languages, together):
        np.testing.assert_allclose(model.logits([waveform], language=language)[0], logits, atol=1e-4)


def test_similar_length_compiles_nothing(model):
    rng = np.random.default_rng(0)
    model.logits([rng.normal(size=20_000)], language="eng")
    compiled = model._model._forward._cache_size()
    model.logits([rng.normal(size=25_000)], language="swh")
    assert model._model._forward._cache_size() == compiled
    model.logits([rng.normal(size=60_000)], language="swh")
    assert model._model._forward._cache_size() == compiled + 1


def test_long_recordings_are_stitched_frame_by_frame(run, model, tone_table, tmp_path):
    files, _, _ = tones(tone_table, 60)
    waveform = np.concatenate([read_audio(file) for file in files])
    soundfile.write(tmp_path / "long.wav", waveform, 16_000)
    logits = model.logits([waveform], language="eng")[0]
    assert len(logits) == model._model._config.frames(len(waveform))
    whole_model = mms_jax.load(run[1])
    whole_model._model._windows = Windows(320 * 3000, 32_000, 320)
    whole_model._model._buckets = Buckets((60,), batch_seconds=60)
    whole = whole_model.logits([waveform], language="eng")[0]
    # Attention sees other contexts, so that scores differ a little; decisions hardly do.
    assert np.mean(whole.argmax(axis=1) == logits.argmax(axis=1)) > 0.97
    [transcript] = model.transcribe([str(tmp_path / "long.wav")], language="eng")
    assert transcript.text == spell(collapse(logits.argmax(axis=1)).tolist(), model.vocabulary.tokens)
    assert transcript.seconds == pytest.approx(len(waveform) / 16_000)


def test_answers_do_not_depend_on_where_windows_fall(model, monkeypatch):
    rng = np.random.default_rng(3)
    gaps = [np.zeros(int(length)) for length in rng.uniform(1600, 6000, 60)]
    sines = [0.3 * np.sin(2 * np.pi * (300 + 300 * tone) * np.arange(4000) / 16_000) for tone in rng.integers(0, 4, 60)]
    waveform = np.concatenate([piece for pair in zip(gaps, sines) for piece in pair]) + rng.normal(0, 0.01, 1)
    waveform = waveform + rng.normal(0, 0.01, len(waveform))
    expected = model.logits([waveform], language="eng")[0].argmax(axis=1)
    for context in (1.5, 3, 5):
        monkeypatch.setattr(model._model, "_windows", Windows(320 * 1200, int(320 * 50 * context), 320))
        moved = model.logits([waveform], language="eng")[0].argmax(axis=1)
        assert np.mean(moved == expected) > 0.99


def test_only_symbols_of_the_language_are_written(model):
    noise = np.random.default_rng(0).normal(size=30_000)
    allowed = model.vocabulary.allowed[model.vocabulary.language_index("eng")]
    logits = model.logits([noise], language="eng")[0]
    assert (logits[:, ~allowed] == -1e9).all() and (logits[:, allowed] > -1e9).all()


def test_bad_files_do_not_stop_the_others(model, tone_table, tmp_path):
    files, _, _ = tones(tone_table, 2)
    (tmp_path / "broken.wav").write_bytes(b"junk")
    results = list(model.transcribe_each([files[0], str(tmp_path / "broken.wav"), files[1]], language="eng"))
    assert [type(result).__name__ for result in results] == ["Transcript", "AudioError", "Transcript"]
    with pytest.raises(AudioError, match=r"broken\.wav"):
        model.transcribe([str(tmp_path / "broken.wav")], language="eng")
    with pytest.raises(ValueError, match=r"it knows eng \(English\), swh"):
        model.transcribe(files, language="deu")
    with pytest.raises(ValueError, match="2 languages for 1 recordings"):
        model.transcribe(files[:1], language=["eng", "swh"])


def test_command_line_prints_json_in_order_and_fails_at_the_end(run, tone_table, tmp_path, capsys):
    files, _, _ = tones(tone_table, 3)
    missing = str(tmp_path / "missing.wav")
    status = cli.main(
        ["transcribe", files[0], missing, *files[1:], "--model", str(run[1]), "--lang", "swh", "--format", "json"]
    )
    out, err = capsys.readouterr()
    assert status == 1
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["file"] for row in rows] == files
    assert {"text", "language", "seconds", "words"} <= set(rows[0])
    assert "missing.wav: no such file" in err


def test_command_line_text(run, tone_table, capsys):
    files, _, _ = tones(tone_table, 2)
    assert cli.main(["transcribe", files[0], "--model", str(run[1]), "--lang", "swh"]) == 0
    assert "\t" not in capsys.readouterr().out
    assert cli.main(["transcribe", *files, "--model", str(run[1]), "--lang", "swh"]) == 0
    assert [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()] == files


@pytest.mark.parametrize(("form", "first"), [("srt", "1\n00:00:00,"), ("vtt", "WEBVTT\n\n00:00:00.")])
def test_subtitles_of_a_folder_go_to_files(run, tone_table, tmp_path, form, first):
    files, _, _ = tones(tone_table, 2)
    folder = tmp_path / "in" / "below"
    folder.mkdir(parents=True)
    for file in files:
        shutil.copy(file, folder)
    (folder / "notes.txt").write_text("not audio")
    command = ["transcribe", str(tmp_path / "in"), "--model", str(run[1]), "--lang", "eng", "--format", form]
    assert cli.main([*command, "--output-dir", str(tmp_path / "out")]) == 0
    written = sorted((tmp_path / "out" / "below").iterdir())
    assert [path.name for path in written] == [f"0.{form}", f"1.{form}"]
    assert written[0].read_text().startswith(first) and " --> " in written[0].read_text()


def test_standard_input(run, tone_table, capsys, monkeypatch):
    files, _, _ = tones(tone_table, 1)
    with open(files[0], "rb") as stream:
        monkeypatch.setattr("sys.stdin", types.SimpleNamespace(buffer=stream))
        assert cli.main(["transcribe", "-", "--model", str(run[1]), "--lang", "eng", "--format", "json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    [expected] = mms_jax.load(run[1]).transcribe(files, language="eng")
    assert answer["file"] == "-" and answer["text"] == expected.text


def test_one_language_a_file(run, tone_table, capsys):
    files, _, languages = tones(tone_table, 3)
    command = ["transcribe", *files, "--model", str(run[1]), "--format", "json"]
    assert cli.main([*command, "--lang", ",".join(languages)]) == 0
    assert [json.loads(line)["language"] for line in capsys.readouterr().out.splitlines()] == languages
    assert cli.main([*command, "--lang", "eng,swh"]) == 1
    assert "2 languages for 3 recordings" in capsys.readouterr().err
    assert cli.main([*command, "--lang", "auto"]) == 1
    assert "--lid" in capsys.readouterr().err


def test_subtitles_break_at_pauses_and_full_lines():
    spoken = [Word("w" * 10, start, start + 0.4, 1.0) for start in (0.0, 0.5, 1.0, 1.5, 2.0, 4.0)]
    lengths = [len(cue.text.split()) for cue in cues(spoken)]
    assert lengths == [3, 2, 1]
    assert to_srt(cues(spoken[:1])) == "1\n00:00:00,000 --> 00:00:00,400\nwwwwwwwwww\n"
    assert to_vtt(cues([Word("a", 3661.5, 3662.25, 1.0)])).endswith("01:01:01.500 --> 01:01:02.250\na\n")


def test_command_line_explains_wrong_arguments(run, tmp_path, capsys):
    assert cli.main(["transcribe", "a.wav", "--model", str(tmp_path), "--lang", "eng"]) == 1
    assert "no readable checkpoint" in capsys.readouterr().err
    assert cli.main(["transcribe", "a.wav", "--model", str(run[1]), "--lang", "xxx"]) == 1
    assert "it knows eng (English), swh (Swahili)" in capsys.readouterr().err


def test_pretrained_model_does_not_recognize(tone_data, tmp_path, capsys):
    tone_config = tone_experiment(tone_data, "pretrain")
    tone_config.total_steps = 1
    train(tone_config, str(tmp_path))
    result = evaluate(tone_config, str(tmp_path))
    assert 0 <= result["accuracy"] <= 1 and result["code_perplexity"] > 1
    assert result == evaluate(tone_config, str(tmp_path)), "masks are the same each time"
    assert cli.main(["transcribe", "a.wav", "--model", str(tmp_path), "--lang", "eng"]) == 1
    assert "fine-tune it first" in capsys.readouterr().err
    [features] = mms_jax.load(tmp_path).features([np.random.default_rng(0).normal(size=8000)])
    assert features.shape == (24, 32)


def test_importing_the_package_loads_no_jax():
    code = "import sys, mms_jax, mms_jax.audio.read, input_pipeline.decode; print('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_words_of_a_path():
    tokens = ("<pad>", "|", "a", "b")
    path = np.asarray([0, 2, 2, 0, 2, 3, 1, 1, 0, 3, 0, 0])
    words = words_of_path(path, np.linspace(0.1, 1.2, 12), tokens)
    assert [(word.text, round(word.start, 2), round(word.end, 2)) for word in words] == [
        ("aab", 0.02, 0.12), ("b", 0.18, 0.20),
    ]  # fmt: skip
    assert words[1].score == pytest.approx(1.0)
    assert words_of_path(np.zeros(5, int), np.ones(5), tokens) == []


@pytest.mark.parametrize(("path", "expected"), [([0, 1, 1, 0, 1, 2, 2], [1, 1, 2]), ([0, 0], []), ([], [])])
def test_collapse(path, expected):
    assert collapse(np.asarray(path, int)).tolist() == expected


def test_jitted_forward_keeps_parameters_on_the_device(model):
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(model._model._params))


def test_hot_words_and_language_models_are_flags(run, tone_table, tmp_path, capsys):
    files, texts, languages = tones(tone_table, 1)
    command = ["transcribe", files[0], "--model", str(run[1]), "--lang", languages[0]]
    assert cli.main([*command, "--beam", "20"]) == 0
    plain = capsys.readouterr().out.strip()
    assert plain.replace(" ", "") == texts[0].replace(" ", "")
    assert cli.main([*command, "--lm", str(tmp_path / "none.arpa")]) == 1
    assert "none.arpa: no such file" in capsys.readouterr().err
    assert cli.main([*command, "--lm-weight", "2"]) == 1
    assert "give --lm" in capsys.readouterr().err
    assert cli.main([*command, "--hot-words", "9"]) == 1
    assert "this language's symbols lack 9" in capsys.readouterr().err
