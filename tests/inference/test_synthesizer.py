"""mms-jax speak and mms_jax.load(...).speak, on the small voice that transformers wrote."""

import dataclasses
import io
import sys

import numpy as np
import pytest
import soundfile

import mms_jax
from mms_jax.cli import main
from mms_jax.errors import SpeechError
from mms_jax.inference.synthesizer import SpeechWarning
from mms_jax.text.sentences import split_sentences
from mms_jax.text.voice_tokenizer import VoiceTokenizer, known_rows

NOISY = {"noise_scale": 0.667, "noise_scale_duration": 0.8}


@pytest.fixture(scope="module")
def folder(fixture_file):
    return fixture_file("vits") / "huggingface"


@pytest.fixture(scope="module")
def voice(folder):
    return mms_jax.load_voice(folder)


def test_symbols_have_their_numbers(voice, fixture_file):
    answers = np.load(fixture_file("vits") / "huggingface" / "answers.npz")
    tokens = voice.tokenizer.tokens
    for row, length in enumerate(answers["lengths"]):
        plain = dataclasses.replace(voice.tokenizer, add_blank=False)  # as the stored rows are
        text = "".join(tokens[number] for number in answers["symbols"][row, :length])
        assert plain.encode(text) == answers["symbols"][row, :length].tolist()


def test_a_seed_decides_and_nothing_else(voice):
    texts = ["abc", "deh gh a", "a", "abcdefgh' abcdefgh abc"]
    together = list(voice.speak_each(texts, seed=3, **NOISY))
    for text, audio in zip(texts, together):
        alone = voice.speak(text, seed=3, **NOISY)
        np.testing.assert_allclose(audio.samples, alone.samples, atol=2e-5)
        assert audio.rate == 16_000 and np.abs(audio.samples).max() <= 1.0
    again = voice.speak(texts[1], seed=3, **NOISY)
    np.testing.assert_array_equal(again.samples, voice.speak(texts[1], seed=3, **NOISY).samples)
    other = voice.speak(texts[1], seed=4, **NOISY)
    assert len(other.samples) != len(again.samples) or not np.allclose(other.samples, again.samples)


def test_speed(voice):
    slow, fast = (len(voice.speak("abcdefgh abcdefgh", speaking_rate=rate).samples) for rate in (0.25, 1.0))
    assert slow > 1.5 * fast


def test_a_stream_is_the_whole(voice):
    text = "abcdefgh abcdefgh' abcd, abcd. abc deh. abba"
    how = {"seed": 1, "speaking_rate": 0.05, **NOISY}
    pieces = list(voice.stream(text, **how))
    whole = voice.speak(text, **how).samples
    assert len(pieces) > 5
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=2e-5)


def test_long_texts_are_cut_where_one_breathes(voice):
    text = "One two three. Four five? Six, seven eight! نعم؟ هذا। ठीक है। 好的。行"
    assert split_sentences(text, 100) == [
        "One two three.",
        "Four five?",
        "Six, seven eight!",
        "نعم؟",
        "هذا।",
        "ठीक है।",
        "好的",
        "行",
    ]
    clauses = split_sentences("aaaa bbbb, cccc dddd, eeee ffff gggg", 12)
    assert clauses == ["aaaa bbbb,", "cccc dddd,", "eeee ffff", "gggg"]
    assert split_sentences("x" * 25, 10) == ["x" * 10, "x" * 10, "x" * 5]
    long = ("abc deh gh " * 1000)[:10_000]
    assert all(len(piece) <= 190 for piece in split_sentences(long, 190))
    assert "".join(split_sentences(long, 190)).replace(" ", "") == long.replace(" ", "")
    assert len(voice.speak(long).samples) > 50 * 0.25 * 16_000  # the pauses alone


def test_what_cannot_be_said_is_said_so(voice):
    for text, message in (
        ("", "the text is empty"),
        ("  \n", "the text is empty"),
        ("xyz ?", r"no character of 'xyz \?' has a symbol"),
    ):
        with pytest.raises(SpeechError, match=message):
            voice.speak(text)
    with pytest.warns(SpeechWarning, match="no symbol for z ж: left out. It reads 'abcdefgh"):
        voice.speak("ab z ж z")
    remarks = []
    list(voice.speak_each(["abc 25 b"], warn=remarks.append))
    assert len(remarks) == 2 and "write numbers as words" in remarks[1]
    results = list(voice.speak_each(["abc", "xyz", "b"]))
    assert [type(result).__name__ for result in results] == ["Audio", "SpeechError", "Audio"]
    with pytest.raises(ValueError, match="speaking_rate must be above 0"):
        voice.speak("abc", speaking_rate=0.0)
    with pytest.raises(ValueError, match="this voice has speakers 0 to 0"):
        voice.speak("abc", speaker=1)


