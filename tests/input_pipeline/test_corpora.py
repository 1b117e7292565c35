"""Corpora: the shipped one, the telephone prompts, a user's folder."""

import dataclasses
import pathlib
import tarfile

import numpy as np
import pytest
import soundfile

from input_pipeline.corpora import asterisk, spoken_phrases, unlabeled
from input_pipeline.corpora.audio_folder import AudioFolder
from input_pipeline.corpora.espeak import espeak
from input_pipeline.corpora.phrases import PHRASES, sample_sentences
from input_pipeline.corpora.spoken_phrases import Reading, SpokenPhrases, read_chapters
from input_pipeline.corpora.storage import open_corpus
from mms_jax.audio.flac import decode_flac
from mms_jax.errors import CorpusError
from mms_jax.text.normalize import normalize

NATHALIE = pathlib.Path(__file__).parents[3] / "shared/data/nathalie-dutch"


@pytest.fixture
def small(monkeypatch):
    """The shipped corpus with few chapters."""
    few = {"train": Reading(("m1", "f1"), 2, 3), "test": Reading(("m7",), 1, 3)}
    monkeypatch.setattr(spoken_phrases, "SPLITS", few)


def test_phrases_cover_languages_and_scripts():
    first = {language: phrases.subjects[0].split()[-1][0] for language, phrases in PHRASES.items()}
    scripts = {"Latin": "az", "Greek": "άώ", "Cyrillic": "ая", "Devanagari": "अह"}
    found = {name for name, (low, high) in scripts.items() if any(low <= letter <= high for letter in first.values())}
    assert len(PHRASES) >= 8 and found == set(scripts)


@pytest.mark.parametrize("language", PHRASES)
def test_sentences_are_normalized_different_and_repeatable(language):
    one, two = (sample_sentences(language, 300, np.random.default_rng(1)) for _ in range(2))
    assert one == two and len(set(one)) == 300
    assert all(sentence == normalize(sentence) and sentence for sentence in one)


def test_unknown_language_is_explained():
    with pytest.raises(KeyError, match="there are eng"):
        sample_sentences("xxx", 1, np.random.default_rng(0))


def test_espeak_speaks_and_refuses():
    engine = espeak()
    slow, fast = (engine.speak("habari ya asubuhi", "sw+f2", speed=speed) for speed in (120, 240))
    assert engine.rate == 22_050 and len(slow) > 1.3 * len(fast)
    again = engine.speak("habari ya asubuhi", "sw+f2", speed=120)
    assert len(again) == pytest.approx(len(slow), rel=0.01)
    with pytest.raises(ValueError, match="no voice 'zz'"):
        engine.speak("a", "zz")
    with pytest.raises(ValueError, match="gave no audio"):
        engine.speak(" ", "en")


def test_test_voices_and_sentences_are_not_trained_on():
    voices = [set(reading.voices) for reading in spoken_phrases.SPLITS.values()]
    assert not (voices[0] & voices[1] or voices[0] & voices[2] or voices[1] & voices[2])
    for number, language in enumerate(PHRASES):
        sentences = spoken_phrases._sentences(language, number)
        assert not set(sentences["train"]) & set(sentences["test"])


def test_chapters_have_exact_verse_times(small):
    chapters = list(read_chapters("test"))
    assert [chapter.language for chapter in chapters] == list(PHRASES)
    for chapter in chapters:
        assert len(chapter.verses) == len(chapter.starts) == len(chapter.ends) == 3
        level = np.abs(chapter.waveform)
        for start, end in zip(chapter.starts, chapter.ends):
            # Speech begins at the start and stops at the end, within the resampler's ringing and eSpeak's own fades.
            assert level[start : start + 800].max() > 0.006 and level[end - 800 : end].max() > 0.006
            assert level[start - 1600 : start - 160].max() < 0.006 and level[end + 160 : end + 1600].max() < 0.006


