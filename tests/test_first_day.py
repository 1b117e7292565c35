"""A user's first day: inputs that broke this program or its peers, wrong arguments, Ctrl-C. Each case names its source.

The recordings are tones; the model is the small one of the fixtures, with random weights, unless right answers matter.
"""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile

import mms_jax
from input_pipeline import prepare
from input_pipeline.corpora.storage import as_text, open_corpus
from mms_jax import cli
from mms_jax.alignment.pairs import find_pairs
from mms_jax.audio.inputs import audio_files, distinct_stems
from mms_jax.checkpoint import StoredModel, save_model
from mms_jax.command import run_command
from mms_jax.config import default_config
from mms_jax.decoding.beam import BeamSettings
from mms_jax.decoding.subtitles import Cue, to_srt, to_vtt
from mms_jax.errors import AlignmentError, ConfigError, ConversionError, LanguageError, LanguageModelError, Stopped
from mms_jax.evaluate import evaluate
from mms_jax.experiment import find_config, shipped_configs
from mms_jax.files import read_text, whole_folder
from mms_jax.inference.find import find_model
from mms_jax.inference.select import check_languages
from mms_jax.models.functional import FunctionalModel
from mms_jax.models.wav2vec2.config import Wav2Vec2Config
from mms_jax.models.wav2vec2.heads import Wav2Vec2ForCTC
from mms_jax.text.languages import check_code
from mms_jax.text.mms_rules import TextRules, normalize_mms
from mms_jax.text.normalize import normalize
from mms_jax.text.vocabulary import Vocabulary
from mms_jax.text.voice_tokenizer import VoiceTokenizer
from mms_jax.train import train
from tests.conftest import MINIATURE, tone_experiment

ROOT = pathlib.Path(__file__).parents[1]


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


# ---- inputs: names and folders -----------------------------------------------------------------------------------------


def test_hidden_files_and_folders_named_like_recordings_are_no_recordings(tmp_path, transcribe, capsys):
    """BirdNET-Analyzer#635: macOS puts ._NAME.wav beside every recording of a memory card."""
    folder = tmp_path / "in"
    record(folder / "a.wav")
    record(folder / "session.wav" / "B.WAV")
    (folder / "session.wav" / "link.wav").symlink_to(folder / "a.wav")
    (folder / "._a.wav").write_bytes(b"\0\5\26\7" * 100)
    record(folder / "__MACOSX" / "c.wav")
    record(folder / ".Trash" / "d.wav")
    assert transcribe(folder) == 0
    out, err = capsys.readouterr()
    assert [pathlib.Path(line.split("\t")[0]).name for line in out.splitlines()] == ["a.wav", "B.WAV", "link.wav"]
    assert "error" not in err
    (folder / "a.txt").write_text("abc")
    (folder / "._a.txt").write_bytes(b"\0\5\26\7")
    pairs, left_out, conflicts = find_pairs(str(folder), str(folder))
    assert [pair.name for pair in pairs] == ["a"] and len(left_out) == 2 and not conflicts
    record(folder / "b.wav")
    (folder / "b.txt").write_text("abc")
    record(folder / "a.flac")
    pairs, _, conflicts = find_pairs(str(folder), str(folder))
    assert [pair.name for pair in pairs] == ["b"] and len(conflicts) == 2, "two recordings of one text"


def test_formats_of_phones_and_audiobooks_are_found_in_folders(tmp_path):
    for name in ("a.3gp", "b.m4b", "c.W64", "d.amr", "e.avi", "f.txt"):
        record(tmp_path / name)
    with audio_files([str(tmp_path)]) as given:
        assert [pathlib.Path(each.path).name for each in given] == ["a.3gp", "b.m4b", "c.W64", "d.amr", "e.avi"]


def stems(*names):
    with audio_files([str(name) for name in names]) as given:
        return [str(stem) for stem in distinct_stems(given)]


