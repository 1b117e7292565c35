"""Claim: an identifier of many languages is hardly worse than one of few.

Identifiers of 10, 20, and 40 languages of synthetic names, with the same number of updates and from the same encoder, are
scored on the test of the first ten: names that no training has, by unseen voices. One more identifier learns from natural
speech, and is scored twice: on held-out clips of the sets that it has heard, and on a set that it has not.
"""

import functools
import pathlib
from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt

from benchmarks.paper import label_minutes, languages
from benchmarks.paper.study import Comparison, Results, Study, draw_curve, percent, save_figure, steps_arguments
from input_pipeline.corpora.spoken_names import LANGUAGES
from input_pipeline.corpora.unlabeled import SETS
from launch.steps import trains_on

TITLE = "identification of many languages against few"
COUNTS = (10, 20, 40)
SCORED = tuple(LANGUAGES)[: min(COUNTS)]
HEARD = ("heard", "unheard")
HARDLY = 0.03  # an accuracy that is lower by less is hardly lower


def run(study: Study) -> Results:
    """Accuracies by number of languages and seed, and those on natural speech."""
    label_minutes.encoder(study, study.budget.encoders[0])
    for language in LANGUAGES:
        languages.prepare(study, language)
    for name in SETS:
        study.prepare(f"unlabeled/{name}", "unlabeled", f"--set={name}")
    results: Results = {"names": {str(count): {} for count in COUNTS}, "speech": {name: {} for name in HEARD}}
    jobs: dict[str, Callable[[], object]] = {}
    for seed in range(study.budget.seeds):
        for count in COUNTS:
            jobs[f"{count} {seed}"] = functools.partial(names, study, results, count, seed)
        jobs[f"speech {seed}"] = functools.partial(speech, study, results, seed)
    study.side_by_side(jobs)
    return results


def names(study: Study, results: Results, count: int, seed: int) -> None:
    """An identifier of the first languages of spoken_names."""
    own = list(LANGUAGES)[:count]
    test = tuple(f"spoken_names/{language}:test" for language in SCORED)
    scores = study.evaluated(
        f"lid_{count}_{seed}",
        "lid_names",
        *steps_arguments(study.budget.updates, seed),
        *_init(study),
        trains_on(*(f"spoken_names/{language}:train" for language in own)),
        f"--config.input.dev_corpora={tuple(f'spoken_names/{language}:validation' for language in own)!r}",
        f"--config.input.eval_corpora={test!r}",
        best=True,
    )
    results["names"][str(count)][str(seed)] = scores["macro_accuracy"]


def speech(study: Study, results: Results, seed: int) -> None:
    """An identifier of natural speech, on clips of the sets that it has heard, and on a set that it has not."""
    common = (*steps_arguments(study.budget.updates, seed), *_init(study))
    scores = study.evaluated(f"lid_speech_{seed}", "lid_speech", *common, best=True)
    workdir = study.folder / f"lid_speech_{seed}"
    results["speech"]["unheard"][str(seed)] = _figures(scores)
    results["speech"]["heard"][str(seed)] = _figures(chosen(workdir))


def chosen(workdir: pathlib.Path) -> dict[str, Any]:
    """The scores on the dev corpora of the best checkpoint."""
    from mms_jax.checkpoint import load_model

    return dict(load_model(f"{workdir}@best").description["chosen"])


def _figures(scores: dict[str, Any]) -> dict[str, float]:
    wanted = ("accuracy", "macro_accuracy", "chance", "threshold", "false_reject", "false_accept")
    return {name: scores[name] for name in wanted}


def _init(study: Study) -> tuple[str, ...]:
    return (f"--config.init_from={study.folder / study.budget.encoders[0]}",)


def format_table(results: Results) -> str:
    """Accuracies in percent."""
    lines = [f"{'accuracy on the same ten languages, mean over languages, %':<60}"]
    for count, row in results["names"].items():
        lines.append(
            f"  identifier of {count:>2} languages (chance {100 / len(SCORED):.0f}){percent(list(row.values())):>20}"
        )
    lines.append("natural speech, all recordings (mean over languages), %")
    for name, meaning in zip(HEARD, ("held-out clips of sets that it has heard", "a set that it has not heard")):
        rows = list(results["speech"][name].values())
        each = {figure: percent([row[figure] for row in rows]) for figure in rows[0]}
        lines.append(f"  {meaning:<42}{each['accuracy']:>14} ({each['macro_accuracy']}), chance {each['chance']}")
    lines.append(
        f"  unknown below {each['threshold']} %: refuses {each['false_reject']} % of the right answers there, and accepts "
        f"{each['false_accept']} % of the wrong ones and of languages that it lacks"
    )
    return "\n".join(lines)


def compare(results: Results) -> Comparison:
    """Fewest against most languages."""
    few, many = (list(results["names"][str(pick(COUNTS))].values()) for pick in (min, max))
    return Comparison(
        "accuracy on FLEURS is 97.5 % with 126 languages and 97.2 % with 4,017",
        f"{percent(few)} % with {min(COUNTS)} languages, {percent(many)} % with {max(COUNTS)}",
        None if len(few) < 2 else sum(many) / len(many) > sum(few) / len(few) - HARDLY,
    )


def plot(results: Results, path: pathlib.Path) -> None:
    """Number of languages against accuracy; and accuracy on natural speech, heard and unheard."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), constrained_layout=True)
    rows = [list(results["names"][str(count)].values()) for count in COUNTS]
    draw_curve(left, COUNTS, rows, "C0", "the same ten languages")
    left.axhline(100 / len(SCORED), color="gray", linestyle=":", label="chance")
    left.set(xlabel="languages of the identifier", ylabel="accuracy (%)", ylim=(0, 100), xscale="log")
    left.set_xticks(COUNTS, map(str, COUNTS))
    left.minorticks_off()
    left.legend()
    means = [
        sum(row["accuracy"] for row in results["speech"][name].values()) / len(results["speech"][name])
        for name in HEARD
    ]
    right.bar(["held-out clips of\nsets it has heard", "a set it has\nnot heard"], [100 * mean for mean in means])
    right.set(ylabel="accuracy (%), natural speech", ylim=(0, 100))
    save_figure(figure, path)
