"""Chapters of tones, whose exact times are known, through the whole aligner."""

import itertools

import numpy as np
import pytest
import soxr

import mms_jax
from mms_jax.alignment.chapters import align_chapters
from mms_jax.alignment.spans import FramePath, verse_spans
from mms_jax.alignment.text import read_chapter_text
from mms_jax.errors import AlignmentError, AudioError
from mms_jax.text.vocabulary import readable_symbols
from tests.alignment.conftest import RATE, Spoken, random_lines, speak, verse_times

GREEK = "αβγδ"


@pytest.fixture
def align(greek, write_audio):
    """Aligns a waveform with lines; returns the verses."""
    return lambda waveform, lines: mms_jax.align(write_audio(waveform), lines, language="eng", model=greek)


def assert_close(verses, times, within: float = 0.045) -> None:
    np.testing.assert_allclose(verse_times(verses), times, atol=within)


def test_verses_words_and_characters(align):
    spoken = speak(["αβ γδδ", "δα", "γγ βα"], GREEK)
    verses = align(spoken.waveform, spoken.lines)
    assert_close(verses, spoken.times)
    assert [verse.text for verse in verses] == spoken.lines
    assert [[word.text for word in verse.words] for verse in verses] == [["αβ", "γδδ"], ["δα"], ["γγ", "βα"]]
    letters = verses[0].words[1].characters
    assert "".join(letter.text for letter in letters) == "γδδ"
    assert all(left.end == right.start for left, right in itertools.pairwise(letters))
    assert letters[0].start == verses[0].words[1].start and letters[-1].end == verses[0].words[1].end
    assert all(-0.2 < verse.score <= 0 and verse.readable for verse in verses)
    # Clips are cut in the middle of the silence, and share nothing.
    for (_, end), (start, _), left, right in zip(spoken.times, spoken.times[1:], verses, verses[1:]):
        assert left.cut_end == right.cut_start == pytest.approx((start + end) / 2, abs=0.03)


def test_times_stay_right_across_windows(align):
    spoken = speak(random_lines(60, GREEK), GREEK)
    assert len(spoken.waveform) > 120 * RATE
    assert_close(align(spoken.waveform, spoken.lines), spoken.times)


def test_announcements_are_the_stars(align):
    spoken = speak(random_lines(6, GREEK), GREEK)
    before, after = (speak(random_lines(3, GREEK, seed), GREEK, seed).waveform for seed in (8, 9))
    verses = align(np.concatenate([before, spoken.waveform, after]), spoken.lines)
    assert_close(verses, spoken.times + len(before) / RATE)
    assert min(verse.score for verse in verses) > -0.2


@pytest.mark.parametrize("missing", [1, 3, 5])
def test_speech_that_the_text_lacks_moves_no_verse(align, missing):
    spoken = speak(random_lines(12, GREEK), GREEK)
    verses = align(spoken.waveform, spoken.lines[:4] + spoken.lines[4 + missing :])
    assert_close(verses, np.delete(spoken.times, range(4, 4 + missing), axis=0))
    assert all(verse.score > -0.2 and verse.confidence > 0.9 for verse in verses)
    # The clips leave the speech between out.
    assert verses[3].cut_end < spoken.times[4, 0] and verses[4].cut_start > spoken.times[3 + missing, 1]


