"""mms-jax align, verify, and the corpus that comes of them, as a user runs them."""

import csv
import json
import os
import pathlib

import numpy as np
import pytest
import soundfile

from input_pipeline import prepare
from input_pipeline.corpora.storage import as_text, corpus_directory, open_corpus
from mms_jax import cli
from mms_jax.audio.flac import decode_flac
from tests.alignment.conftest import RATE, random_lines, speak, tone_recognizer

GREEK = "αβγδ"
CHAPTERS = ("MAT_01", "MRK_01", "MRK_02", "JHN_01")


@pytest.fixture
def loaded(monkeypatch):
    """Every --model is the aligner of tones."""
    model = tone_recognizer(GREEK)
    for command in ("align", "verify"):
        monkeypatch.setattr(f"mms_jax.cli.{command}.load_recognizer", lambda name, languages: model)


@pytest.fixture
def folder(tmp_path, write_audio):
    """Chapters with their texts; returns what is said in each."""
    spoken = {}
    for number, name in enumerate(CHAPTERS):
        spoken[name] = speak(random_lines(4, GREEK, number), GREEK)
        write_audio(spoken[name].waveform, f"chapters/{name}.flac")
        (tmp_path / "chapters" / f"{name}.txt").write_text("\n".join(spoken[name].lines), encoding="utf-8")
    return tmp_path / "chapters", spoken


def align(*arguments: str | pathlib.Path) -> int:
    return cli.main(["align", *map(str, arguments), "--lang", "eng", "--model", "tones"])


def test_formats(loaded, folder, tmp_path, capsys):
    chapters, spoken = folder
    files = (chapters / "MAT_01.flac", chapters / "MAT_01.txt")
    assert align(*files) == 0
    [line] = capsys.readouterr().out.splitlines()
    answer = json.loads(line)
    assert answer["file"] == str(files[0]) and answer["language"] == "eng"
    times = spoken["MAT_01"].times
    np.testing.assert_allclose([[v["start"], v["end"]] for v in answer["verses"]], times, atol=0.045)
    assert all("characters" not in word for verse in answer["verses"] for word in verse["words"])
    assert answer["confidence"] > 0.9 and answer["doubt"] == "" and answer["verses"][0]["confidence"] > 0.9
    assert align(*files, "--characters") == 0
    with_characters = json.loads(capsys.readouterr().out)
    assert with_characters["verses"][0]["words"][0]["characters"][0]["text"] in GREEK

    assert align(*files, "--format", "tsv") == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines(), delimiter="\t"))
    assert [row["text"] for row in rows if row["kind"] == "verse"] == spoken["MAT_01"].lines
    assert align(*files, "--format", "srt") == 0
    assert capsys.readouterr().out.startswith("1\n00:00:00,")
    assert align(*files, "--format", "vtt") == 0
    assert capsys.readouterr().out.startswith("WEBVTT\n\n00:00:00.")

    assert align(*files, "--format", "textgrid", "--output-dir", tmp_path / "out") == 0
    lines = (tmp_path / "out" / "MAT_01.TextGrid").read_text("utf-8").splitlines()
    assert lines[:2] == ['File type = "ooTextFile"', 'Object class = "TextGrid"']
    # Each of the three tiers is covered from beginning to end.
    position, finished = 0.0, 0
    for line in lines:
        if line.startswith("            xmin"):
            assert float(line.split("=")[1]) == position
        elif line.startswith("            xmax"):
            position = float(line.split("=")[1])
            if position == pytest.approx(answer["seconds"], abs=1e-3):
                position, finished = 0.0, finished + 1
    assert finished == 3 and position == 0.0


def test_picture(loaded, folder, tmp_path):
    pytest.importorskip("matplotlib")
    chapters, _ = folder
    assert align(chapters / "MAT_01.flac", chapters / "MAT_01.txt", "--plot", tmp_path / "p.png", "--plot-at", 999) == 0
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_folder_goes_on_after_bad_files_and_where_it_was(loaded, folder, tmp_path, capsys):
    chapters, _ = folder
    (chapters / "LUK_01.mp3").write_bytes(b"no audio")
    (chapters / "LUK_01.txt").write_text("α")
    (chapters / "ACT_01.flac").write_bytes((chapters / "MAT_01.flac").read_bytes())
    (chapters / "ROM_01.txt").write_text("α")
    (chapters / "MRK_02.txt").write_bytes("αβ".encode("iso-8859-7"))
    out = tmp_path / "aligned"
    assert align(chapters, chapters, "--output-dir", out, "--clips", tmp_path / "clips") == 1
    errors = capsys.readouterr().err
    for message in (
        "LUK_01.mp3",
        "warning: ",
        "ACT_01.txt; it is left out",
        "ROM_01.txt: no recording",
        "MRK_02.txt: is not UTF-8",
    ):
        assert message in errors
    done = {path.name: path.stat().st_mtime_ns for path in out.glob("*.json")}
    assert sorted(done) == ["JHN_01.json", "MAT_01.json", "MRK_01.json"]

    (chapters / "MRK_02.txt").write_text("αβ γδ", encoding="utf-8")
    later = chapters / "JHN_01.txt"
    os.utime(later, (later.stat().st_atime, later.stat().st_mtime + 100))
    assert align(chapters, chapters, "--output-dir", out, "--clips", tmp_path / "clips") == 1
    assert "2 of 5 are done already" in capsys.readouterr().err
    again = {path.name: path.stat().st_mtime_ns for path in out.glob("*.json")}
    assert again["MAT_01.json"] == done["MAT_01.json"] and again["JHN_01.json"] > done["JHN_01.json"]

    manifest = [json.loads(line) for line in (tmp_path / "clips" / "MAT_01" / "manifest.json").open(encoding="utf-8")]
    assert len(manifest) == 4
    assert soundfile.info(manifest[1]["audio_filepath"]).duration == pytest.approx(manifest[1]["duration"], abs=1e-3)

    assert cli.main(["align", str(chapters), str(chapters), "--lang", "swh", "--model", "tones", "--output-dir",
                     str(out)]) == 1  # fmt: skip
    assert "made with lang='eng'" in capsys.readouterr().err