def test_results_mirror_the_folders_of_the_input(tmp_path):
    """VideoCaptioner#51, whisper-ctranslate2#97: recordings of like names overwrote each other."""
    files = [record(tmp_path / name) for name in ("a/x.ogg", "b/x.ogg", "c/x-2.ogg", "c/d/x.ogg")]
    assert stems(*files) == ["a/x", "b/x", "c/x-2", "c/d/x"]
    assert stems(tmp_path) == ["a/x", "b/x", "c/d/x", "c/x-2"]
    assert stems(tmp_path / "c") == ["d/x", "x-2"] and stems(files[0]) == ["x"]
    assert stems(tmp_path / "a", tmp_path / "b") == ["a/x", "b/x"]
    assert stems(files[0], files[0]) == ["x", "x"], "one recording named twice is one result"


def test_results_differ_where_names_differ_in_suffix_or_capitals_only(tmp_path):
    for name in ("a.mp3", "a.wav", "b.wav"):
        record(tmp_path / name)
    assert stems(tmp_path) == ["a.mp3", "a.wav", "b"]
    record(tmp_path / "a.mp3.wav")
    assert len({stem.casefold() for stem in stems(tmp_path)}) == 4
    record(tmp_path / "B.WAV")
    assert len({stem.casefold() for stem in stems(tmp_path)}) == 5, "Intro and intro are one file on some disks"


def test_no_result_replaces_that_of_another_recording(tmp_path, transcribe, capsys):
    one, other = record(tmp_path / "a" / "x.wav"), record(tmp_path / "b" / "x.wav", seed=1)
    out = tmp_path / "out"
    assert transcribe(one, "--output-dir", out) == 0
    first = (out / "x.txt").read_text()
    assert transcribe(other, "--output-dir", out) == 1
    assert f"x.txt holds the result of {one}" in capsys.readouterr().err
    assert (out / "x.txt").read_text() == first
    assert transcribe(one, "--output-dir", out) == 0
    assert "replaced 1 older results" in capsys.readouterr().err
    (out / "y.txt").write_text("a note")
    assert transcribe(record(tmp_path / "b" / "y.wav"), "--output-dir", out) == 1
    assert "its recording is not known" in capsys.readouterr().err and (out / "y.txt").read_text() == "a note"


def test_identify_writes_files_too(tmp_path, fixture_file, capsys):
    files = [str(record(tmp_path / name)) for name in ("a/x.wav", "b/x.wav")]
    command = ["identify", *files, "--model", str(fixture_file("huggingface") / "lid"), "--format", "json"]
    assert cli.main([*command, "--output-dir", str(tmp_path / "out")]) == 0
    assert json.loads((tmp_path / "out" / "b" / "x.json").read_text())["file"] == files[1]
    assert capsys.readouterr().out == ""


def test_speech_of_another_text_is_not_replaced(tmp_path, fixture_file, capsys):
    command = ["speak", "--model", str(fixture_file("vits") / "huggingface"), "--output-dir", str(tmp_path / "out")]
    assert cli.main([*command, "abc\nabd"]) == 0
    assert cli.main([*command, "abd\nabc"]) == 1
    assert "0001.wav is of another text" in capsys.readouterr().err
    assert cli.main([*command, "abc\nabd"]) == 0
    assert "replaced 2 older results" in capsys.readouterr().err
    assert cli.main([*command, "abc"]) == 0 and cli.main([*command, "abc\nabd"]) == 0, "a shorter text keeps the others"


# ---- texts from other systems ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_texts_of_other_systems_are_read(tmp_path, encoding, newline):
    (tmp_path / "a.txt").write_bytes(newline.join(["αβ", "γ"]).encode(encoding))
    assert read_text(tmp_path / "a.txt", AlignmentError).splitlines() == ["αβ", "γ"]


def test_turkish_capitals():
    """MeloTTS#223, TTS#2190: I is the capital of dotless ı, and İ that of i, one code point each."""
    assert normalize("İZMİR IRMAK KIRMIZI", "tur") == "izmir ırmak kırmızı"
    assert normalize("BAKI İL", "azj-script_latin") == "bakı il"
    assert normalize("İZMİR KIRMIZI") == "izmir kirmizi" and normalize("ISTANBUL", "eng") == "istanbul"
    assert normalize_mms("KIRMIZI İL.", "tur") == "kırmızı il"
    assert normalize_mms("KIRMIZI", "tur", TextRules(as_released=True)) == "kirmizi"
    voice = VoiceTokenizer.from_characters("kırmız il", "tur")
    assert voice.prepare("KIRMIZI İL") == ("kırmızı il", "")