def test_confidence_tells_right_from_wrong(greek, write_audio):
    spoken, other = (speak(random_lines(12, GREEK, seed), GREEK, seed) for seed in (0, 1))
    file = write_audio(spoken.waveform)
    backward = spoken.lines[::-1]
    half = write_audio(spoken.waveform[: len(spoken.waveform) // 2], "half.flac")
    right, *wrong = align_chapters(
        greek, [file, file, file, half], [spoken.lines, other.lines, backward, spoken.lines], "eng"
    )
    assert right.confidence > 0.95 and right.doubt == "" and right.doubtful == []
    assert all(verse.confidence > 0.95 for verse in right.verses)
    for chapter in wrong:
        assert chapter.confidence < 0.5 and chapter.doubt and len(chapter.doubtful) > 3
    assert "another chapter or language" in wrong[0].doubt


def test_a_short_text_is_compared_at_other_places_too(greek, write_audio):
    """The best place of a wrong text in a long recording is no evidence for it."""
    spoken = speak(random_lines(16, GREEK), GREEK)
    file = write_audio(spoken.waveform)
    [right] = align_chapters(greek, [file], [spoken.lines[7:8]], "eng")
    assert right.confidence > 0.9 and right.verses[0].start == pytest.approx(spoken.times[7, 0], abs=0.05)
    others = [random_lines(1, GREEK, seed) for seed in range(20, 32)]
    believed = [not chapter.doubt for chapter in align_chapters(greek, [file] * 12, others, "eng")]
    assert sum(believed) <= 1


def test_an_unreadable_word_does_not_hide_missing_text(align):
    spoken = speak(random_lines(12, GREEK), GREEK)
    verses = align(spoken.waveform, [*spoken.lines[:4], f"{spoken.lines[4]} 12", *spoken.lines[9:]])
    np.testing.assert_allclose(
        [verse.start for verse in verses], spoken.times[[0, 1, 2, 3, 4, 9, 10, 11], 0], atol=0.05
    )
    assert verses[4].end > spoken.times[8, 1] - 1, "the digits have swallowed four verses"
    assert verses[4].confidence < 0.5 and min(verse.confidence for verse in verses[:4] + verses[6:]) > 0.5


@pytest.mark.parametrize("kept", [[0, 1, 2, 6, 7], [0, 1, 5, 6, 7], [2, 3, 7, 8]])
def test_words_lie_within_their_clips(align, kept):
    spoken = speak(random_lines(9, GREEK), GREEK)
    lines = [spoken.lines[row] for row in kept]
    lines[1] = "12 " + lines[1]
    for verse in align(spoken.waveform, ["", lines[0], "", *lines[1:]]):
        assert verse.cut_start <= verse.start <= verse.end <= verse.cut_end


def test_stars_between_verses_are_where_verses_begin(greek):
    symbols = readable_symbols(greek.vocabulary, "eng")
    text = read_chapter_text(["αβ γ", "12 δα", "γγ 34", "", "βα"], "eng", symbols, 6).with_stars_between()
    assert text.separators == (None, None, text.verses[2].words[0].pieces[0].first - 1, None, None)
    assert [text.labels[word.pieces[0].first] for verse in text.verses for word in verse.words if not word.star] == [
        2, 4, 5, 4, 3
    ]  # fmt: skip


def test_doubled_verse_touches_only_its_neighbors(align):
    spoken = speak(random_lines(9, GREEK), GREEK)
    verses = align(spoken.waveform, spoken.lines[:5] + spoken.lines[4:])
    far, there = [0, 1, 2, 3, 7, 8, 9], [0, 1, 2, 3, 6, 7, 8]
    np.testing.assert_allclose(verse_times(verses)[far], spoken.times[there], atol=0.045)
    assert min(verses[4].score, verses[5].score) < -0.5


def test_digits_are_a_star_and_come_back(align):
    spoken = speak(["αβ γγδ δα", "βα δ"], GREEK)
    verses = align(spoken.waveform, ["Αβ 12, 34 δα!", "βα δ"])
    assert_close(verses, spoken.times)
    assert [word.text for word in verses[0].words] == ["αβ", "12 34", "δα"]
    number = verses[0].words[1]
    assert number.score is None and number.end - number.start == pytest.approx(0.72, abs=0.1)
    assert not verses[0].readable and verses[1].readable
    assert verses[0].score > -0.2


def test_lines_without_words_are_there_and_empty(align):
    spoken = speak(["αβ γδ", "δα"], GREEK)
    verses = align(spoken.waveform, ["", "αβ γδ", " — ", "...", "δα"])
    np.testing.assert_allclose(verse_times(verses)[[1, 4]], spoken.times, atol=0.045)
    for row in (0, 2, 3):
        assert verses[row].start == verses[row].end and verses[row].score is None and not verses[row].words
    starts = [verse.start for verse in verses]
    assert starts == sorted(starts)


def test_romanized_text(latin, write_audio):
    """Greek in, heard as Latin letters; a letter that stands for two keeps both."""
    spoken = speak(["kai", "mia"], "kmai")
    [chapter] = align_chapters(latin, [write_audio(spoken.waveform)], [["Και", "μία!"]], "eng")
    assert_close(chapter.verses, spoken.times)
    assert [letter.text for letter in chapter.verses[1].words[0].characters] == ["μ", "ί", "α"]


def test_any_format_and_rate(greek, write_audio):
    spoken = speak(random_lines(5, GREEK), GREEK)
    loud = soxr.resample(spoken.waveform, RATE, 44_100)
    file = write_audio(np.stack([loud, 0.5 * loud], axis=1), "chapter.mp3", 44_100)
    assert_close(mms_jax.align(file, spoken.lines, language="eng", model=greek), spoken.times, within=0.08)


def test_a_pause_does_not_lie_within_a_word(greek):
    """The first letter of a verse, heard in the one before it, does not take the silence between along."""
    text = read_chapter_text(["αβ", "γδ"], "eng", readable_symbols(greek.vocabulary, "eng"), 6)
    assert text.labels.tolist() == [6, 2, 3, 1, 4, 5, 6]
    positions = np.full(200, -1)
    # Words from 0.5 to 1.0 s and from 2.0 to 2.5 s; the γ (label 4) is seen before the silence.
    for frame, label in ((3, 0), (30, 1), (40, 2), (44, 3), (47, 4), (110, 5), (180, 6)):
        positions[frame] = label
    levels = np.full(400, -70.0)
    levels[50:100] = levels[200:250] = -20.0
    verses = verse_spans(text, FramePath(positions, np.zeros(200), np.zeros(200, bool), levels))
    np.testing.assert_allclose(verse_times(verses), [[0.5, 0.92], [2.0, 2.5]], atol=0.05)
    assert verses[1].words[0].characters[0].end >= 2.0


def test_half_a_recording_scores_low(align):
    spoken = speak(random_lines(12, GREEK), GREEK)
    verses = align(spoken.waveform[: round(spoken.times[6, 0] * RATE)], spoken.lines)
    # What follows has to fit somewhere, and takes the room of the last verses that were recorded: the scores tell.
    np.testing.assert_allclose(verse_times(verses)[:3], spoken.times[:3], atol=0.045)
    wrong = np.abs(verse_times(verses) - spoken.times).max(axis=1) > 0.2
    assert wrong[6:].all()
    assert all((verse.score < -0.5) == is_wrong for verse, is_wrong in zip(verses, wrong))


def test_what_cannot_be_aligned_is_said_and_does_not_stop_the_others(greek, write_audio, tmp_path):
    spoken = speak(["αβ γδ", "δα"], GREEK)
    good = write_audio(spoken.waveform)
    (tmp_path / "empty.wav").touch()
    files = [good, good, str(tmp_path / "empty.wav"), good, good, str(tmp_path / "none.wav"), good]
    texts = [spoken.lines, ["", "..."], spoken.lines, ["hello world"], ["αβγ" * 200], spoken.lines, spoken.lines]
    results = list(align_chapters(greek, files, texts, "eng"))
    assert_close(results[0].verses, spoken.times)
    assert_close(results[6].verses, spoken.times)
    for row, kind, message in (
        (1, AlignmentError, "text is empty"),
        (2, AudioError, "empty.wav: is empty"),
        (3, AlignmentError, "no character of the text is among the model's symbols for eng"),
        (4, AlignmentError, "chapter.flac: the text is longer than the audio can hold"),
        (5, AudioError, "none.wav: no such file"),
    ):
        assert isinstance(results[row], kind) and message in str(results[row])
    for code, message in (
        ("swahili", r"no language 'swahili' in this model; you may mean swh"),
        ("deu", "no language 'deu'"),
    ):
        with pytest.raises(ValueError, match=message):
            list(align_chapters(greek, [good], [spoken.lines], code))


def test_unknown_characters_are_counted(greek, write_audio):
    spoken: Spoken = speak(["αβ γδ"], GREEK)
    [chapter] = align_chapters(greek, [write_audio(spoken.waveform)], [["αxβ γδx 7"]], "eng")
    assert chapter.dropped == {"x": 2, "7": 1}
    assert [letter.text for letter in chapter.verses[0].words[0].characters] == ["αx", "β"]
