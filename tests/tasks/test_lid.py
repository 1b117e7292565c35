"""Language identification: figures beside their definitions, a run that learns, unknown languages, segments."""

import json

import numpy as np
import pytest
import scipy.special
import soundfile

import mms_jax
from mms_jax.checkpoint import load_model
from mms_jax.cli import main
from mms_jax.config import default_config
from mms_jax.errors import ConfigError, CorpusError
from mms_jax.evaluate import evaluate
from mms_jax.files import write_json
from mms_jax.inference.identifier import likeliest_languages, window_around
from mms_jax.tasks.lid.metrics import confusion_shares, format_table, write_result
from mms_jax.tasks.lid.scores import calibration_error, fit_temperature, identification_scores, operating_point
from mms_jax.text.language_list import UNKNOWN, LanguageList
from mms_jax.train import train
from tests.conftest import prepare_folder, tone_experiment


def pitch_table(folder, counts):
    """Recordings of one tone, whose pitch is the language: {language: (hertz, recordings of train, of test)}."""
    rng = np.random.default_rng(0)
    lines = ["path\ttext\tlanguage\tspeaker\tsplit"]
    for language, (hertz, *numbers) in counts.items():
        for split, number in zip(("train", "test"), numbers):
            for index in range(number):
                seconds = np.arange(rng.integers(9000, 20_000)) / 16_000
                wave = 0.3 * np.sin(2 * np.pi * hertz * rng.uniform(0.97, 1.03) * seconds)
                name = f"{language}_{split}_{index}.flac"
                soundfile.write(folder / name, wave + rng.normal(0, 0.02, len(wave)), 16_000)
                lines.append(f"{name}\t\t{language}\tone\t{split}")
    table = folder / "table.tsv"
    table.write_text("\n".join(lines) + "\n")
    return table


@pytest.fixture(scope="module")
def pitches(tmp_path_factory):
    """Three languages by pitch, of which one has two scripts and another a single recording; and one for tests only."""
    counts = {
        "swh": (300, 30, 8), "eng": (600, 30, 8), "uzb-script_latin": (1200, 20, 4), "uzb-script_cyrillic": (1200, 20, 4),
        "hin": (2400, 1, 1),
    }  # fmt: skip
    folder = tmp_path_factory.mktemp("pitches")
    data = prepare_folder("pitches", pitch_table(folder, counts), tmp_path_factory.mktemp("data"))
    strange = tmp_path_factory.mktemp("strange")
    return prepare_folder("strange", pitch_table(strange, {"tur": (4800, 1, 6), "swh": (300, 1, 6)}), data)


def experiment(data):
    config = tone_experiment(data, "lid")
    config.lid.latent = 16
    config.input.corpora = ("audio_folder/pitches:train",)
    config.input.dev_corpora = config.input.eval_corpora = ("audio_folder/pitches:test",)
    config.input.bucket_seconds = (1.0,)
    config.input.batch_seconds = 16.0
    config.optimizer.learning_rate = 5e-3
    config.optimizer.schedule = "constant"
    config.optimizer.warmup = 0.05
    config.total_steps, config.log_every, config.eval_every = 200, 50, 100
    config.checkpoint.every, config.checkpoint.best = 100, "macro_accuracy"
    return config