def test_verses_are_the_chapters_cut(small, tmp_path):
    for config in ("verses", "chapters"):
        SpokenPhrases(config=config, data_dir=str(tmp_path), file_format="array_record").download_and_prepare()
    verses = open_corpus("spoken_phrases/verses", "train", tmp_path)
    chapters = open_corpus("spoken_phrases/chapters", "train", tmp_path)
    assert len(verses.index) == 48 and len(chapters.index) == 16
    by_id = {record["id"].decode(): record for record in verses.source}
    chapter = chapters.source[0]
    waveform, _ = decode_flac(chapter["audio"], "chapter")
    for number, verse in enumerate(chapter["text"].decode().split("\n")):
        record = by_id[f"{chapter['id'].decode()}_{number:02d}"]
        assert record["text"].decode() == verse and record["speaker"] == chapter["speaker"]
        start, end = (round(chapter[name][number] * 16_000) for name in ("starts", "ends"))
        np.testing.assert_allclose(decode_flac(record["audio"], "verse")[0], waveform[start:end], atol=1e-4)
    assert set(verses.index.languages) == set(PHRASES)


def write_table(folder, lines):
    path = folder / "table.tsv"
    path.write_text("\n".join("\t".join(line) for line in lines) + "\n", encoding="utf-8")
    return str(path)


def build(folder, table, language=None, max_bad_share=0.05):
    AudioFolder(
        name="mine", table=table, language=language, max_bad_share=max_bad_share, data_dir=str(folder),
        file_format="array_record",
    ).download_and_prepare()  # fmt: skip


def test_folder_skips_what_cannot_be_used(tmp_path, caplog):
    noise = np.random.default_rng(0).normal(0, 0.1, 22_050)
    for number in range(30):
        soundfile.write(tmp_path / f"{number}.wav", noise, 22_050)
    (tmp_path / "3.wav").write_bytes(b"junk")
    rows = [[f"{number}.wav", "Ein „Wort“, noch eins!"] for number in range(30)]
    rows[7][1] = "Seite 12"
    table = write_table(tmp_path, [["file", "sentence"], *rows])
    with pytest.raises(CorpusError, match=r"could not be used.*max_bad_share"):
        build(tmp_path / "strict", table, "deu", 0.0)
    build(tmp_path / "data", table, "deu", 0.5)
    assert "3.wav" in caplog.text and "digits in its transcript" in caplog.text
    total = 0
    for split in ("train", "validation", "test"):
        try:
            corpus = open_corpus("audio_folder/mine", split, tmp_path / "data")
        except CorpusError:
            continue
        total += len(corpus.index)
        assert corpus.source[0]["text"].decode() == "ein wort noch eins"
        assert float(corpus.source[0]["seconds"]) == pytest.approx(1.0, abs=0.01)
    assert total == 28


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([["path", "words"]], "no column text or sentence"),
        ([["path", "text"], ["a.wav", "b"]], "give --language"),
        ([["path", "text", "lang"]], "no rows"),
        ([["path", "text", "lang"], ["a.wav", "x", "eng"], ["a.wav", "y", "eng"]], "ids occur twice, as 'a.wav'"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path, lines, message):
    with pytest.raises(CorpusError, match=message):
        build(tmp_path, write_table(tmp_path, lines))


def test_table_that_is_not_there(tmp_path):
    with pytest.raises(CorpusError, match="no such table"):
        build(tmp_path, str(tmp_path / "none.tsv"))


def test_a_real_folder_as_users_have_them(tmp_path):
    if not NATHALIE.is_dir():
        pytest.skip(f"{NATHALIE} is not there")
    lines = (NATHALIE / "manifest.tsv").read_text().splitlines()
    copy = tmp_path / "nathalie"
    copy.mkdir()
    (copy / "ogg16").symlink_to(NATHALIE / "ogg16")
    (copy / "manifest.tsv").write_text("\n".join(lines[:40]) + "\n")
    build(tmp_path / "data", str(copy / "manifest.tsv"))
    corpus = open_corpus("audio_folder/mine", "train", tmp_path / "data")
    assert set(corpus.index.languages) == {"nld"} and len(corpus.index) > 20


TRANSCRIPTS = """\ufeff; Core Asterisk Sounds in Testish
activated: Activated.
beep: [beep tone]
confbridge-join: (beep)
digits/h-6: sixth
digits/h-6: sixth
demo: Press 1 for help.
double: one
double: two
silence/1: nothing
vm-from: from: the phone
"""