def test_subtitles_keep_what_their_format_reserves():
    cue = [Cue(0.0, 1.0, "a < b & c\n\n--> d")]
    assert to_vtt(cue).endswith("\na &lt; b &amp; c → d\n")
    assert to_srt(cue).endswith("\na < b & c → d\n")


# ---- corpora -----------------------------------------------------------------------------------------------------------


def folder_corpus(tmp_path, table, *arguments):
    return prepare.main(["audio_folder", f"--data_dir={tmp_path / 'data'}", "--name=c", f"--table={table}", *arguments])


def test_tables_as_people_write_them(tmp_path):
    """piper#147, piper#246: quotation marks and blank lines; capitals, spaces and names of Windows and of others."""
    for number in range(4):
        record(tmp_path / "wavs" / f"{number}.wav", seed=number)
    lines = ["Path\t Text \tSplit", 'wavs/0.wav\tabc "d\tTrain', "", "   \t\t", "wavs\\1.wav\tabd\tdev", "   ",
             " wavs/2.wav \tc\ttest", "wavs/3.wav\td\tTRAIN"]  # fmt: skip
    (tmp_path / "t.tsv").write_bytes("\ufeff".encode() + "\r\n".join(lines).encode())
    assert folder_corpus(tmp_path, tmp_path / "t.tsv", "--language=swh") == 0
    rows = {split: open_corpus("audio_folder/c", split, tmp_path / "data") for split in ("train", "validation", "test")}
    assert {split: len(corpus.source) for split, corpus in rows.items()} == {"train": 2, "validation": 1, "test": 1}
    assert sorted(as_text(row["text"]) for row in rows["train"].source) == ["abc d", "d"]


def test_a_changed_table_is_noticed(tmp_path, capsys):
    """datasets#1060, datasets#3513: after the source has changed, TFDS goes on using what it prepared before."""
    table = tmp_path / "t.tsv"
    record(tmp_path / "0.wav")
    table.write_text("path\ttext\tsplit\n0.wav\tabc\ttrain\n")
    assert folder_corpus(tmp_path, table, "--language=swh") == 0
    assert folder_corpus(tmp_path, table, "--language=swh") == 0, "the same again: nothing to do"
    table.write_text("path\ttext\tsplit\n0.wav\tabd\ttrain\n")
    capsys.readouterr()
    assert folder_corpus(tmp_path, table, "--language=swh") == 1
    message = capsys.readouterr().err
    assert "(changed: table)" in message and "to prepare it anew, delete" in message
    table.write_text("path\ttext\tsplit\n0.wav\tabc\ttrain\n")
    assert folder_corpus(tmp_path, table, "--language=eng") == 1
    assert "(changed: language)" in capsys.readouterr().err
    assert folder_corpus(tmp_path, os.path.relpath(table), "--language=swh") == 0, "the same table by another path"
    record(tmp_path / "0.wav", seed=9)
    assert folder_corpus(tmp_path, table, "--language=swh") == 1
    assert "(changed: recordings)" in capsys.readouterr().err


def test_a_voice_of_a_changed_source_is_noticed(tmp_path, capsys):
    table, data = tmp_path / "t.tsv", tmp_path / "data"
    rows = [record(tmp_path / f"{number}.wav", seed=number).name for number in range(4)]
    table.write_text("path\ttext\tsplit\n" + "".join(f"{row}\tabc\ttrain\n" for row in rows))
    voice = ["voice", f"--data_dir={data}", "--name=v", "--source=audio_folder/c", "--drop_pitch=0"]
    assert folder_corpus(tmp_path, table, "--language=swh", "--synthetic") == 0
    assert prepare.main(voice) == 0 and prepare.main(voice) == 0
    assert open_corpus("voice/v", "train", data).synthetic, "a voice of synthetic speech is synthetic"
    shutil.rmtree(data / "audio_folder")
    table.write_text("path\ttext\tsplit\n" + "".join(f"{row}\tabc abc\ttrain\n" for row in rows[:3]))
    assert folder_corpus(tmp_path, table, "--language=swh") == 0
    capsys.readouterr()
    assert prepare.main(voice) == 1
    assert "changed: files" in capsys.readouterr().err


