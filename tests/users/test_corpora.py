"""Tables, corpora and language codes as people write them."""

import os
import shutil

import pytest

import mms_jax
from input_pipeline import prepare
from input_pipeline.corpora.storage import as_text, open_corpus
from mms_jax import cli
from mms_jax.errors import LanguageError
from mms_jax.evaluate import evaluate
from mms_jax.text.languages import check_code
from mms_jax.train import train
from tests.conftest import tone_experiment
from tests.users.conftest import folder_corpus, record


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


def test_a_bucket_is_no_data_dir(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert prepare.main(["audio_folder", "--data_dir=gs://mine/corpora", "--name=c", "--table=t.tsv"]) == 1
    assert "name a folder of this machine" in capsys.readouterr().err and not list(tmp_path.iterdir())
