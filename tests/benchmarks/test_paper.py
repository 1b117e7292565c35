"""The paper in miniature: its tables and pictures, its language model, wrong texts, and runs that are not repeated."""

import json
import os
import pathlib

import numpy as np
import pytest
import soundfile

from benchmarks.paper import label_minutes, language_model, languages, quality, second_round
from benchmarks.paper.__main__ import SECTIONS, write_summary
from benchmarks.paper.study import Budget, Study
from input_pipeline.corpora.audio_folder import Row
from launch.steps import Steps
from mms_jax.decoding.beam import BeamDecoder, BeamSettings
from mms_jax.errors import CorpusError, InputError
from mms_jax.files import write_json

SCORES = {"accuracy": 0.12, "chance": 0.04, "cross_entropy": 3.7}


def results_of(section, helps):
    """Results as `run` returns them, after JSON; with `helps`, as the paper has them."""
    good, bad = (0.2, 0.4) if helps else (0.4, 0.2)
    if section is label_minutes:
        cer = {
            "scratch": {"5": {"0": bad, "1": bad}, "15": {"0": bad, "1": bad}},
            "hubert": {"5": {"0": good, "1": good}, "15": {"0": good, "1": good}},
        }
        probe = {"scratch": {"15": {"0": 0.9}}, "hubert": {"15": {"0": 0.5}}}
        return {"minutes": [5, 15], "pretraining": {"hubert": SCORES}, "cer": cer, "probe": probe}
    if section is languages:
        rows = {count: {one: {"0": good + count / 1000} for one in languages.SCORED} for count in languages.COUNTS}
        if not helps:
            rows[max(rows)] = {one: {"0": 0.01} for one in languages.SCORED}
        alone = {one: {"0": good} for one in languages.SCORED}
        return {"alone": alone, "joint": {str(count): row for count, row in rows.items()}}
    if section is language_model:
        ways = dict(zip(language_model.WAYS, ({"wer": w, "cer": w / 2} for w in (bad, bad, good))))
        return {one: {**ways, "lm_weight": 0.5, "word_score": 1.5} for one in languages.SCORED}
    if section is second_round:
        row = {"median_ms": 5.0, "lost": 0, "verses": 9, "within_200_ms": 1.0}
        return {
            "first": {**row, "p95_ms": 100 * bad, "cer": {"0": bad}},
            "second": {**row, "p95_ms": 100 * good, "cer": {"0": good}},
        }
    return {
        "filtered": {"right": 90, "wrong": 1, "cer": {"0": good}},
        "unfiltered": {"right": 90, "wrong": 10, "cer": {"0": bad}},
        "right texts": {"cer": {"0": good}},
    }


