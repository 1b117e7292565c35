"""Claim: dropping what aligns badly makes a better corpus.

A tenth of the verses of the shipped corpus's chapters gets the text of another verse of the same language. The chapters are
aligned by the first aligner and cut into a corpus, with and without the filter of scores and confidence; a recognizer is
trained on each, and one on the right texts.
"""

import json
import pathlib
import shutil
from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np

from benchmarks.paper import second_round
from benchmarks.paper.study import Comparison, Results, Study, draw_mean_cers, is_lower, percent, save_figure
from input_pipeline.corpora.storage import as_text, open_corpus
from launch.quickstart.chapters import MIN_SCORE, align_chapters, prepare_aligned, write_chapters
from mms_jax.files import write_json, write_text

TITLE = "the filter of alignments on against off, with a tenth of the texts wrong"
WRONG_SHARE = 0.1
WRONG = "wrong_texts.json"  # in the folder of chapters: the numbers of the wrong verses by chapter
RULES = {
    "filtered": (f"--min_score={MIN_SCORE}",),
    "unfiltered": ("--min_score=-1000", "--min_confidence=0"),
}
RIGHT = "right texts"


def run(study: Study) -> Results:
    """CER by corpus and seed, and how many right and wrong verses each keeps."""
    aligner = second_round.first_aligner(study)
    chapters, aligned = study.folder / "wrong_chapters", study.folder / "aligned_wrong"
    if not (chapters / WRONG).exists():
        shutil.rmtree(chapters, ignore_errors=True)
        write_chapters(study.data, chapters)
        exchange_texts(chapters)
    missing = [name for name in RULES if not study.is_prepared(f"aligned_chapters/{name}")]
    if missing:
        align_chapters(study, "align_wrong", chapters, aligner, aligned)
    for name in missing:
        prepare_aligned(study, name, aligned, *RULES[name])
    second_round.first_alignment(study)  # the right texts
    results: Results = {name: {"cer": {}, **_kept(study, chapters, name)} for name in RULES}
    results[RIGHT] = {"cer": {}}
    jobs: dict[str, Callable[[], object]] = {}
    for seed in range(study.budget.seeds):
        for name, alignment in zip(results, (*RULES, second_round.FIRST)):
            jobs[f"{name} {seed}"] = second_round.score_job(study, results[name]["cer"], alignment, seed)
    study.side_by_side(jobs)
    return results


def exchange_texts(chapters: pathlib.Path) -> None:
    """Gives a tenth of the verses the text of another verse of the same language, and notes which, in WRONG."""
    rng = np.random.default_rng(0)
    wrong: dict[str, list[int]] = {}
    for folder in sorted(path for path in chapters.iterdir() if path.is_dir()):
        texts = {path: path.read_text(encoding="utf-8").splitlines() for path in sorted(folder.glob("*.txt"))}
        places = [(path, number) for path, lines in texts.items() for number in range(len(lines))]
        every = sorted({line for lines in texts.values() for line in lines})
        for place in rng.choice(len(places), round(WRONG_SHARE * len(places)), replace=False):
            path, number = places[place]
            others = [line for line in every if line != texts[path][number]]
            texts[path][number] = others[rng.integers(len(others))]
            wrong.setdefault(path.stem, []).append(int(number))
        for path, lines in texts.items():
            write_text(path, "\n".join(lines) + "\n")
    write_json(chapters / WRONG, wrong)


def _kept(study: Study, chapters: pathlib.Path, name: str) -> dict[str, int]:
    """How many verses of a corpus have their own text, and how many have another."""
    wrong = json.loads((chapters / WRONG).read_text())
    kept = {"right": 0, "wrong": 0}
    for record in open_corpus(f"aligned_chapters/{name}", "train", study.data).source:
        chapter, _, number = as_text(record["id"]).rpartition("_")  # verses of a corpus count from 1
        kept["wrong" if int(number) - 1 in wrong.get(chapter.rpartition("/")[2], ()) else "right"] += 1
    return kept


def format_table(results: Results) -> str:
    """Verses kept and test CER by corpus."""
    lines = [f"{'corpus':<14}{'right verses':>14}{'wrong verses':>14}{'CER, %':>16}"]
    for name, row in results.items():
        cer = percent(list(row["cer"].values()))
        lines.append(f"{name:<14}{row.get('right', '-'):>14}{row.get('wrong', '-'):>14}{cer:>16}")
    return "\n".join(lines)


def compare(results: Results) -> Comparison:
    """CER with and without the filter."""
    cers = {name: list(row["cer"].values()) for name, row in results.items()}
    kept = {name: f"{results[name]['right']} right and {results[name]['wrong']} wrong verses" for name in RULES}
    return Comparison(
        "verses with a score below -0.2 or a CER above 10 % are dropped (1.7 % of them), and recordings above 5 %: 1,239 of "
        "1,306 stay; no figures without",
        "; ".join(f"{name}: {kept[name]}, CER {percent(cers[name])} %" for name in RULES)
        + f"; {RIGHT}: {percent(cers[RIGHT])} %",
        is_lower(cers["filtered"], cers["unfiltered"]),
    )


def plot(results: Results, path: pathlib.Path) -> None:
    """Mean CER by corpus."""
    figure, axis = plt.subplots(figsize=(6, 4), constrained_layout=True)
    draw_mean_cers(axis, results, "trained on")
    save_figure(figure, path)
