"""The paper in miniature: its tables and pictures, its language model, wrong texts, and runs that are not repeated."""

import dataclasses
import json
import pathlib
import types

import numpy as np
import pytest
import soundfile

from benchmarks.paper import (
    adaptation,
    identification,
    label_minutes,
    language_model,
    languages,
    quality,
    reranking,
    second_round,
    zero_shot,
)
from benchmarks.paper.__main__ import SECTIONS, write_summary
from benchmarks.paper.study import Budget, Study, is_lower
from input_pipeline.corpora.audio_folder import Row
from mms_jax.decoding.beam import BeamDecoder, BeamSettings
from mms_jax.errors import CorpusError, InputError
from mms_jax.files import write_json
from mms_jax.reranking.weights import Weights

SCORES = {"accuracy": 0.12, "chance": 0.04, "cross_entropy": 3.7}


def results_of(section, effect):
    """Results as `run` returns them, after JSON: an effect of 1 is the paper's, -1 the opposite, 0 none."""
    good, bad = 0.3 - 0.1 * effect, 0.3 + 0.1 * effect
    if section is label_minutes:
        cer, steps = (
            {
                start: {minutes: dict.fromkeys("01", value) for minutes in ("5", "15")}
                for start, value in zip(("scratch", "hubert"), values)
            }
            for values in ((bad, good), (900, 800))
        )
        probe = {"scratch": {"15": {"0": 0.9}}, "hubert": {"15": {"0": 0.5}}}
        return {
            "minutes": [5, 15], "pretraining": {"hubert": SCORES}, "cer": cer, "probe": probe,
            "best_step": {"cer": steps, "probe": {}}, "updates": 1000,
        }  # fmt: skip
    if section is languages:
        counts = languages.COUNTS
        dense, adapted = (
            {
                str(count): {one: dict.fromkeys("01", 0.3 + slope * count / 1000) for one in languages.SCORED}
                for count in counts
            }
            for slope in (effect, 0)
        )
        return {"alone": dense["4"], "joint": dense, "longer": dense, "adapters": adapted}
    if section is adaptation:
        by_minutes = {minutes: dict.fromkeys("01", good) for minutes in ("5", "15")}
        return {"adapter": by_minutes, "all": by_minutes, "before": dict.fromkeys("01", bad)}
    if section is reranking:
        ways = dict(zip(reranking.WAYS, ({"accuracy": 1 - value, "cer": value} for value in (bad, good, 0.1))))
        return {"weights": vars(Weights()), "ways": ways, "recordings": 100}
    if section is zero_shot:
        row = {
            "wer": good,
            "chance": 0.45 if not effect else bad,
            "cer": 0.3,
            "greedy_cer": 0.5,
            "words": 90,
            "word_score": 0,
        }
        return {"nld": row, "bul": row}
    if section is identification:
        seeds = "01" if effect else "0"
        fall = {"10": 0.0, "20": 0.0, "40": 0.01 if effect > 0 else 0.1}
        figures = dict.fromkeys(
            ("accuracy", "macro_accuracy", "chance", "threshold", "false_reject", "false_accept"), 0.5
        )
        return {
            "names": {count: dict.fromkeys(seeds, 0.9 - less) for count, less in fall.items()},
            "speech": {name: dict.fromkeys(seeds, figures) for name in identification.HEARD},
        }
    if section is language_model:
        ways = dict(zip(language_model.WAYS, ({"wer": w, "cer": w / 2} for w in (bad, bad, good))))
        figures = {"lm_weight": 0.5, "word_score": 1.5, "unknown_words": 0.1}
        table = {one: {**ways, **figures} for one in languages.SCORED}
        if not effect:  # one language gains, the others lose nothing
            table["swh"] = {**table["swh"], language_model.WAYS[2]: {"wer": 0.1, "cer": 0.1}}
        return table
    if section is second_round:
        row = {"median_ms": 5.0, "lost": 0, "verses": 9, "within_200_ms": 1.0}
        return {
            "first": {**row, "p95_ms": 100 * bad, "cer": {"0": bad, "1": bad}},
            "control": {**row, "p95_ms": 100 * bad, "cer": {"0": bad, "1": bad}},
            "second": {**row, "p95_ms": 100 * good, "cer": {"0": good, "1": good}},
        }
    return {
        "filtered": {"right": 90, "wrong": 1, "cer": {"0": good, "1": good}},
        "unfiltered": {"right": 90, "wrong": 10, "cer": {"0": bad, "1": bad}},
        "right texts": {"cer": {"0": good, "1": good}},
    }


