"""Evaluation and transcription of one checkpoint hear a recording in the same way."""

import numpy as np
import pytest
import soundfile

import mms_jax
from mms_jax import cli
from mms_jax.audio.waveform import NORM_EPSILON, normalize_waveform
from mms_jax.evaluate import evaluate
from tests.conftest import prepare_folder, tone_experiment

COUNT = 4


@pytest.fixture
def quiet_data(tmp_path):
    """Quiet recordings, whose variance is near the epsilon of their normalization."""
    rng = np.random.default_rng(0)
    lines = ["path\ttext\tlanguage\tsplit"]
    for number in range(COUNT):
        waveform = 2e-3 * rng.normal(size=24_000) * np.repeat(rng.uniform(0.2, 2.0, 60), 400)
        soundfile.write(tmp_path / f"{number}.flac", waveform, 16_000, subtype="PCM_16")
        lines.append(f"{number}.flac\ta\tswh\ttest")
    (tmp_path / "table.tsv").write_text("\n".join(lines) + "\n")
    return prepare_folder("quiet", tmp_path / "table.tsv", tmp_path / "data")


@pytest.mark.parametrize("normalizes", [True, False])
def test_quiet_recordings_have_one_transcript(quiet_data, fixture_file, tmp_path, monkeypatch, normalizes):
    """A converted Hugging Face model adds 1e-7 to the variance, or nothing where it does not normalize at all."""
    folder = tmp_path / "model"
    assert cli.main(["convert", str(fixture_file("huggingface") / "ctc"), str(folder), "--lang", "swh"]) == 0
    stored = mms_jax.load(folder)
    if not normalizes:
        from mms_jax.checkpoint import StoredModel, load_model, save_model

        model = load_model(folder)
        geometry = model.description["model"] | {"waveform_epsilon": None}
        folder = tmp_path / "raw"
        save_model(folder, StoredModel(0, model.description | {"model": geometry}, model.params))
        stored = mms_jax.load(folder)

    heard = {}

    def remember(references, hypotheses, languages):
        heard.update(enumerate(hypotheses))
        return {"cer": 0.0, "wer": 0.0, "utterances": len(hypotheses), "by_language": {}}

    monkeypatch.setattr("mms_jax.tasks.asr.metrics.error_rates", remember)
    config = tone_experiment(quiet_data)
    config.input.eval_corpora = ("audio_folder/quiet:test",)
    config.input.batch_seconds = 48.0
    evaluate(config, str(folder))

    files = [str(tmp_path / f"{number}.flac") for number in range(COUNT)]
    transcripts = [transcript.text for transcript in stored.transcribe(files, language="swh")]
    assert sorted(heard.values()) == sorted(transcripts)
    # The constant of before would have been heard: it moves such recordings a lot.
    waveform, _ = soundfile.read(files[0])
    ratio = normalize_waveform(waveform, 1e-7).std() / normalize_waveform(waveform, NORM_EPSILON).std()
    assert ratio > 1.5