def test_transcripts_of_the_prompts():
    assert asterisk.parse_transcripts(TRANSCRIPTS) == {
        "activated": "activated",
        "digits/h-6": "sixth",
        "vm-from": "from the phone",
    }


def test_prompts_from_official_archives(tmp_path, monkeypatch):
    monkeypatch.setattr(asterisk, "SOUNDS", tmp_path / "nowhere")
    builder = asterisk.Asterisk(config="core", data_dir=str(tmp_path / "data"), file_format="array_record")
    with pytest.raises(CorpusError, match="apt-get install asterisk-core-sounds"):
        builder.download_and_prepare()
    sounds = tmp_path / "sounds"
    (sounds / "digits").mkdir(parents=True)
    lines = []
    for number in range(40):
        soundfile.write(sounds / f"digits/{number}.wav", np.random.default_rng(number).normal(0, 0.1, 8000), 8000)
        lines.append(f"digits/{number}: " + "abcdefghij"[number % 10] + "klmnop"[number // 10])
    (sounds / "core-sounds-it.txt").write_text("\n".join(lines))
    manual = tmp_path / "data" / "downloads" / "manual"
    manual.mkdir(parents=True)
    with tarfile.open(manual / "asterisk-core-sounds-it-wav-1.6.1.tar.gz", "w:gz") as archive:
        archive.add(sounds, arcname=".")
    builder = asterisk.Asterisk(config="core", data_dir=str(tmp_path / "data"), file_format="array_record")
    builder.download_and_prepare()
    splits = [open_corpus("asterisk/core", split, tmp_path / "data") for split in ("train", "validation", "test")]
    assert sum(len(split.index) for split in splits) == 40
    assert set(splits[0].index.languages) == {"ita"}
    assert float(splits[0].index.seconds[0]) == pytest.approx(1.0, abs=0.01)
    texts = [{record["text"] for record in split.source} for split in splits]
    assert not texts[0] & texts[2]


def test_unlabeled_clips_are_found_stripped_of_pauses_and_joined(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    tone, pause = np.sin(np.arange(16_000) / 5.0), np.zeros(16_000)
    clip = 0.3 * np.concatenate([pause, tone, pause, tone]) + 1e-5 * rng.normal(size=64_000)
    for name in ("game/cs/x-m-one.ogg", "game/cs/x-m-two.ogg", "game/cs/x-b-one.ogg", "game/xx/x-m-one.ogg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / name, clip, 16_000)
    (tmp_path / "game/cs/readme.txt").write_text("no sound")
    sets = {"fillets": dataclasses.replace(unlabeled.SETS["fillets"], folder=str(tmp_path))}
    monkeypatch.setattr(unlabeled, "SETS", sets)
    clips = unlabeled.find_clips(sets["fillets"])
    assert [(c.language, c.speaker, c.path.name) for c in clips] == [
        ("ces", "ces/b", "x-b-one.ogg"), ("ces", "ces/m", "x-m-one.ogg"), ("ces", "ces/m", "x-m-two.ogg"),
    ]  # fmt: skip
    short = unlabeled.without_pauses(clip.astype(np.float32))
    assert 2.2 < len(short) / 16_000 < 2.8  # two seconds of speech, 0.1 s on either side of each
    monkeypatch.setattr(unlabeled, "_split_of", lambda identity: "validation" if "/b/" in identity else "train")
    builder = unlabeled.Unlabeled(config="fillets", data_dir=str(tmp_path / "data"), file_format="array_record")
    builder.download_and_prepare()
    joined, alone = (open_corpus("unlabeled/fillets", split, tmp_path / "data") for split in ("train", "validation"))
    assert joined.index.seconds == pytest.approx([2 * len(short) / 16_000], abs=0.1)
    assert alone.index.seconds == pytest.approx([len(short) / 16_000], abs=0.1)
    assert joined.index.languages == ("ces",)

    nothing = dataclasses.replace(sets["fillets"], folder=str(tmp_path / "none"))
    with pytest.raises(CorpusError, match=r"apt-get install --no-install-recommends fillets-ng-data-cs"):
        unlabeled.find_clips(nothing)