@pytest.fixture(scope="module")
def run(pitches, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    train(experiment(pitches), str(folder))
    return folder


def test_an_identifier_learns_and_its_best_checkpoint_is_calibrated(run, pitches, capsys):
    result = evaluate(experiment(pitches), f"{run}@best")
    assert result["accuracy"] > 0.9 > 2 * result["chance"]
    assert list(result["by_language"]) == ["eng", "hin", "swh", "uzb-script_cyrillic", "uzb-script_latin"]
    model = mms_jax.load(f"{run}@best")
    assert model.languages == ("eng", "hin", "swh", "uzb")
    chosen = load_model(f"{run}@best").description["chosen"]
    assert (model.temperature, model.threshold) == (chosen["temperature"], chosen["threshold"])
    assert result["temperature"] == chosen["temperature"]
    assert "unknown below a probability of" in format_table(result)
    write_json(run / "best" / "evaluation.json", result)
    assert main(["info", f"{run}@best"]) == 0
    assert "English" in (shown := capsys.readouterr().out) and "accuracy" in shown


def test_languages_that_the_model_lacks_are_scored_as_unknown(run, pitches):
    config = experiment(pitches)
    config.input.eval_corpora = ("audio_folder/strange:test",)
    result = evaluate(config, f"{run}@best")
    assert (result["utterances"], result["unknown_languages"]) == (6, 6)
    assert sum(result["confusions"]["tur"].values()) == 6 and "tur" not in result["by_language"]
    assert "(6 in unknown languages)" in format_table(result)


def test_an_identifier_starts_from_another_with_other_languages(run, pitches, tmp_path, carried_over):
    config = experiment(pitches)
    config.init_from = str(run)
    config.input.corpora = ("audio_folder/strange:train",)
    config.total_steps, config.eval_every, config.checkpoint.best = 1, 0, ""
    train(config, str(tmp_path))
    assert "taken  classifier" in carried_over[0] and "1 of 2 languages taken" in carried_over[0]
    config.lid.latent = 8
    with pytest.raises(ConfigError, match=r"config.lid.latent=8, and the identifier to start from has 16"):
        train(config, str(tmp_path / "other"))


def test_one_language_cannot_be_told_from_itself(reader_data, tmp_path):
    config = tone_experiment(reader_data, "lid")
    config.input.corpora = ("audio_folder/reader:train",)
    with pytest.raises(CorpusError, match="the corpora hold one language, swh"):
        train(config, str(tmp_path))
    config.lid.activation = "softplus"
    with pytest.raises(ConfigError, match=r"config.lid.activation='softplus'; choose linear"):
        train(config, str(tmp_path))


def test_segments_follow_a_recording_that_changes_its_language(run, tmp_path, capsys):
    seconds = np.arange(16_000 * 12) / 16_000
    rng = np.random.default_rng(1)
    wave = 0.3 * np.sin(2 * np.pi * np.where(seconds < 6.0, 300, 1200) * seconds) + rng.normal(0, 0.02, len(seconds))
    soundfile.write(tmp_path / "both.wav", wave, 16_000)
    model = mms_jax.load(f"{run}@best")
    [found] = model.segments_each([str(tmp_path / "both.wav")])
    assert [part.language for part in found.segments] == ["swh", "uzb"]
    assert abs(found.segments[0].end - 6.0) <= 2.0  # every judgment hears two seconds to either side
    assert (found.segments[0].start, found.segments[-1].end) == (0.0, found.seconds)
    assert main(["identify", str(tmp_path / "both.wav"), "--model", f"{run}@best", "--segments"]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [line[2].rstrip("?") for line in lines] == ["swh", "uzb"]
    command = ["identify", str(tmp_path / "both.wav"), "--model", f"{run}@best", "--segments", "--format", "json"]
    assert main(command) == 0
    parts = json.loads(capsys.readouterr().out)["segments"]
    assert [part["language"] for part in parts] == ["swh", "uzb"]


def test_an_answer_below_the_threshold_is_unknown(run, tmp_path, capsys):
    rng = np.random.default_rng(2)
    soundfile.write(tmp_path / "noise.wav", rng.normal(0, 0.1, 32_000), 16_000)
    model = mms_jax.load(f"{run}@best")
    model.threshold = 1.1
    [found] = model.identify([str(tmp_path / "noise.wav")])
    assert found.unknown and "unknown, perhaps" in repr(found)


def test_scripts_of_a_language_are_one():
    languages = LanguageList(("swh", "uzb"))
    assert languages.language_index("uzb-script_latin") == 1
    assert languages.language_index("tur") == UNKNOWN


def test_temperature_is_the_one_that_the_logits_were_scaled_by():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2.0, (20_000, 5))
    probabilities = scipy.special.softmax(logits, axis=1)
    truth = np.asarray([rng.choice(5, p=row) for row in probabilities])
    assert abs(fit_temperature(3.0 * logits, truth) - 3.0) < 0.15
    best, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    assert calibration_error(best, right) < 0.02
    over = scipy.special.softmax(3.0 * logits, axis=1).max(axis=1)
    assert calibration_error(over, right) > 0.1


def test_operating_point_counts_refusals_and_acceptances():
    probability = np.asarray([0.9, 0.8, 0.7, 0.2, 0.95, 0.3])
    right = np.asarray([True, True, True, True, False, False])
    point = operating_point(probability, right, threshold=0.5)
    assert point == {"threshold": 0.5, "false_reject": 0.25, "false_accept": 0.5}
    unsure = operating_point(np.linspace(0, 1, 101), np.ones(101, bool))
    assert abs(unsure["false_reject"] - 0.05) < 0.01 and unsure["false_accept"] == 0.0
    assert operating_point(np.full(10, 0.9), np.ones(10, bool))["threshold"] == 0.5


def test_scores_beside_counts_by_hand(tmp_path):
    logits = np.asarray([[3.0, 1, 0], [2, 1, 0], [0, 5, 1], [0, 1, 2], [1, 4, 0]])
    truth, spoken = np.asarray([0, 1, 1, 2, -1]), ["eng", "hin", "hin", "swh", "tur"]
    result = identification_scores(logits, truth, spoken, ["eng", "hin", "swh"])
    assert result["accuracy"] == 0.75 and result["macro_accuracy"] == pytest.approx((1 + 0.5 + 1) / 3)
    assert result["confusions"] == {"hin": {"eng": 1}, "tur": {"hin": 1}} and result["chance"] == 0.5
    shares = confusion_shares(result, ["eng", "hin", "swh", "tur"], ["eng", "hin", "swh"])
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)
    assert shares[1].tolist() == [0.5, 0.5, 0.0]
    write_result(result, tmp_path)
    assert (tmp_path / "confusion.png").stat().st_size > 1000


def test_a_change_of_language_needs_a_few_seconds():
    sure = np.asarray([[4.0, 0.0]] * 10 + [[0.0, 4.0]] + [[4.0, 0.0]] * 10)
    assert likeliest_languages(sure, evidence=8).tolist() == [0] * 21
    both = np.asarray([[8.0, 0.0]] * 20 + [[0.0, 8.0]] * 20)
    assert likeliest_languages(both, evidence=8).tolist() == [0] * 20 + [1] * 20


def test_windows_are_four_seconds_around_a_second():
    waveform = np.arange(16_000 * 10)
    assert window_around(waveform, 0.0)[[0, -1]].tolist() == [0, 63_999]
    assert window_around(waveform, 5.0)[[0, -1]].tolist() == [56_000, 119_999]
    assert window_around(waveform, 9.0)[[0, -1]].tolist() == [96_000, 159_999]
    assert len(window_around(waveform[:9000], 0.0)) == 9000


def test_defaults_are_the_papers():
    config = default_config("lid")
    assert config.lid.latent == 1024 and config.optimizer.learning_rate in (3e-6, 5e-6, 7e-6, 1e-5, 3e-5)
    assert config.fine_tuning.freeze_backbone == 0.0
