"""The public API: its names, what its results look like, and the values that it refuses."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest

import mms_jax
from mms_jax import errors
from mms_jax.alignment import align_ctc
from mms_jax.audio.waveform import resample
from mms_jax.errors import AudioError, InputError, MmsError

GOOD = np.random.default_rng(0).normal(0, 0.1, 8000)


@pytest.fixture(scope="module")
def models(fixture_file):
    folder = fixture_file("huggingface")
    return {
        "recognizer": mms_jax.load(folder / "ctc", languages=["eng", "swh"]),
        "identifier": mms_jax.load(folder / "lid"),
        "encoder": mms_jax.load(folder / "encoder"),
        "voice": mms_jax.load(fixture_file("vits") / "huggingface"),
    }


def test_every_public_name_is_there():
    assert {"load", "align", "Transcript", "Word", "Verse", "BeamSettings", "MmsError", "__version__"} <= set(
        mms_jax.__all__
    )
    assert sorted(mms_jax.__all__) == sorted({*mms_jax._HOMES, "__version__"})
    for name in mms_jax.__all__:
        assert getattr(mms_jax, name) is not None
    assert set(mms_jax.__all__) <= set(dir(mms_jax))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = mms_jax.nothing


def test_importing_loads_no_jax():
    code = "import sys, mms_jax; mms_jax.MmsError, mms_jax.__version__; print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_package_is_typed():
    assert (pathlib.Path(mms_jax.__file__).parent / "py.typed").exists()


def test_results_and_models_have_short_reprs(models, tmp_path):
    import soundfile

    soundfile.write(tmp_path / "a.wav", GOOD, 16_000)
    [transcript] = models["recognizer"].transcribe([str(tmp_path / "a.wav")], language="swh")
    [identification] = models["identifier"].identify([str(tmp_path / "a.wav")])
    audio = models["voice"].speak("abc")
    for value in (*models.values(), identification, audio):
        assert len(repr(value)) < 120 and "array" not in repr(value)
    assert repr(transcript).startswith("Transcript('") and repr(transcript).endswith("words)")
    word = mms_jax.AlignedWord("ab", 0.5, 1.25, -0.1, [])
    verse = mms_jax.Verse("ab ab", 0.5, 2.0, None, 0.4, 2.1, "ab ab", True, [word] * 100)
    assert repr(word) == "AlignedWord('ab', 0.50 to 1.25 s, score=-0.100)"
    assert repr(verse) == "Verse('ab ab', 0.50 to 2.00 s, no score)"
    alignment = align_ctc(np.log(np.full((5, 3), 1 / 3)), [1, 2])
    assert repr(alignment) == f"Alignment(5 frames, score={alignment.score:.2f})"
    assert repr(audio) == f"Audio({len(audio.samples) / 16_000:.2f} s at 16000 Hz)"
    assert repr(models["recognizer"]).startswith("Recognizer(2 languages, ")


@pytest.mark.parametrize(
    ("waveforms", "message"),
    [
        ("a.wav", "'a.wav' is a path; read it with"),
        (GOOD, r"an array of shape \(8000,\) where a list of waveforms is expected; write \[waveform\]"),
        ([GOOD, (GOOD * 32768).astype(np.int16)], r"waveform 1 holds int16 samples; .* divide by 32768"),
        ([np.stack([GOOD, GOOD])], r"waveform 0 has shape \(2, 8000\); give one channel, .* waveform.mean\(axis=0\)"),
        ([np.stack([GOOD, GOOD], axis=1)], r"waveform.mean\(axis=1\)"),
        ([GOOD[:399]], "waveform 0 has 399 samples; models need at least 400"),
        ([np.where(np.arange(8000) == 7, np.nan, GOOD)], "waveform 0: holds NaN"),
        (["a.wav"], "waveform 0 has dtype"),
    ],
)
def test_arrays_that_cannot_be_meant_are_refused(models, waveforms, message):
    for call in (
        lambda: models["recognizer"].logits(waveforms, language="swh"),
        lambda: models["identifier"].logits(waveforms),
        lambda: models["encoder"].features(waveforms),
    ):
        with pytest.raises(InputError, match=message):
            call()


def test_another_rate_is_resampled(models):
    loud = np.random.default_rng(1).normal(0, 0.1, 44_100)
    here = resample(loud.astype(np.float32), 44_100)
    for at_rate, at_16_khz in (
        (
            models["recognizer"].logits([loud], language="swh", rate=44_100),
            models["recognizer"].logits([here], language="swh"),
        ),
        (models["identifier"].logits([loud], rate=44_100), models["identifier"].logits([here])),
        (models["encoder"].features([loud], rate=44_100), models["encoder"].features([here])),
    ):
        np.testing.assert_allclose(at_rate[0], at_16_khz[0], atol=1e-4)
    for rate in (0, 16_000.5, "16000"):
        with pytest.raises(InputError, match="give the samples per second"):
            models["encoder"].features([GOOD], rate=rate)
    with pytest.raises(InputError, match="models need at least 1103 "):
        models["encoder"].features([loud[:1000]], rate=44_100)


def test_recordings_are_files_or_waveforms(models, tmp_path):
    import soundfile

    loud = (0.3 * np.sin(np.arange(44_100) / 20)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", loud, 44_100, subtype="FLOAT")
    file, recognizer = str(tmp_path / "a.wav"), models["recognizer"]
    assert recognizer.transcribe([loud], language="swh", rate=44_100) == recognizer.transcribe([file], language="swh")
    both = models["identifier"].identify([loud, file], rate=44_100)
    assert repr(both[0]) == repr(both[1])
    text = ["abc abd", "abb"]
    from_file, from_array = (
        mms_jax.align(recording, text, language="swh", model=recognizer, rate=44_100) for recording in (file, loud)
    )
    assert list(map(repr, from_file)) == list(map(repr, from_array))


@pytest.mark.parametrize(
    ("waveform", "error", "message"),
    [
        (np.zeros(16_000), AudioError, "waveform 0: is silent"),
        (np.zeros(0), AudioError, "waveform 0: 0 ms long; recognition needs at least 25 ms"),
        (GOOD[:100], AudioError, "waveform 0: 6 ms long"),
        (np.where(np.arange(8000) == 7, np.nan, GOOD), AudioError, "waveform 0: holds NaN"),
        (np.stack([GOOD, GOOD], axis=1), InputError, r"waveform 0 has shape \(8000, 2\); give one channel"),
        ((GOOD * 32768).astype(np.int16), InputError, "waveform 0 holds int16 samples"),
    ],
)
def test_waveforms_get_the_messages_of_files(models, waveform, error, message):
    recognizer = models["recognizer"]
    for call in (
        lambda: recognizer.transcribe([waveform], language="swh"),
        lambda: models["identifier"].identify([waveform]),
        lambda: mms_jax.align(waveform, ["abc"], language="swh", model=recognizer),
    ):
        with pytest.raises(error, match=message):
            call()


def test_a_string_is_no_list(models):
    recognizer = models["recognizer"]
    for call, message in (
        (lambda: recognizer.transcribe("a.ogg", language="swh"), r"'a.ogg' is one file .* write \['a.ogg'\]"),
        (lambda: recognizer.transcribe(pathlib.Path("a.ogg"), language="swh"), r"is one file .* write \['a.ogg'\]"),
        (
            lambda: recognizer.transcribe(GOOD, language="swh"),
            r"where a list of recordings is expected; write \[waveform\]",
        ),
        (
            lambda: recognizer.transcribe((name for name in ["a.ogg"]), language="swh"),
            "a generator where a list of rec",
        ),
        (
            lambda: mms_jax.align("a.mp3", {"ab", "c"}, language="swh", model=recognizer),
            "a set where a list of lines is expected",
        ),
        (lambda: recognizer.transcribe([None], language="swh"), "recording 0 is a NoneType; give the path of a file"),
        (lambda: recognizer.transcribe(["a.ogg"], language=None), "NoneType where a language is expected"),
        (lambda: mms_jax.load(["runs/asr"]), "list where the name of a model is expected"),
        (lambda: models["voice"].speak("abc", seed="x"), "seed='x' must be from 0"),
        (lambda: models["identifier"].identify("a.ogg"), "is one file where a list of recordings is expected"),
        (
            lambda: mms_jax.align("a.mp3", "hello world", language="swh", model=recognizer),
            "one string where a list of lines",
        ),
        (
            lambda: mms_jax.align(["a.mp3"], ["hello"], language="swh", model=recognizer),
            "a list where one recording is expected",
        ),
        (
            lambda: mms_jax.align("a.mp3", pathlib.Path("a.txt"), language="swh", model=recognizer),
            "'a.txt' is a path where a list of lines is expected",
        ),
        (
            lambda: mms_jax.align("a.mp3", [["hello"]], language="swh", model=recognizer),
            "line 0 is a list; give the text's lines as strings",
        ),
        (lambda: list(models["voice"].speak_each("abc")), "one text where a list of texts is expected"),
    ):
        with pytest.raises(InputError, match=message):
            call()


def test_every_error_has_one_base():
    found = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert len(found) > 5 and all(issubclass(error, MmsError) for error in found)
    with pytest.raises(MmsError, match="choose float32 or bfloat16"):
        mms_jax.load("nothing", dtype="float16")
