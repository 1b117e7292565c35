"""Boundary errors against reference times: by hand, from JSON and TextGrid, and by the command."""

import json

import pytest

from mms_jax.alignment.boundaries import boundary_errors, read_times
from mms_jax.cli import main
from mms_jax.errors import AlignmentError

GRID = '''File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 4
tiers? <exists>
size = 1
item []:
    item [1]:
        class = "IntervalTier"
        name = "verses"
        xmin = 0
        xmax = 4
        intervals: size = 3
        intervals [1]:
            xmin = 0
            xmax = 1.5
            text = "one"
        intervals [2]:
            xmin = 1.5
            xmax = 2
            text = ""
        intervals [3]:
            xmin = 2
            xmax = 4
            text = "two ""words"""
'''


def test_errors_by_hand():
    found = {"a": [(0.0, 1.0), (1.1, 2.0)], "b": [(0.0, 5.0)]}
    wanted = {"a": [(0.0, 1.1), (1.1, 2.0)], "b": [(0.0, 1.0), (1.0, 2.0)], "c": [(0.0, 1.0)]}
    scores = boundary_errors(found, wanted)
    assert scores["by_chapter"]["a"] == {"median_ms": 0.0, "verses": 2, "lost": 0}
    assert scores["by_chapter"]["b"]["lost"] == 2, "one is missing, one is four seconds off"
    assert scores["by_chapter"]["c"]["lost"] == 1 and scores["lost"] == 3
    assert scores["within_200_ms"] == pytest.approx(5 / 6, abs=1e-4)


def test_references_are_json_or_textgrids(tmp_path):
    (tmp_path / "a.TextGrid").write_text(GRID)
    assert read_times(tmp_path / "a.TextGrid") == [(0.0, 1.5), (2.0, 4.0)]
    with pytest.raises(AlignmentError, match="has no tier 'words'; it has verses; name one with --tier"):
        read_times(tmp_path / "a.TextGrid", "words")
    (tmp_path / "b.json").write_text(json.dumps([{"start": 0, "end": 1.5}]))
    (tmp_path / "c.json").write_text(json.dumps({"verses": [{"start": 0, "end": 1.5, "text": "one"}]}))
    assert read_times(tmp_path / "b.json") == read_times(tmp_path / "c.json") == [(0.0, 1.5)]
    (tmp_path / "d.json").write_text("{}")
    (tmp_path / "e.TextGrid").write_text("nothing")
    for name, message in (("d.json", "no verses with start and end"), ("e.TextGrid", "is no TextGrid")):
        with pytest.raises(AlignmentError, match=message):
            read_times(tmp_path / name)


def test_the_command(tmp_path, capsys):
    fields = ("text", "score", "cut_start", "cut_end", "normalized", "readable")
    verse = dict.fromkeys(fields, "") | {"start": 0.01, "end": 1.5}
    record = {"file": "a.mp3", "sha256": "", "language": "swh", "seconds": 4.0, "dropped": {}}
    (tmp_path / "aligned" / "MAT").mkdir(parents=True)
    (tmp_path / "aligned" / "MAT" / "01.json").write_text(
        json.dumps({**record, "verses": [verse, {**verse, "start": 2.0, "end": 4.0}]})
    )
    (tmp_path / "reference" / "MAT").mkdir(parents=True)
    (tmp_path / "reference" / "MAT" / "01.TextGrid").write_text(GRID)
    command = ["boundaries", str(tmp_path / "aligned"), str(tmp_path / "reference")]
    assert main([*command, "--format", "json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert (scores["verses"], scores["lost"], scores["p95_ms"]) == (2, 0, 8.5)
    (tmp_path / "reference" / "MAT" / "02.json").write_text("[]")
    assert main(command) == 1 and "MAT/02" in capsys.readouterr().out
    (tmp_path / "empty").mkdir()
    assert main([*command[:2], str(tmp_path / "empty")]) == 1
    assert "holds no .json or .TextGrid files" in capsys.readouterr().err