@pytest.mark.parametrize("code", ["dutch", "nl", "SWH", "xx", "zzz", "swh-"])
def test_languages_are_codes_at_every_door(tmp_path, fixture_file, code, capsys):
    record(tmp_path / "0.wav")
    (tmp_path / "t.tsv").write_text("path\ttext\n0.wav\tabc\n")
    (tmp_path / "l.tsv").write_text(f"path\ttext\tlanguage\n0.wav\tabc\t{code}\n")
    (tmp_path / "0.txt").write_text("abc")
    aligner = str(fixture_file("torchaudio/mms_fa.pt"))
    for arguments in (
        ["prepare", tmp_path / "t.tsv", f"--language={code}"],
        ["prepare", tmp_path / "l.tsv"],
        ["align", str(tmp_path / "0.wav"), str(tmp_path / "0.txt"), "--model", aligner, "--lang", code],
    ):
        command, *rest = arguments
        assert (folder_corpus(tmp_path, *rest) if command == "prepare" else cli.main(arguments)) == 1
        message = capsys.readouterr().err
        assert f"{code!r} is no language code" in message
        assert "nld (Dutch)" in message or code not in ("dutch", "nl")
    with pytest.raises(LanguageError, match="is no language code"):
        mms_jax.align(str(tmp_path / "0.wav"), ["abc"], language=code, model=aligner)


def test_codes_that_the_standard_lacks_are_free():
    for code in ("swh", "azj-script_latin", "qaa", "qtz", "drw"):
        check_code(code)


def test_utterances_that_are_not_scored_are_counted(tone_data, tmp_path, caplog):
    """jiwer#98, espnet#4195: rows that are left out for their length or an empty transcript."""
    config = tone_experiment(tone_data)
    config.total_steps = 1
    record(tmp_path / "0.wav", 0.6)
    record(tmp_path / "1.wav", 0.6)
    (tmp_path / "t.tsv").write_text("path\ttext\tlanguage\tsplit\n0.wav\tab\tswh\ttest\n1.wav\t\teng\ttest\n")
    assert folder_corpus(tmp_path, tmp_path / "t.tsv") == 0
    train(config, str(tmp_path / "run"))
    config.input.data_dir, config.input.eval_corpora = str(tmp_path / "data"), ("audio_folder/c:test",)
    with caplog.at_level("WARNING"):
        result = evaluate(config, str(tmp_path / "run"))
    assert result["utterances"] == 1 and result["left_out"] == {"without transcript": 1}
    assert "1 of 2 utterances are left out: 1 without transcript" in caplog.text


# ---- models: languages and origin --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared_head(tmp_path_factory):
    """A run with one head for three languages, whose alphabets mix scripts; its folder."""
    vocabulary = Vocabulary.from_alphabets({"ell": "αβγ", "eng": "abc", "swh": "abd"})
    config = Wav2Vec2Config(**MINIATURE)
    import jax
    from flax import nnx

    params = FunctionalModel.abstract(
        lambda key: Wav2Vec2ForCTC(config, len(vocabulary), rngs=nnx.Rngs(params=key))
    ).init(jax.random.key(0))
    history = {"corpora": ["spoken_phrases/verses:train"], "hours": {"eng": 0.5, "swh": 0.25}, "synthetic": True}
    description = {"kind": "recognizer", "model": config.to_json(), "vocabulary": vocabulary.to_json(),
                   "history": history}  # fmt: skip
    folder = tmp_path_factory.mktemp("shared") / "run"
    save_model(folder, StoredModel(7, description, params))
    return folder