@pytest.mark.parametrize("helps", [True, False])
def test_summary_says_where_we_agree(helps, tmp_path):
    for name, section in SECTIONS.items():
        results = results_of(section, helps)
        write_json(tmp_path / f"{name}.json", {"results": results})
        section.plot(results, tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 5000
    summary = write_summary(tmp_path)
    rows = [line for line in summary.splitlines() if line.endswith(" |")][1:]
    assert len(rows) == len(SECTIONS)
    assert all(line.endswith("| yes |" if helps else "| no |") for line in rows)
    assert ("hubert: -50 % CER with 15 minutes" if helps else "hubert: +100 % CER with 15 minutes") in summary
    assert "![quality](quality.png)" in (tmp_path / "paper.md").read_text()


def test_bigrams_are_probabilities(tmp_path):
    """Read back: for every history, the probabilities of all words sum to one."""
    sentences = ["a b", "a c a", "b", "c c b a"]
    language_model.write_bigrams(tmp_path / "model.arpa", sentences)
    unigrams, backoff, bigrams = {}, {}, {}
    for line in (tmp_path / "model.arpa").read_text().splitlines():
        cells = line.split("\t")
        if len(cells) == 3:
            unigrams[cells[1]], backoff[cells[1]] = 10 ** float(cells[0]), 10 ** float(cells[2])
        elif len(cells) == 2:
            bigrams[tuple(cells[1].split())] = 10 ** float(cells[0])
    words = set(unigrams) - {"<s>"}
    assert sum(unigrams[word] for word in words) == pytest.approx(1, abs=1e-3)
    for history in ("<s>", "a", "b", "c"):
        total = sum(bigrams.get((history, word), backoff[history] * unigrams[word]) for word in words)
        assert total == pytest.approx(1, abs=1e-3)
    # Of four occurrences of a, one is before b: by hand.
    assert bigrams["a", "b"] == pytest.approx((1 - 0.5) / 4, rel=1e-3)
    tokens = ("<pad>", "<s>", "</s>", "<unk>", "|", "a", "b", "c")
    logits = np.log(np.full((6, len(tokens)), 1e-3, np.float32))
    for frame, token in enumerate("a|b|cc"):
        logits[frame, tokens.index(token)] = 0.0
    decoder = BeamDecoder(tokens, BeamSettings(lm=str(tmp_path / "model.arpa"), lm_weight=0.1))
    assert decoder.decode(logits)[0].startswith("a b")


def test_a_tenth_of_the_texts_is_exchanged(tmp_path):
    for language in ("swh", "eng"):
        (tmp_path / language).mkdir()
        for chapter in range(4):
            lines = "".join(f"{language} {chapter} {verse}\n" for verse in range(10))
            (tmp_path / language / f"{language}_{chapter}.txt").write_text(lines)
    quality.exchange_texts(tmp_path)
    wrong = json.loads((tmp_path / quality.WRONG).read_text())
    assert sum(map(len, wrong.values())) == 8
    for path in tmp_path.glob("*/*.txt"):
        for number, line in enumerate(path.read_text().splitlines()):
            own = f"{path.parent.name} {path.stem.rpartition('_')[2]} {number}"
            assert (line != own) == (number in wrong.get(path.stem, ()))
            assert line.startswith(path.parent.name)


def test_labels_are_nested_and_too_few_are_named(tmp_path):
    soundfile.write(tmp_path / "one.wav", np.zeros(16_000 * 10), 16_000)
    rows = [Row(str(number), tmp_path / "one.wav", "text", "swh", "one", "train") for number in range(150)]
    table = label_minutes.make_table(rows, (5, 15))
    splits = [line.split("\t")[-1] for line in table.splitlines()[1:]]
    assert {name: splits.count(name) for name in set(splits)} == {"test": 36, "validation": 18, "to5": 30, "to15": 60}
    with pytest.raises(CorpusError, match="end before 39 minutes, of which 9 are for dev and test"):
        label_minutes.make_table(rows, (30,))


class FakeStudy(Study):
    """Writes the scores of an evaluation instead of running commands."""

    def command(self, name, *arguments, show=False):
        workdir = next(word.partition("=")[2] for word in arguments if word.startswith("--workdir="))
        folder = pathlib.Path(workdir.replace("@best", "/best"))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "evaluation.json").write_text(json.dumps({"cer": 0.5, "name": name}))
        return ""


def test_runs_are_not_repeated_nor_confused(tmp_path):
    study = FakeStudy(tmp_path, Budget())
    first = study.evaluated("run", "asr_minutes", "--config.total_steps=5")
    (tmp_path / "run" / "evaluation.json").write_text(json.dumps({"cer": 0.1}))
    assert first["cer"] == 0.5 and study.evaluated("run", "asr_minutes", "--config.total_steps=5") == {"cer": 0.1}
    with pytest.raises(InputError, match=r"other settings \(--config.total_steps=5, --config.total_steps=6\)"):
        study.evaluated("run", "asr_minutes", "--config.total_steps=6")


def test_jobs_share_the_cores_and_a_failure_ends_them(tmp_path):
    steps, cores, done = Steps(tmp_path), [], []

    def job(number):
        cores.append(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else {0})
        done.append(number)
        if number == 3:
            raise InputError("job 3")

    with pytest.raises(InputError, match="job 3"):
        steps.side_by_side({str(number): lambda number=number: job(number) for number in range(4)})
    assert sorted(done) == [0, 1, 2, 3] and all(len(one) == 1 for one in cores)
