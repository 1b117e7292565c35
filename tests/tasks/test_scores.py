"""Error rates beside counts by hand, intervals beside simulation, Whisper's normalization, the files of a report."""

import json

import jiwer
import numpy as np
import pytest

from mms_jax.errors import ConfigError
from mms_jax.evaluate import evaluate, is_run, result_folder
from mms_jax.tasks.asr.metrics import write_result
from mms_jax.tasks.asr.published import check_published
from mms_jax.tasks.asr.scores import bootstrap, error_rates, format_table, normalized, to_markdown
from mms_jax.train import train

REFERENCES = ["abcd ef", "ab", "xyz", ""]
HYPOTHESES = ["abed ef", "ab", "", "noise"]
LANGUAGES = ["eng", "eng", "swh", "swh"]


def test_rates_by_hand():
    result = error_rates(REFERENCES, HYPOTHESES, LANGUAGES)
    assert result["by_language"]["eng"]["cer"] == pytest.approx(1 / 9) and result["by_language"]["swh"]["cer"] == 1.0
    assert result["cer"] == pytest.approx(4 / 12) and result["wer"] == pytest.approx(2 / 4)
    assert result["macro_cer"] == pytest.approx((1 / 9 + 1) / 2) and result["utterances"] == 3
    assert result["cer"] == pytest.approx(jiwer.cer(REFERENCES[:3], HYPOTHESES[:3]))
    low, high = result["cer_interval"]
    assert low <= result["cer"] <= high


def test_the_worst_utterances_stand_below_each_other():
    worst = error_rates(REFERENCES, HYPOTHESES, LANGUAGES)["worst"]
    assert worst[0] == {"language": "swh", "cer": 1.0, "reference": "xyz", "hypothesis": "***"}
    assert (worst[1]["reference"], worst[1]["hypothesis"]) == ("abcd ef", "abed ef")
    [longer] = error_rates(["ac"], ["abc"], ["eng"])["worst"]
    assert (longer["reference"], longer["hypothesis"]) == ("a*c", "abc")


def test_intervals_hold_the_true_rate_as_often_as_they_say():
    """Corpora drawn from one rate: nine in ten intervals or more hold it (95 % in the limit)."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(20, 60, 80)
    held = 0
    for trial in range(60):
        low, high = bootstrap(rng.binomial(sizes, 0.2), sizes, seed=trial)
        held += low <= 0.2 <= high
    assert held >= 54


def test_whispers_normalizer_is_applied_by_language():
    texts = ["the colour isn't", "le café"]
    assert normalized(texts, ["eng", "fra"], "mms") == texts
    assert normalized(texts, ["eng", "fra"], "whisper") == ["the color is not", "le café"]
    with pytest.raises(ConfigError, match=r"config.scoring.normalization='whisprr'; choose mms or whisper"):
        normalized([], [], "whisprr")


def test_a_corpus_without_transcripts_has_no_rate():
    result = error_rates([""], ["a"], ["eng"])
    assert np.isnan(result["cer"]) and result["utterances"] == 0


def test_an_evaluation_is_written_as_json_table_and_report(tone_config, tmp_path):
    tone_config.total_steps = 2
    train(tone_config, str(tmp_path))
    result = evaluate(tone_config, str(tmp_path))
    write_result(result, tmp_path)
    rows = [line.split("\t") for line in (tmp_path / "evaluation.tsv").read_text().splitlines()]
    assert rows[0][0] == "language" and [row[0] for row in rows[1:]] == ["eng", "swh", "all"]
    assert float(rows[-1][1]) == pytest.approx(result["cer"], abs=1e-6)
    report = (tmp_path / "evaluation.md").read_text()
    assert "| all |" in report and "utterances with the most errors" in report
    assert "mean" in format_table(result)
    json.dumps(result)


def test_a_model_of_another_program_is_evaluated_by_the_same_command(tone_config, fixture_file, tmp_path, monkeypatch):
    model = str(fixture_file("huggingface") / "ctc")
    monkeypatch.chdir(tmp_path)
    result = evaluate(tone_config, model)
    assert set(result["by_language"]) == {"eng", "swh"} and result["checkpoint"] == "the one that was named"
    folder = result_folder(model)
    assert folder.parent.name == "evaluations" and folder.is_dir() and not is_run(model)
    assert is_run(str(tmp_path)) and is_run("runs/mine@best") and is_run("nowhere")
    assert not is_run("facebook/mms-1b-all")


def test_published_figures_stand_beside_ours():
    result = error_rates(["abcd", "abcd"], ["abcx", "abcd"], ["eng", "swh"])
    plain = format_table(result)
    table = format_table(result | {"published": "fleurs"})
    assert table.startswith(plain) and "FLEURS" not in plain
    ours = next(line for line in table.splitlines() if line.startswith("this model"))
    assert ours.split()[-1] == "12.5" and "2 languages" in ours  # 25 and 0 %
    english = next(line for line in table.splitlines() if line.startswith("eng:"))
    assert " 4.3 " in english and english.endswith("this model 25.0")
    assert not any(line.startswith("swh:") for line in table.splitlines())
    assert "FLEURS" in to_markdown(result | {"published": "fleurs"})
    spoken = error_rates(["ab cd", "ab cd"], ["ab cx", "ab cx"], ["tha", "eng"]) | {"published": "fleurs54"}
    mean = next(line for line in format_table(spoken).splitlines() if line.startswith("this model"))
    assert mean.split()[-1] == "35.0"  # 20 % of Thai's characters, 50 % of the English words
    words = format_table(result | {"published": "mls"})
    assert "WER %, mean over languages" in words and "50.0" in words


def test_an_unknown_test_set_is_refused():
    check_published("", ["anything"])
    check_published("fleurs", ["catalog/fleurs_swh:test"])
    for name, corpus in (
        ("fleurs", "catalog/fleurs_swh:validation"),
        ("librispeech", "catalog/librispeech_eng:test_other"),
    ):
        with pytest.raises(ConfigError, match=f"has no figures of {corpus}"):
            check_published(name, [corpus])
    with pytest.raises(ConfigError, match="choose fleurs, fleurs54"):
        check_published("flours")
