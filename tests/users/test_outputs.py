"""Names and folders of inputs and results."""

import json
import pathlib

from mms_jax import cli
from mms_jax.alignment.pairs import find_pairs
from mms_jax.audio.inputs import audio_files, distinct_stems
from tests.users.conftest import record


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