def test_wrong_arguments_are_explained(loaded, folder, tmp_path, capsys):
    chapters, _ = folder
    one = chapters / "MAT_01.flac"
    for arguments, message in (
        ((chapters, one), "is a folder and"),
        ((one, chapters), "name its text file"),
        ((one, chapters / "none.txt"), "none.txt: cannot be read"),
        ((chapters, chapters, "--format", "srt"), "needs --output-dir"),
        ((chapters, chapters, "--plot", "x.png"), "--plot draws one recording"),
        ((tmp_path, tmp_path / "nowhere"), "name the folder"),
    ):
        assert align(*arguments) == 1
        assert message in capsys.readouterr().err


def test_text_that_does_not_belong_is_warned_of(loaded, folder, capsys):
    chapters, _ = folder
    others = "\n".join((chapters / f"{name}.txt").read_text("utf-8") for name in CHAPTERS[1:])
    (chapters / "others.txt").write_text(others, encoding="utf-8")
    assert align(chapters / "MAT_01.flac", chapters / "others.txt") == 1
    out, err = capsys.readouterr()
    assert "is not believed (confidence 0." in err and json.loads(out)["doubt"]


def test_a_model_of_romanized_text_takes_any_language(fixture_file, folder, tmp_path, capsys):
    """MMS's aligner, with random weights: nothing is found, and everything is there."""
    chapters, spoken = folder
    files = [str(chapters / "MAT_01.flac"), str(chapters / "MAT_01.txt")]
    assert cli.main(["align", *files, "--lang", "ell", "--model", str(fixture_file("torchaudio/mms_fa.pt")),
                     "--characters"]) == 1  # fmt: skip
    out, err = capsys.readouterr()
    answer = json.loads(out)
    assert "is not believed" in err
    assert answer["language"] == "ell" and answer["dropped"] == {}
    words = [word for verse in answer["verses"] for word in verse["words"]]
    assert [word["text"] for word in words] == " ".join(spoken["MAT_01"].lines).split()
    assert all("".join(letter["text"] for letter in word["characters"]) == word["text"] for word in words)
    assert all(verse["score"] < 0 for verse in answer["verses"])
    model = ["--model", str(fixture_file("torchaudio/mms_fa.pt"))]
    assert cli.main(["align", *files, "--lang", "ell", *model, "--output-dir", str(tmp_path / "out")]) == 1
    assert cli.main(["align", *files, "--lang", "ell", *model, "--output-dir", str(tmp_path / "out")]) == 1
    assert "1 of 1 are done already" in (err := capsys.readouterr().err) and "is not believed" in err
    assert cli.main(["verify", str(tmp_path / "out"), *model]) == 0
    record = json.loads((tmp_path / "out" / "MAT_01.json").read_text("utf-8"))
    assert record["verified_by"] == model[1] and any("heard" in verse for verse in record["verses"])


@pytest.fixture
def aligned(loaded, folder, tmp_path):
    """Alignments of the chapters; one verse of MRK_01 says something else than its text."""
    chapters, spoken = folder
    lines = list(spoken["MRK_01"].lines)
    lines[1] = " ".join(word[::-1] + "δ" for word in lines[1].split())
    lines += ["", "12"]
    (chapters / "MRK_01.txt").write_text("\n".join(lines), encoding="utf-8")
    assert align(chapters, chapters, "--output-dir", tmp_path / "aligned") == 0
    return tmp_path / "aligned", spoken


def build(monkeypatch, tmp_path, folder, *arguments: str, data: str = "data") -> int:
    monkeypatch.setattr("sys.argv", ["prepare", "aligned_chapters", f"--data_dir={tmp_path / data}", "--name=tones",
                                     f"--alignments={folder}", *arguments])  # fmt: skip
    return prepare.main()


