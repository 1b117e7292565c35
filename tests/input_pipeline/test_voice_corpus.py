"""One reader's recordings out of another corpus: who is chosen, what is dropped, how it sounds."""

import numpy as np
import pytest

from input_pipeline.corpora import voice
from input_pipeline.corpora.storage import as_text, open_corpus
from mms_jax.audio.flac import decode_flac
from mms_jax.errors import CorpusError
from tests.conftest import prepare_folder

RATE = 16_000


def tone(semitones, seconds=0.6):
    """A tone that moves so many semitones up and down, half a second of room before and after."""
    time = np.arange(int(seconds * RATE)) / RATE
    pitch = 150.0 * 2.0 ** (semitones * np.sin(2 * np.pi * 3 * time) / 12)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    sound = 0.1 * sum(np.sin(number * phase) / number for number in (1, 2, 3))
    room = np.random.default_rng(0).normal(0, 1e-4, RATE // 2)
    return np.concatenate([room, sound, room]).astype(np.float32)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two readers of one language and one of another; the first reader reads ten steady clips and two wild ones."""
    import soundfile

    folder = tmp_path_factory.mktemp("readers")
    lines = ["path\ttext\tlanguage\tspeaker\tsplit"]

    def add(name, waveform, language, speaker, split="train"):
        soundfile.write(folder / f"{name}.flac", waveform, RATE)
        lines.append(f"{name}.flac\ttext {'abcdefghijklmnop'[len(lines) % 16]}\t{language}\t{speaker}\t{split}")

    for number in range(10):
        add(f"steady{number}", tone(0.5), "swh", "asha")
    for number in range(2):
        add(f"wild{number}", tone(9.0), "swh", "asha")
    add("tested", tone(9.0), "swh", "asha", "test")
    add("other", tone(0.5), "swh", "bakari")
    add("english", tone(0.5), "eng", "ann")
    (folder / "table.tsv").write_text("\n".join(lines) + "\n")
    return prepare_folder("readers", folder / "table.tsv", folder / "data")


def prepared(data, name, error_rate=None, **choice):
    builder = voice.VoiceCorpus(
        name=name, source="audio_folder/readers", choice=voice.Choice(**choice), error_rate=error_rate,
        data_dir=str(data), file_format="array_record",
    )  # fmt: skip
    builder.download_and_prepare()
    return builder


def test_the_longest_reader_without_the_wild_ones(data):
    builder = prepared(data, "asha", language="swh")
    corpus = open_corpus("voice/asha", "train", data)
    assert "speaker asha (the longest) of 2" in builder.summary[0]
    assert {as_text(record["speaker"]) for record in corpus.source} == {"asha"}
    assert len(corpus.source) == 10 and not any("wild" in as_text(record["id"]) for record in corpus.source)
    assert len(open_corpus("voice/asha", "test", data).source) == 1  # what is tested is all that was read
    waveform, rate = decode_flac(corpus.source[0]["audio"], "")
    assert rate == RATE and 0.6 < len(waveform) / RATE < 1.0  # the room is cut to a margin
    speech = waveform[2400:-2400]
    assert 10 * np.log10(np.mean(speech**2)) == pytest.approx(voice.LEVEL, abs=1.0)


def test_the_reader_with_the_lowest_error_rate(data):
    def error_rate(waveforms, texts, language):
        assert len(waveforms) == len(texts) and language == "swh"
        return 0.1 if len(texts) == 1 else 0.4  # bakari has one utterance, asha twelve

    builder = prepared(data, "bakari", error_rate=error_rate, language="swh", drop_pitch=0.0)
    assert "speaker bakari (lowest error rate, CER 10.0 %) of 2" in builder.summary[0]


def halved(waveform):
    return waveform / 2


def test_a_denoiser_is_asked(data, monkeypatch):
    asked = []
    monkeypatch.setattr(voice, "hook", lambda name: lambda waveform: asked.append(name) or waveform)
    prepared(data, "denoised", language="swh", speaker="bakari", drop_pitch=0.0, denoise="some:thing")
    assert asked == ["some:thing"]
    monkeypatch.undo()
    assert voice.hook("tests.input_pipeline.test_voice_corpus:halved")(np.ones(2))[0] == 0.5
    with pytest.raises(CorpusError, match="write MODULE:FUNCTION of an importable module"):
        voice.hook("no.such.module:f")


def test_wrong_choices_are_explained(data):
    for choice, message in (
        ({}, "is in eng, swh; choose one with --language"),
        ({"language": "deu"}, "has no utterances in 'deu'; it is in eng, swh"),
        ({"language": "swh", "speaker": "ann"}, "has no speaker 'ann'; it has asha, bakari"),
    ):
        with pytest.raises(CorpusError, match=message):
            prepared(data, "wrong", **choice)


def test_pitch_spread():
    assert voice.pitch_spread(tone(0.2)) < 0.5 < 10 < voice.pitch_spread(tone(9.0))
    assert voice.pitch_spread(np.zeros(RATE, np.float32)) == 0.0


def test_silence_is_nothing():
    assert voice.trim(np.zeros(RATE, np.float32)).size == 0
    assert voice.level(np.zeros(0, np.float32)).size == 0
    loud = voice.level(np.r_[np.full(40, 0.9), np.full(RATE, 1e-3)].astype(np.float32))
    assert np.abs(loud).max() <= voice.PEAK + 1e-6
