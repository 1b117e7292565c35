"""Claim: an aligner that is trained once more, on what it has aligned, aligns better.

A first aligner knows a few labeled chapters of eight languages. It aligns the others; a second one starts from it and is
trained on the result, and aligns them again. The exact times are known. A recognizer is then trained on each alignment, from
the same start and with the same updates, and scored on unseen voices.
"""

import pathlib

import matplotlib.pyplot as plt

from benchmarks.paper import label_minutes
from benchmarks.paper.language_model import draw_bars
from benchmarks.paper.study import Comparison, Results, Study, percent, save_figure, steps_arguments
from launch.quickstart.chapters import MIN_SCORE, align_chapters, prepare_aligned, score_alignments, write_chapters
from launch.steps import trains_on

TITLE = "a second round of alignment against the first"
LABELED = "spoken_phrases/labeled"
AHEAD = f"--config.input.eval_corpora=('{LABELED}:test',)"
ALIGNER_UPDATES = 400  # few, so that there is something left for the second round
FIRST, SECOND = "first", "second"


def run(study: Study) -> Results:
    """Boundary errors of both alignments, and the CER of recognizers that are trained on them."""
    aligner, chapters = first_aligner(study), study.folder / "chapters"
    if not chapters.exists():
        write_chapters(study.data, chapters)
    results: Results = {}
    model = aligner
    for number in (FIRST, SECOND):
        aligned = study.folder / f"aligned_{number}"
        corpus = f"aligned_chapters/{number}"
        if not (study.data / corpus).exists():
            align_chapters(study, f"align_{number}", chapters, model, aligned)
            prepare_aligned(study, number, aligned, f"--min_score={MIN_SCORE}")
        run_name = f"round_{number}"
        scores = recognizer(study, run_name, corpus, 0)
        results[number] = score_alignments(chapters, aligned) | {"cer": {"0": scores["cer"]}}
        model = study.folder / run_name
    for seed in range(1, study.budget.seeds):
        for number in (FIRST, SECOND):
            scores = recognizer(study, f"round_{number}_{seed}", f"aligned_chapters/{number}", seed)
            results[number]["cer"][str(seed)] = scores["cer"]
    return results


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
    """Boundary errors, lost verses, and test CER of the recognizers by round."""
    lines = [f"{'round':<10}{'median, ms':>12}{'95 %, ms':>12}{'lost':>8}{'CER, %':>16}"]
    for number, row in results.items():
        cer = percent(list(row["cer"].values()))
        lines.append(f"{number:<10}{row['median_ms']:>12.0f}{row['p95_ms']:>12.0f}{row['lost']:>8}{cer:>16}")
    return "\n".join(lines)


def compare(results: Results) -> Comparison:
    """Boundary errors and CER of both rounds."""
    cers = {number: percent(list(row["cer"].values())) for number, row in results.items()}
    errors = {
        number: f"{row['median_ms']:.0f} ms, 95 % below {row['p95_ms']:.0f} ms" for number, row in results.items()
    }
    return Comparison(
        "the released aligner is the second one, trained on 31,000 hours that the first (8,000 hours) aligned; no figures "
        "for the first",
        f"boundaries {errors[FIRST]}, then {errors[SECOND]}; CER {cers[FIRST]} %, then {cers[SECOND]} %",
        results[SECOND]["p95_ms"] < results[FIRST]["p95_ms"],
    )


def plot(results: Results, path: pathlib.Path) -> None:
    """Boundary errors and CER by round."""
    figure, (errors, cer) = plt.subplots(1, 2, figsize=(9, 4), constrained_layout=True)
    for number, (name, label) in enumerate((("median_ms", "median"), ("p95_ms", "95th percentile"))):
        errors.plot(list(results), [row[name] for row in results.values()], marker="o", color=f"C{number}", label=label)
    errors.set(xlabel="round", ylabel="error of a boundary (ms)", yscale="log")
    errors.legend()
    draw_bars(cer, {"unseen voices": [row["cer"]["0"] for row in results.values()]}, list(results))
    cer.set(xlabel="trained on the round", ylabel="character error rate (%)")
    save_figure(figure, path)
