"""Languages and origin of models, through every conversion."""

import contextlib
import json

import numpy as np
import pytest

import mms_jax
from mms_jax import cli
from mms_jax.checkpoint import StoredModel, save_model
from mms_jax.errors import ConversionError, Stopped
from mms_jax.evaluate import evaluate
from mms_jax.inference.find import find_model
from mms_jax.inference.select import check_languages
from mms_jax.models.functional import FunctionalModel
from mms_jax.models.wav2vec2.config import Wav2Vec2Config
from mms_jax.models.wav2vec2.heads import Wav2Vec2ForCTC
from mms_jax.text.vocabulary import Vocabulary
from mms_jax.train import train
from tests.conftest import MINIATURE, tone_experiment
from tests.users.conftest import record


@pytest.fixture(scope="module")
def shared_head(tmp_path_factory):
    """A run with one head for three languages, whose alphabets mix scripts; its folder."""
    vocabulary = Vocabulary.from_alphabets({"ell": "αβγ", "eng": "abc", "swh": "abd"})
    config = Wav2Vec2Config(**MINIATURE)
    import jax
    from flax import nnx

    params = FunctionalModel.abstract(
        lambda key: Wav2Vec2ForCTC(config, len(vocabulary), rngs=nnx.Rngs(params=key))
    ).init(jax.random.key(0))
    history = {"corpora": ["spoken_phrases/verses:train"], "hours": {"eng": 0.5, "swh": 0.25}, "synthetic": True}
    description = {"kind": "recognizer", "model": config.to_json(), "vocabulary": vocabulary.to_json(),
                   "history": history}  # fmt: skip
    folder = tmp_path_factory.mktemp("shared") / "run"
    save_model(folder, StoredModel(7, description, params))
    return folder


WAVEFORM = np.random.default_rng(0).normal(0, 0.1, 12_000).astype(np.float32)


def answers(model, language):
    """Text, and logits of the symbols that the language uses."""
    recognizer = mms_jax.load(model)
    [logits] = recognizer.logits([WAVEFORM], language=language)
    [transcript] = recognizer.transcribe([WAVEFORM], language=language)
    return transcript.text, logits[:, logits[0] > -1e8]


def test_a_recognizer_goes_to_hugging_face_and_back_with_its_languages(shared_head, tmp_path):
    assert cli.main(["convert", str(shared_head), str(tmp_path / "hf"), "--to", "huggingface"]) == 0
    vocabularies = json.loads((tmp_path / "hf" / "vocab.json").read_text())
    assert {language: "".join(list(tokens)[2:]) for language, tokens in vocabularies.items()} == {
        "ell": "αβγ", "eng": "abc", "swh": "abd"
    }  # fmt: skip
    assert (tmp_path / "hf" / "adapter.ell.safetensors").exists()
    assert cli.main(["convert", str(tmp_path / "hf"), str(tmp_path / "back")]) == 0
    for folder in ("hf", "back"):
        model = mms_jax.load(tmp_path / folder)
        assert model.languages == ("ell", "eng", "swh")
        assert model.origin["history"]["synthetic"], "the origin travels along"
        for language in model.languages:
            text, logits = answers(tmp_path / folder, language)
            expected, own = answers(shared_head, language)
            assert text == expected
            np.testing.assert_allclose(logits, own, atol=1e-4)


@pytest.mark.parametrize("target", ["orbax", "huggingface", "export"])
def test_languages_are_chosen_or_refused_everywhere(shared_head, fixture_file, tmp_path, target, capsys):
    def make(source, name, *arguments):
        command = ["export"] if target == "export" else ["convert", "--to", target]
        return cli.main([*command, str(source), str(tmp_path / name), *arguments])

    assert make(shared_head, "two", "--lang", "swh,ell") == 0
    assert set(mms_jax.load(tmp_path / "two").languages) == {"swh", "ell"}
    assert answers(tmp_path / "two", "swh")[0] == answers(shared_head, "swh")[0]
    for source, language, message in (
        (shared_head, "", "no language ''"),
        (shared_head, "fra", "no language 'fra' in this model"),
        (fixture_file("huggingface") / "ctc", "fra", "no language 'fra'"),
        (fixture_file("huggingface") / "ctc_plain", "swh", "does not distinguish languages; leave out --lang"),
    ):
        assert make(source, "none", "--lang", language) == 1
        assert message in capsys.readouterr().err
        assert not (tmp_path / "none").exists() and not list(tmp_path.glob(".none*")), "nothing is left behind"


def test_a_bank_of_adapters_is_cut_to_some_languages(fixture_file, tmp_path):
    source = fixture_file("huggingface") / "ctc"
    assert cli.main(["convert", str(source), str(tmp_path / "all")]) == 0
    assert cli.main(["convert", str(tmp_path / "all"), str(tmp_path / "one"), "--lang", "swh"]) == 0
    assert mms_jax.load(tmp_path / "one").languages == ("swh",)
    for model in (tmp_path / "one", source):
        text, logits = answers(model, "swh")
        expected, own = answers(tmp_path / "all", "swh")
        assert text == expected
        np.testing.assert_allclose(logits, own, atol=1e-5)


def test_models_without_a_choice_of_languages_refuse_one(fixture_file):
    for name, message in (("huggingface/lid", "kind 'identifier'"), ("huggingface/encoder", "kind 'encoder'"),
                          ("vits/huggingface", "this voice speaks")):  # fmt: skip
        with pytest.raises(ConversionError, match=message):
            check_languages(find_model(fixture_file(name)), ["xho"])


def test_a_model_of_synthetic_speech_says_so(shared_head, tmp_path, capsys):
    assert cli.main(["transcribe", str(record(tmp_path / "a.wav")), "--model", str(shared_head), "--lang", "swh"]) == 0
    assert "has learned from synthetic speech only (spoken_phrases/verses:train)" in capsys.readouterr().err
    assert cli.main(["info", str(shared_head)]) == 0
    text = capsys.readouterr().out
    for part in ("recognizer", "swh (Swahili)", "0.75 hours, synthetic speech only", "scores      none yet"):
        assert part in text
    assert cli.main(["info", str(shared_head), "--languages"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert cli.main(["info", str(shared_head), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["history"]["hours"] == {"eng": 0.5, "swh": 0.25}


def test_runs_describe_their_data_and_scores(tone_data, tmp_path, capsys, monkeypatch):
    config = tone_experiment(tone_data)
    config.total_steps = 2
    train(config, str(tmp_path / "first"))
    from mms_jax.files import write_json

    write_json(tmp_path / "first" / "evaluation.json", evaluate(config, str(tmp_path / "first")))
    second = tone_experiment(tone_data)
    second.total_steps, second.init_from = 2, str(tmp_path / "first")
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr("mms_jax.train.listen_for_termination", lambda: contextlib.nullcontext(lambda step: 15))
        train(second, str(tmp_path / "second"))
    train(second, str(tmp_path / "second"))  # resumed: the origin is kept
    history = find_model(tmp_path / "second").description["history"]
    assert history["corpora"] == ["audio_folder/tones:train"] and not history["synthetic"]
    assert history["started_from"]["corpora"] == ["audio_folder/tones:train"]
    evaluation = find_model(tmp_path / "first").description["evaluation"]
    assert evaluation["corpora"] == ["audio_folder/tones:test"] and set(evaluation["cer_by_language"]) == {"eng", "swh"}
    assert cli.main(["info", str(tmp_path / "first")]) == 0
    assert "on audio_folder/tones:test, step 2" in capsys.readouterr().out


def test_stored_models_have_a_short_repr(shared_head):
    assert len(repr(find_model(shared_head))) < 120
