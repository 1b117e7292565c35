"""Languages chosen by identifier and transcripts together: features by hand, weights that find a planted rule, commands."""

import json

import numpy as np
import pytest
import soundfile

import mms_jax
from mms_jax.alignment.reference import align_ctc_reference
from mms_jax.cli import main
from mms_jax.decoding.greedy import collapse
from mms_jax.errors import InputError
from mms_jax.inference.recognizer import log_softmax
from mms_jax.reranking.candidates import NEVER, Candidate, alignment_score, find_candidates, shortlist
from mms_jax.reranking.weights import Weights, tune_weights
from mms_jax.text.vocabulary import spell


@pytest.fixture(scope="module")
def models(fixture_file):
    folder = fixture_file("huggingface")
    return mms_jax.load(folder / "lid"), mms_jax.load(folder / "ctc")


def noise(seed=0, seconds=1.0):
    return np.random.default_rng(seed).normal(0, 0.1, int(16_000 * seconds)).astype(np.float32)


def test_features_of_a_candidate_by_hand(models):
    identifier, recognizer = models
    choice = shortlist(identifier, recognizer.languages, ["swh", "hin"], 10)
    [candidates] = find_candidates([noise()], choice, recognizer, aligner=None)
    assert sorted(one.language for one in candidates) == ["hin", "swh"]
    [named] = identifier.identify([noise()], top=len(identifier.languages))
    for one in candidates:
        log_probs = log_softmax(recognizer.logits([noise()], language=one.language)[0])
        text = spell(collapse(log_probs.argmax(-1)).tolist(), recognizer.vocabulary.tokens_of(one.language))
        probability = dict(named.languages).get(one.language)
        assert one.text == text and one.features[3] == len(text) and one.features[2] == 0.0
        np.testing.assert_allclose(one.features[1], log_probs.max(-1).sum(), rtol=1e-4)
        expected = np.log(probability) if probability is not None else NEVER
        np.testing.assert_allclose(one.features[0], expected, rtol=1e-4)
    order = [one.features[0] for one in candidates]
    assert order == sorted(order, reverse=True)


def test_alignment_is_that_of_the_reference(models):
    _, aligner = models
    first = aligner.languages[0]
    log_probs = log_softmax(aligner.logits([noise()], language=first)[0])
    tokens = aligner.vocabulary.tokens_of(first)
    letter = next(token for token in tokens if token.isalpha())
    labels = [tokens.index(letter)]
    _, score = align_ctc_reference(log_probs, np.asarray(labels))
    assert alignment_score(aligner, log_probs, letter, first) == pytest.approx(score, rel=1e-5)
    assert alignment_score(aligner, log_probs, "", first) == NEVER * len(log_probs)
    assert alignment_score(aligner, log_probs[:2], letter * 9, first) == NEVER * 2


def planted(count=300):
    """Recordings whose language the identifier confuses, and whose recognizer score tells: the right one is always lower."""
    rng = np.random.default_rng(0)
    candidates, spoken = [], []
    for _ in range(count):
        right, wrong = rng.permutation(["eng", "hin", "swh"])[:2].tolist()
        heard = rng.normal(-1.0, 0.5, 2)
        pair = [
            Candidate(right, "a", (float(heard[0]), -20.0, 0.0, 5.0)),
            Candidate(wrong, "b", (float(heard[1]), -60.0, 0.0, 5.0)),
        ]
        candidates.append(sorted(pair, key=lambda one: -one.features[0]))
        spoken.append(right)
    return candidates, spoken


def test_tuning_finds_the_feature_that_tells_on_recordings_it_has_not_seen():
    candidates, spoken = planted()
    weights = tune_weights(candidates[:100], spoken[:100], draws=500)

    def accuracy(by):
        return np.mean([by.best(own).language == language for own, language in zip(candidates[100:], spoken[100:])])

    assert 0.4 < accuracy(Weights()) < 0.6 and accuracy(weights) == 1.0


def test_tuning_measures_against_the_language_that_was_spoken():
    """Where no weights help, those of the identifier alone are kept: the first draw is never beaten by an equal one."""
    candidates = [[Candidate("eng", "a", (-0.1, -5.0, 0.0, 1.0)), Candidate("swh", "b", (-3.0, -5.0, 0.0, 1.0))]] * 5
    assert tune_weights(candidates, ["eng"] * 5, draws=50) == Weights()
    none = tune_weights(candidates, ["hin"] * 5, draws=50)
    assert none == Weights()


def test_of_equally_many_right_languages_the_fewest_errors_win():
    pair = [Candidate("eng", "a", (-1.0, -50.0, 0.0, 1.0)), Candidate("swh", "b", (-1.1, -5.0, 0.0, 1.0))]
    weights = tune_weights([pair], ["hin"], [[10, 2]], draws=200)
    assert weights.best(pair).language == "swh"


def test_candidates_that_cannot_be_are_refused(models):
    identifier, recognizer = models
    with pytest.raises(InputError, match="--candidates tur: the recognizer does not read them"):
        shortlist(identifier, recognizer.languages, ["tur"], 3)
    with pytest.raises(InputError, match="no language in common"):
        shortlist(identifier, ["qaa"], None, 3)
    scripts = shortlist(identifier, ["eng-script_latin", "eng-script_other"], None, 3)
    assert scripts.possible == ("eng-script_latin", "eng-script_other"), "a script cannot be heard"
    with pytest.raises(InputError, match="no recording to tune on"):
        tune_weights([], [])


def test_the_commands(fixture_file, tmp_path, capsys):
    folder = fixture_file("huggingface")
    lines = ["path\tlanguage\ttext"]
    for number, language in enumerate(("swh", "hin", "swh", "eng")):
        soundfile.write(tmp_path / f"{number}.wav", noise(number), 16_000)
        lines.append(f"{number}.wav\t{language}\ta b")
    table = tmp_path / "table.tsv"
    table.write_text("\n".join(lines) + "\n")
    models = ["--lid", str(folder / "lid"), "--model", str(folder / "ctc"), "--candidates", "swh,hin,eng"]
    weights = tmp_path / "weights.json"
    assert main(["rerank", *models, "--table", str(table), "--test", str(table), "--out", str(weights)]) == 0
    out = capsys.readouterr().out
    assert out.count("identifier alone") == 2 and out.count("re-ranked") == 2
    assert set(json.loads(weights.read_text())) == {"identifier", "recognizer", "alignment", "length"}
    auto = ["transcribe", str(tmp_path / "0.wav"), *models, "--lang", "auto", "--format", "json"]
    assert Weights.load(weights).alignment == 0.0, "no aligner, no weight"
    assert main([*auto, "--weights", str(weights)]) == 0
    assert json.loads(capsys.readouterr().out)["language"] in ("swh", "hin", "eng")
    assert main(auto) == 0
    assert json.loads(capsys.readouterr().out)["language"] in ("swh", "hin", "eng")
    for arguments, message in (
        ([*auto, "--top", "3"], "--aligner and --top belong to re-ranking"),
        (["transcribe", str(table), *models, "--lang", "swh"], "--top belong to --lang auto"),
        ([*auto, "--weights", str(table)], "table.tsv"),
        (
            ["rerank", *models, "--table", str(table), "--out", str(weights), "--top", "1"],
            "ranking needs two candidates",
        ),
    ):
        assert main(arguments) == 1
        assert message in capsys.readouterr().err
    Weights(alignment=1.0).save(weights)
    assert main([*auto, "--weights", str(weights)]) == 1
    assert "was tuned with an aligner; give the same --aligner" in capsys.readouterr().err