def test_corpus_of_aligned_chapters(aligned, tmp_path, monkeypatch, capsys):
    folder, spoken = aligned
    assert (folder / "dropped.tsv").read_text("utf-8") == "chapter\tdropped\ttimes\nMRK_01\t12\t1\n"
    assert build(monkeypatch, tmp_path, folder, "--workers=2") == 0
    out = capsys.readouterr().out
    assert "dropped: score" in out and "dropped: no text" in out
    train, validation, test = (
        open_corpus("aligned_chapters/tones", split, tmp_path / "data").source
        for split in ("train", "validation", "test")
    )
    assert (len(train), len(validation), len(test)) == (4, 7, 4)
    by_id = {as_text(record["id"]): record for record in [*train, *validation, *test]}
    assert "MRK_01_0001" in by_id and "MRK_01_0002" not in by_id
    record = by_id["MAT_01_0003"]
    assert as_text(record["text"]) == spoken["MAT_01"].lines[2] and as_text(record["language"]) == "eng"
    waveform, rate = decode_flac(record["audio"], "MAT_01_0003")
    start, end = (round(RATE * time) for time in spoken["MAT_01"].times[2])
    assert rate == RATE and len(waveform) == pytest.approx(end - start + 0.8 * RATE, abs=0.1 * RATE)
    correlation = np.correlate(waveform, spoken["MAT_01"].waveform[start:end], "valid")
    assert correlation.max() > 0.95 * np.square(spoken["MAT_01"].waveform[start:end]).sum()

    metadata = json.loads((corpus_directory("aligned_chapters/tones", tmp_path / "data") / "metadata.json").read_text())
    hours = sum(record["seconds"] for record in train) / 3600
    assert metadata["hours"]["train"]["eng"] == pytest.approx(hours, abs=1e-4)
    assert len(metadata["sha256"]["MAT_01"]) == 64
    assert build(monkeypatch, tmp_path, folder) == 0  # the same again: nothing to do
    assert build(monkeypatch, tmp_path, folder, "--min_score=-9") == 1
    assert "other rules" in capsys.readouterr().err


def test_splits_and_their_tables(aligned, tmp_path, monkeypatch, capsys):
    folder, _ = aligned
    table = tmp_path / "splits.tsv"
    table.write_text("chapter\tsplit\nMAT_01\ttest\n")
    assert build(monkeypatch, tmp_path, folder, f"--splits={table}") == 1
    assert "no split" in capsys.readouterr().err
    assert build(monkeypatch, tmp_path, folder, "--splits=nowhere.tsv") == 1
    assert "no such file" in capsys.readouterr().err
    table.write_text("chapter\tsplit\n" + "\n".join(f"{name}\ttest" for name in CHAPTERS))
    assert build(monkeypatch, tmp_path, folder, f"--splits={table}", data="d1") == 0
    assert len(open_corpus("aligned_chapters/tones", "test", tmp_path / "d1").source) == 15
    assert build(monkeypatch, tmp_path, folder, "--min_score=0.1") == 1
    assert "no verse is good enough" in capsys.readouterr().err


def test_changed_recordings_are_noticed(aligned, tmp_path, monkeypatch, capsys):
    folder, _ = aligned
    record = json.loads((folder / "MAT_01.json").read_text("utf-8"))
    with open(record["file"], "ab") as stream:
        stream.write(b"more")
    assert build(monkeypatch, tmp_path, folder) == 1
    assert "has changed since it was aligned" in capsys.readouterr().err


def test_verify_adds_error_rates_that_the_corpus_uses(aligned, tmp_path, monkeypatch, capsys):
    folder, _ = aligned
    assert cli.main(["verify", str(folder), "--model", "tones"]) == 0
    verses = json.loads((folder / "MRK_01.json").read_text("utf-8"))["verses"]
    assert verses[0]["heard"].replace(" ", "") == verses[0]["normalized"].replace(" ", "")
    assert verses[1]["cer"] > 0.3 and "cer" not in verses[4]
    assert cli.main(["verify", str(tmp_path / "none"), "--model", "tones"]) == 1
    assert "holds no aligned chapters" in capsys.readouterr().err
    rules = ("--min_score=-9", "--max_cer=0.25", "--splits=train")
    assert build(monkeypatch, tmp_path, folder, *rules, "--max_recording_cer=0.5") == 0
    assert "dropped: CER" in capsys.readouterr().out
    assert build(monkeypatch, tmp_path, folder, *rules, "--max_recording_cer=0.0", data="d2") == 1
    assert "recording's CER" in capsys.readouterr().err


def test_beam_makes_the_same_corpus(aligned, tmp_path, monkeypatch):
    pytest.importorskip("apache_beam")
    folder, _ = aligned
    assert build(monkeypatch, tmp_path, folder) == 0
    assert build(monkeypatch, tmp_path, folder, "--beam", data="beam") == 0
    here, there = (
        {
            as_text(record["id"]): record["audio"]
            for record in open_corpus("aligned_chapters/tones", "train", path).source
        }
        for path in (tmp_path / "data", tmp_path / "beam")
    )
    assert here == there and here