WAVEFORM = np.random.default_rng(0).normal(0, 0.1, 12_000).astype(np.float32)


def answers(model, language):
    """Text, and logits of the symbols that the language uses."""
    recognizer = mms_jax.load(model)
    [logits] = recognizer.logits([WAVEFORM], language=language)
    [transcript] = recognizer.transcribe([WAVEFORM], language=language)
    return transcript.text, logits[:, logits[0] > -1e8]


def test_a_recognizer_goes_to_hugging_face_and_back_with_its_languages(shared_head, tmp_path):
    assert cli.main(["convert", str(shared_head), str(tmp_path / "hf"), "--to", "huggingface"]) == 0
    vocabularies = json.loads((tmp_path / "hf" / "vocab.json").read_text())
    assert {language: "".join(list(tokens)[2:]) for language, tokens in vocabularies.items()} == {
        "ell": "αβγ", "eng": "abc", "swh": "abd"
    }  # fmt: skip
    assert (tmp_path / "hf" / "adapter.ell.safetensors").exists()
    assert cli.main(["convert", str(tmp_path / "hf"), str(tmp_path / "back")]) == 0
    for folder in ("hf", "back"):
        model = mms_jax.load(tmp_path / folder)
        assert model.languages == ("ell", "eng", "swh")
        assert model.origin["history"]["synthetic"], "the origin travels along"
        for language in model.languages:
            text, logits = answers(tmp_path / folder, language)
            expected, own = answers(shared_head, language)
            assert text == expected
            np.testing.assert_allclose(logits, own, atol=1e-4)


@pytest.mark.parametrize("target", ["orbax", "huggingface", "export"])
def test_languages_are_chosen_or_refused_everywhere(shared_head, fixture_file, tmp_path, target, capsys):
    def make(source, name, *arguments):
        command = ["export"] if target == "export" else ["convert", "--to", target]
        return cli.main([*command, str(source), str(tmp_path / name), *arguments])

    assert make(shared_head, "two", "--lang", "swh,ell") == 0
    assert set(mms_jax.load(tmp_path / "two").languages) == {"swh", "ell"}
    assert answers(tmp_path / "two", "swh")[0] == answers(shared_head, "swh")[0]
    for source, language, message in (
        (shared_head, "", "no language ''"),
        (shared_head, "fra", "no language 'fra' in this model"),
        (fixture_file("huggingface") / "ctc", "fra", "no language 'fra'"),
        (fixture_file("huggingface") / "ctc_plain", "swh", "does not distinguish languages; leave out --lang"),
    ):
        assert make(source, "none", "--lang", language) == 1
        assert message in capsys.readouterr().err
        assert not (tmp_path / "none").exists() and not list(tmp_path.glob(".none*")), "nothing is left behind"


def test_a_bank_of_adapters_is_cut_to_some_languages(fixture_file, tmp_path):
    source = fixture_file("huggingface") / "ctc"
    assert cli.main(["convert", str(source), str(tmp_path / "all")]) == 0
    assert cli.main(["convert", str(tmp_path / "all"), str(tmp_path / "one"), "--lang", "swh"]) == 0
    assert mms_jax.load(tmp_path / "one").languages == ("swh",)
    for model in (tmp_path / "one", source):
        text, logits = answers(model, "swh")
        expected, own = answers(tmp_path / "all", "swh")
        assert text == expected
        np.testing.assert_allclose(logits, own, atol=1e-5)


def test_models_without_a_choice_of_languages_refuse_one(fixture_file):
    for name, message in (("huggingface/lid", "kind 'identifier'"), ("huggingface/encoder", "kind 'encoder'"),
                          ("vits/huggingface", "this voice speaks")):  # fmt: skip
        with pytest.raises(ConversionError, match=message):
            check_languages(find_model(fixture_file(name)), ["xho"])