@pytest.mark.parametrize(("effect", "verdict"), [(1, "yes"), (-1, "no"), (0, "not told by these seeds")])
def test_summary_says_where_we_agree(effect, verdict, tmp_path):
    for name, section in SECTIONS.items():
        results = results_of(section, effect)
        write_json(tmp_path / f"{name}.json", {"budget": {"seeds": 2}, "results": results})
        section.plot(results, tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 5000
    summary = write_summary(tmp_path)
    rows = [line for line in summary.splitlines() if line.endswith(" |")][1:]
    assert len(rows) == len(SECTIONS)
    assert [line.split(" | ")[-1].rstrip(" |") for line in rows] == [verdict] * len(rows)
    change = {1: "-50", -1: "+100", 0: "+0"}[effect]
    assert f"hubert: {change} % CER with 15 minutes" in summary
    text = (tmp_path / "paper.md").read_text()
    assert "![quality](quality.png)" in text and "Budget: seeds 2." in text


def test_differences_within_the_spread_are_no_verdict():
    assert is_lower([0.1, 0.2], [0.3, 0.4]) is True
    assert is_lower([0.3, 0.4], [0.1, 0.2]) is False
    assert is_lower([0.1, 0.2], [0.14, 0.22]) is None
    assert is_lower([0.1], [0.9]) is None


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


def test_a_tenth_of_the_texts_is_exchanged_and_found_in_the_corpus(tmp_path, monkeypatch):
    chapters = tmp_path / "chapters"
    for language in ("swh", "eng"):
        (chapters / language).mkdir(parents=True)
        for chapter in range(4):
            lines = "".join(f"{language} {chapter} {verse}\n" for verse in range(10))
            (chapters / language / f"{language}_{chapter}.txt").write_text(lines)
    quality.exchange_texts(chapters)
    wrong = json.loads((chapters / quality.WRONG).read_text())
    assert sum(map(len, wrong.values())) == 8
    records = []
    for path in chapters.glob("*/*.txt"):
        for number, line in enumerate(path.read_text().splitlines()):
            own = f"{path.parent.name} {path.stem.rpartition('_')[2]} {number}"
            assert (line != own) == (number in wrong.get(path.stem, ()))
            assert line.startswith(path.parent.name)
            records.append({"id": f"{path.parent.name}/{path.stem}_{number + 1:04d}".encode(), "wrong": line != own})
    # Verses of a prepared corpus are numbered from 1: without the wrong ones, none is counted.
    opened = {"filtered": [one for one in records if not one["wrong"]], "unfiltered": records}
    monkeypatch.setattr(
        quality, "open_corpus", lambda name, split, data: types.SimpleNamespace(source=opened[name.partition("/")[2]])
    )
    study = Study(tmp_path, Budget())
    assert quality._kept(study, chapters, "filtered") == {"right": 72, "wrong": 0}
    assert quality._kept(study, chapters, "unfiltered") == {"right": 72, "wrong": 8}


def make_rows(tmp_path, **changes):
    """150 rows of ten seconds."""
    soundfile.write(tmp_path / "one.wav", np.zeros(16_000 * 10), 16_000)
    row = Row("0", tmp_path / "one.wav", "text", "swh", "one", "train")
    return [dataclasses.replace(row, identity=str(number), **changes) for number in range(150)]


def test_labels_are_nested_splits(tmp_path):
    table = label_minutes.make_table(make_rows(tmp_path), 5)
    assert table == label_minutes.make_table(make_rows(tmp_path), 15)
    splits = [line.split("\t")[-1] for line in table.splitlines()[1:]]
    assert {name: splits.count(name) for name in set(splits)} == {
        "test": 36, "validation": 18, "to5": 30, "to15": 60, "to30": 6,
    }  # fmt: skip
    unusable = [*make_rows(tmp_path, text=""), *make_rows(tmp_path, text="chapter 3")]
    relabeled = [dataclasses.replace(row, identity=f"x{row.identity}{row.text}") for row in unusable]
    assert label_minutes.make_table([*make_rows(tmp_path), *relabeled], 5) == table


def test_unfit_labels_are_named(tmp_path):
    with pytest.raises(CorpusError, match="end before 39 minutes, of which 9 are for dev and test"):
        label_minutes.make_table(make_rows(tmp_path), 30)
    with pytest.raises(CorpusError, match="by 2 speakers, as one and two"):
        label_minutes.make_table([*make_rows(tmp_path), *make_rows(tmp_path, speaker="two")], 5)
    with pytest.raises(CorpusError, match=r"missing.wav: cannot be read"):
        label_minutes.make_table(make_rows(tmp_path, path=tmp_path / "missing.wav"), 5)


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


def test_half_a_corpus_is_prepared_again(tmp_path):
    study = Study(tmp_path, Budget())
    (study.data / "spoken_names" / "swh" / "incomplete.AB_1.0.0").mkdir(parents=True)
    assert not study.is_prepared("spoken_names/swh")
    (study.data / "spoken_names" / "swh" / "1.0.0").mkdir()
    (study.data / "spoken_names" / "swh" / "1.0.0" / "dataset_info.json").touch()
    assert study.is_prepared("spoken_names/swh")
