"""Claim: an aligner that is trained once more, on what it has aligned, aligns better.

A first aligner knows a few labeled chapters of eight languages. It aligns the others; a second one starts from it and is
trained on the result, and aligns them again; a control is trained on the labeled chapters for as many updates instead. The
exact times are known. A recognizer is then trained on each alignment, from the first aligner and with the same updates, and
scored on unseen voices.
"""

import pathlib
from collections.abc import Callable

import matplotlib.pyplot as plt

from benchmarks.paper import label_minutes
from benchmarks.paper.study import (
    Comparison,
    Results,
    Study,
    draw_mean_cers,
    is_lower,
    percent,
    save_figure,
    steps_arguments,
)
from launch.quickstart.chapters import (
    MIN_SCORE,
    TIMES,
    align_chapters,
    prepare_aligned,
    score_alignments,
    write_chapters,
)
from launch.steps import trains_on

TITLE = "a second round of alignment against the first"
LABELED = "spoken_phrases/labeled"
AHEAD = f"--config.input.eval_corpora=('{LABELED}:test',)"
CHAPTERS = "chapters"  # a folder of the study
ALIGNER_UPDATES = 400  # few, so that there is something left for the second round
FIRST, CONTROL, SECOND = "first", "control", "second"


def run(study: Study) -> Results:
    """Boundary errors of both alignments, and the CER of recognizers that are trained on them."""
    first_alignment(study)
    recognizer(study, CONTROL, LABELED, 0)
    recognizer(study, run_name(FIRST, 0), f"aligned_chapters/{FIRST}", 0)  # the second aligner has learned from it
    align(study, CONTROL, study.folder / CONTROL)
    align(study, SECOND, study.folder / run_name(FIRST, 0))
    results: Results = {}
    for name in (FIRST, CONTROL, SECOND):
        results[name] = score_alignments(study.folder / CHAPTERS, study.folder / f"aligned_{name}") | {"cer": {}}
    jobs: dict[str, Callable[[], object]] = {}
    for seed in range(study.budget.seeds):
        for name in results:
            jobs[run_name(name, seed)] = score_job(study, results[name]["cer"], name, seed)
    study.side_by_side(jobs)
    return results


def run_name(alignment: str, seed: int) -> str:
    """The folder of a recognizer that is trained on an alignment."""
    return f"on_{alignment}_{seed}"


def score_job(study: Study, table: dict[str, float], name: str, seed: int) -> Callable[[], None]:
    """A job that trains a recognizer on an alignment and enters its CER in `table`, by seed."""

    def job() -> None:
        table[str(seed)] = recognizer(study, run_name(name, seed), f"aligned_chapters/{name}", seed)["cer"]

    return job


def first_alignment(study: Study) -> None:
    """The corpus aligned_chapters/first: the chapters with their texts, cut by the first aligner."""
    align(study, FIRST, first_aligner(study))


def align(study: Study, name: str, model: pathlib.Path) -> None:
    """The corpus aligned_chapters/NAME, cut by an aligner, unless the study already has it."""
    chapters, aligned = study.folder / CHAPTERS, study.folder / f"aligned_{name}"
    if not (chapters / TIMES).exists():
        write_chapters(study.data, chapters)
    if not study.is_prepared(f"aligned_chapters/{name}"):
        align_chapters(study, f"align_{name}", chapters, model, aligned)
        prepare_aligned(study, name, aligned, f"--min_score={MIN_SCORE}")


def first_aligner(study: Study) -> pathlib.Path:
    """A recognizer of few labeled chapters, from the first encoder."""
    encoder = study.budget.encoders[0]
    label_minutes.encoder(study, encoder)
    for kind in ("chapters", "labeled"):
        study.prepare(f"spoken_phrases/{kind}", "spoken_phrases", f"--config={kind}")
    start = f"--config.init_from={study.folder / encoder}"
    study.evaluated(
        "aligner", "asr_phrases", *steps_arguments(ALIGNER_UPDATES), trains_on(f"{LABELED}:train"), AHEAD, start
    )
    return study.folder / "aligner"


def recognizer(study: Study, name: str, corpus: str, seed: int) -> dict:
    """Trains the first aligner further on a corpus; returns the scores on unseen voices."""
    start = f"--config.init_from={study.folder / 'aligner'}"
    updates = steps_arguments(study.budget.updates, seed)
    return study.evaluated(name, "asr_phrases", *updates, trains_on(f"{corpus}:train"), AHEAD, start)


def format_table(results: Results) -> str:
    """Boundary errors, lost verses, and test CER of the recognizers by alignment."""
    lines = [f"{'aligner':<10}{'median, ms':>12}{'95 %, ms':>12}{'lost':>8}{'CER, %':>16}"]
    for name, row in results.items():
        cer = percent(list(row["cer"].values()))
        lines.append(f"{name:<10}{row['median_ms']:>12.0f}{row['p95_ms']:>12.0f}{row['lost']:>8}{cer:>16}")
    return "\n".join(lines)


def compare(results: Results) -> Comparison:
    """Boundary errors and CER of the first alignment, the control and the second one."""
    errors = [f"{row['median_ms']:.0f} ms (95 % below {row['p95_ms']:.0f} ms) {name}" for name, row in results.items()]
    cers = [f"{percent(list(row['cer'].values()))} %" for row in results.values()]
    others = [list(results[name]["cer"].values()) for name in (FIRST, CONTROL)]
    lower = [is_lower(list(results[SECOND]["cer"].values()), other) for other in others]
    return Comparison(
        "the released aligner is the second one, trained on 31,000 hours that the first (8,000 hours) aligned; no figures "
        "for the first",
        f"boundaries {', '.join(errors)}; CER on each {', '.join(cers)}",
        False if False in lower else None if None in lower else True,
    )


def plot(results: Results, path: pathlib.Path) -> None:
    """Boundary errors and CER by alignment."""
    figure, (errors, cer) = plt.subplots(1, 2, figsize=(9, 4), constrained_layout=True)
    for number, (name, label) in enumerate((("median_ms", "median"), ("p95_ms", "95th percentile"))):
        errors.plot(list(results), [row[name] for row in results.values()], marker="o", color=f"C{number}", label=label)
    errors.set(xlabel="aligner", ylabel="error of a boundary (ms)", ylim=(0, None))
    errors.legend()
    draw_mean_cers(cer, results, "trained on the alignment")
    save_figure(figure, path)