def test_a_model_of_synthetic_speech_says_so(shared_head, tmp_path, capsys):
    assert cli.main(["transcribe", str(record(tmp_path / "a.wav")), "--model", str(shared_head), "--lang", "swh"]) == 0
    assert "has learned from synthetic speech only (spoken_phrases/verses:train)" in capsys.readouterr().err
    assert cli.main(["info", str(shared_head)]) == 0
    text = capsys.readouterr().out
    for part in ("recognizer", "swh (Swahili)", "0.75 hours, synthetic speech only", "scores      none yet"):
        assert part in text
    assert cli.main(["info", str(shared_head), "--languages"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert cli.main(["info", str(shared_head), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["history"]["hours"] == {"eng": 0.5, "swh": 0.25}


def test_runs_describe_their_data_and_scores(tone_data, tmp_path, capsys, monkeypatch):
    config = tone_experiment(tone_data)
    config.total_steps = 2
    train(config, str(tmp_path / "first"))
    from mms_jax.files import write_json

    write_json(tmp_path / "first" / "evaluation.json", evaluate(config, str(tmp_path / "first")))
    second = tone_experiment(tone_data)
    second.total_steps, second.init_from = 2, str(tmp_path / "first")
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr("mms_jax.train.listen_for_termination", lambda: contextlib.nullcontext(lambda: 15))
        train(second, str(tmp_path / "second"))
    train(second, str(tmp_path / "second"))  # resumed: the origin is kept
    history = find_model(tmp_path / "second").description["history"]
    assert history["corpora"] == ["audio_folder/tones:train"] and not history["synthetic"]
    assert history["started_from"]["corpora"] == ["audio_folder/tones:train"]
    evaluation = find_model(tmp_path / "first").description["evaluation"]
    assert evaluation["corpora"] == ["audio_folder/tones:test"] and set(evaluation["cer_by_language"]) == {"eng", "swh"}
    assert cli.main(["info", str(tmp_path / "first")]) == 0
    assert "on audio_folder/tones:test, step 2" in capsys.readouterr().out


# ---- commands: stops, pipes, limits, messages --------------------------------------------------------------------------


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
        lambda self, step, metrics: os.kill(os.getpid(), number) or original(self, step, metrics),
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


# ---- experiments -------------------------------------------------------------------------------------------------------


def test_experiments_are_found_by_name_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    expected = shipped_configs()["asr_folder"]
    for given in ("asr_folder", "asr_folder.py", "configs/asr_folder.py", str(expected)):
        assert find_config(given) == expected or find_config(given).samefile(expected)
    with pytest.raises(
        ConfigError, match=r"asr_foldr: no such file, .*; you may mean asr_folder; shipped: asr_asterisk"
    ):
        find_config("asr_foldr")
    with pytest.raises(ConfigError, match=r"experiments/asr_folder\.py: no such file"):
        find_config("experiments/asr_folder.py")


def run_train(folder, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "mms_jax.train", *arguments], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    return done.stderr


def test_wrong_arguments_of_an_experiment_are_one_line(tmp_path):
    """From another folder; the message names the nearest key."""
    message = run_train(tmp_path, "--config=asr_folder", "--workdir=r", "--config.optimzer.learning_rate=1")
    assert (
        message == "error: --config.optimzer.learning_rate: no such key; you may mean optimizer instead of optimzer\n"
    )
    message = run_train(tmp_path, "--config=asr_folder", "--workdir=r", "--config.model.geometry=tinny")
    assert message == "error: no geometry 'tinny'; there are tiny, small, 300m, 1b, 3b, 7b\n", (
        "before any corpus is read"
    )
    (tmp_path / "file").touch()
    assert "--workdir=file is a file; name a folder" in run_train(tmp_path, "--config=asr_folder", "--workdir=file")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [("model.geometry", "tinny", "no geometry"), ("compute_dtype", "float16", "choose float32 or bfloat16")],
)
@pytest.mark.parametrize("task", ["asr", "pretrain", "tts"])
def test_settings_are_checked_before_the_corpora(task, key, value, message, tmp_path):
    config = default_config(task)
    config.update_from_flattened_dict({key: value})
    with pytest.raises(ConfigError, match=message):
        train(config, str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_stored_models_have_a_short_repr(shared_head):
    assert len(repr(find_model(shared_head))) < 120