def test_one_of_several_speakers(fixture_file):
    several = mms_jax.load_voice(fixture_file("vits") / "speakers")
    one, other = (several.speak("abc deh", speaker=number).samples for number in (0, 3))
    assert len(one) != len(other) or not np.allclose(one, other)


def test_text_is_prepared_as_the_voice_was_trained():
    text = VoiceTokenizer.from_characters("abcţé", "ron")
    assert text.prepare("  A\tb  Ț? ") == ("a b ţ", "?")
    assert text.prepare("e\u0301") == ("é", "")  # decomposed
    assert text.encode("ab") == [0, text.tokens.index("a"), 0, text.tokens.index("b"), 0]
    roman = VoiceTokenizer.from_characters("abdeghilmnorstu", "amh", uroman=True)
    assert roman.prepare("ሰላም")[0] == "salaam" or roman.prepare("ሰላም")[0].startswith("s")
    assert known_rows(("_", " ", "a", "z"), ("k", "a", " ", "b")) == [(0, 0), (1, 2), (2, 1)]
    assert VoiceTokenizer.from_json(text.to_json()) == text


def run(*arguments):
    return main([str(argument) for argument in ("speak", *arguments)])


def test_command(folder, tmp_path, capsys, monkeypatch):
    for name in ("a.wav", "b.flac", "c.ogg"):
        assert run("abc deh", "--model", folder, "--out", tmp_path / name, "--speed", "0.5") == 0
        samples, rate = soundfile.read(tmp_path / name)
        assert rate == 16_000 and len(samples) > 0
    (tmp_path / "text.txt").write_text("abc\n\nxyz\ndeh 5\n")
    assert run("--file", tmp_path / "text.txt", "--model", folder, "--output-dir", tmp_path / "lines") == 1
    said = capsys.readouterr()
    assert "error: line 2: no character of 'xyz'" in said.err and "warning: the text holds digits" in said.err
    assert sorted(path.name for path in (tmp_path / "lines").iterdir()) == ["0001.wav", "0003.wav", "lines.tsv"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("abc. deh"))
    assert run("-", "--model", folder, "--out", tmp_path / "stdin.wav") == 0


def test_command_streams(folder, tmp_path, monkeypatch):
    stream = io.BytesIO()
    monkeypatch.setattr(
        sys, "stdout", type("Standard", (), {"buffer": stream, "write": lambda *_: 0, "flush": lambda _: 0})()
    )
    assert run("abc deh gh. abc", "--model", folder, "--out", "-", "--seed", "2") == 0
    header, data = stream.getvalue()[:44], np.frombuffer(stream.getvalue()[44:], "<i2")
    assert header[:4] == b"RIFF" and header[36:40] == b"data"
    whole = mms_jax.load_voice(folder).speak("abc deh gh. abc", seed=2).samples
    np.testing.assert_allclose(data / 32767, whole, atol=1e-4)


def test_command_explains(folder, tmp_path, capsys, fixture_file):
    for arguments, message in (
        (("abc", "--out", tmp_path / "a.mp3"), "name a file .wav, .flac or .ogg"),
        (("--out", tmp_path / "a.wav"), "give one text"),
        (("", "--out", tmp_path / "a.wav"), "the text is empty"),
        (("xyz", "--out", tmp_path / "a.wav"), "this voice reads only 'abcdefgh"),
        (("abc", "--out", tmp_path / "a.wav", "--speed", "-1"), "speaking_rate must be above 0"),
    ):
        assert run(*arguments, "--model", folder) == 1
        assert message in capsys.readouterr().err
    assert run("abc", "--model", fixture_file("huggingface") / "ctc_plain", "--out", tmp_path / "a.wav") == 1
    assert "is a recognizer, not a voice" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_converted_voices_say_the_same(fixture_file, voice, tmp_path):
    original = fixture_file("vits") / "original"
    for target, form in ((tmp_path / "orbax", "orbax"), (tmp_path / "hf", "huggingface")):
        assert main(["convert", str(original / "G_700.pth"), str(target), "--to", form]) == 0
    wanted = mms_jax.load_voice(original).speak("abc deh", seed=5)
    for target in ("orbax", "hf"):
        np.testing.assert_allclose(
            mms_jax.load_voice(tmp_path / target).speak("abc deh", seed=5).samples, wanted.samples, atol=1e-4
        )
