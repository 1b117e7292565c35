"""Rules, splits and reports, on made-up alignments."""

import pytest

from input_pipeline.corpora.quality import (
    Rules,
    clip_times,
    judge,
    reasons_table,
    report_rows,
    split_by_book,
    split_by_chapters,
    too_many_errors,
)


def verse(**changes):
    """A verse of two seconds that every rule keeps."""
    fields = {"text": "a b", "normalized": "a b", "readable": True, "start": 1.0, "end": 3.0, "cut_start": 0.2,
              "cut_end": 3.1, "score": -0.1}  # fmt: skip
    return fields | changes


def test_each_rule_gives_its_reason():
    verses = [
        verse(),
        verse(normalized="", score=None),
        verse(readable=False),
        verse(end=1.2, cut_start=0.9, cut_end=1.3),
        verse(end=100.0, cut_end=100.0),
        verse(score=-0.21),
        verse(cer=0.2),
        verse(cer=0.1),
    ]
    expected = ["", "no text", "unreadable words", "length", "length", "score", "CER", ""]
    assert judge({"verses": verses}, Rules()) == expected
    assert judge({"verses": verses[5:6]}, Rules(min_score=-0.5)) == [""]
    doubtful = [verse(confidence=0.4), verse(confidence=0.6), verse(confidence=None)]
    assert judge({"verses": doubtful, "confidence": 0.6}, Rules()) == ["confidence", "", ""]
    assert judge({"verses": doubtful[1:], "confidence": 0.4}, Rules()) == ["chapter not believed"] * 2
    assert judge({"verses": doubtful, "confidence": 0.1}, Rules(min_confidence=0.0)) == ["", "", ""]


def test_silence_around_a_clip_is_bounded():
    assert clip_times(verse(), Rules()) == (0.5, 3.1)
    assert clip_times(verse(), Rules(max_silence=10.0)) == (0.2, 3.1)


def test_recordings_with_too_many_errors():
    records = {
        "good/1": {"verses": [verse(cer=0.0), verse(cer=0.09)]},
        "bad/1": {"verses": [verse(cer=0.0), verse(cer=0.08)]},
        "bad/2": {"verses": [verse(cer=0.09), verse(cer=0.9)]},  # the last is dropped by itself, and not counted
        "unheard/1": {"verses": [verse()]},
    }
    assert too_many_errors(records, Rules()) == {"bad": pytest.approx((0.0 + 0.08 + 0.09) / 3)}
    reasons = {name: judge(record, Rules()) for name, record in records.items()}
    assert reasons["bad/2"] == ["", "CER"]
    table = reasons_table(records, reasons, Rules()).splitlines()
    assert table[1].split()[:2] == ["kept", "6"] and table[2].startswith("dropped: CER")
    rows = list(report_rows(records, reasons))
    assert len(rows) == 8 and rows[4].split("\t") == ["bad/1", "2", "1.000", "3.000", "-0.1000", "0.0800", "", "a b"]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("swh/MRK_001", "validation"),
        ("MRK001", "validation"),
        ("B02___01_Mark_______SWHTBL", "validation"),
        ("en/JHN-3", "test"),
        ("B04___21_S_John", "test"),
        ("MAT_04", "train"),
        ("B021", "train"),
        ("JHN/MAT_01", "train"),
        ("XMRKX", "train"),
    ],
)
def test_books(name, split):
    assert split_by_book(name) == split


def test_chapters_are_split_by_recording_and_always_the_same():
    seconds = {f"long/{number}": 3600.0 for number in range(60)} | {f"short/{number}": 300.0 for number in range(10)}
    seconds |= {"two/1": 60.0, "two/2": 60.0}
    splits = split_by_chapters(seconds)
    assert splits == split_by_chapters(dict(reversed(seconds.items())))
    counts = {
        (recording, split): sum(1 for name in seconds if name.startswith(recording) and splits[name] == split)
        for recording in ("long", "short", "two")
        for split in ("train", "validation", "test")
    }
    # Two hours of sixty, a tenth of fifty minutes, nothing of two chapters.
    assert [counts["long", split] for split in ("train", "validation", "test")] == [56, 2, 2]
    assert [counts["short", split] for split in ("train", "validation", "test")] == [8, 1, 1]
    assert counts["two", "train"] == 2
