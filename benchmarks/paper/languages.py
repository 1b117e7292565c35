"""Claim: a dense recognizer of many languages is worse than one of few, and adapters with heads by language undo that.

One dense model for 4, 8, 16, and 32 languages, and one for each of the first four alone, all with the same number of
updates and from the same encoder. Each joint model then learns half as long again, once as it is, and once with an adapter
and a head for each language (LSAH). From the encoder, a head that hears a thirty-second of the speech does not begin to
spell in so few updates. Each run keeps its best checkpoint by the dev CER of the first four, scored on their test: names
that no training has, by unseen voices.
"""

import functools
import itertools
import pathlib
from collections.abc import Callable, Sequence

import matplotlib.pyplot as plt

from benchmarks.paper import label_minutes
from benchmarks.paper.study import (
    Comparison,
    Results,
    Study,
    draw_curve,
    is_lower,
    label_curves,
    percent,
    save_figure,
    steps_arguments,
)  # fmt: skip
from input_pipeline.corpora.spoken_names import LANGUAGES
from launch.steps import trains_on

TITLE = "one model for many languages, dense and with adapters, against one for each"
COUNTS = (4, 8, 16, 32)
SCORED = tuple(LANGUAGES)[:4]
# Arguments of the runs with several languages: the first starts from the encoder, the others from the first.
KINDS = {"joint": (), "longer": (), "adapters": ("--config.adapters.width=16",)}
FIRST = "joint"


def run(study: Study) -> Results:
    """CER by language: of models of their own; and of joint models, dense and with adapters, by number of languages."""
    label_minutes.encoder(study, study.budget.encoders[0])
    for language in list(LANGUAGES)[: max(COUNTS)]:
        prepare(study, language)
    results: Results = {"alone": {}} | {kind: {str(count): {} for count in COUNTS} for kind in KINDS}

    def alone(language: str, seed: int) -> None:
        scores = recognizer(study, [language], [language], seed)
        results["alone"].setdefault(language, {})[str(seed)] = scores["cer"]

    def joint(kind: str, count: int, seed: int) -> None:
        scores = recognizer(study, list(LANGUAGES)[:count], SCORED, seed, kind)
        for language in SCORED:
            row = results[kind][str(count)].setdefault(language, {})
            row[str(seed)] = scores["by_language"][language]["cer"]

    seeds = range(study.budget.seeds)
    jobs: dict[str, Callable[[], object]] = {}
    for language, seed in itertools.product(SCORED, seeds):
        jobs[f"{language} {seed}"] = functools.partial(alone, language, seed)
    for count, seed in itertools.product(COUNTS, seeds):
        jobs[f"{count} {seed}"] = functools.partial(joint, FIRST, count, seed)
    study.side_by_side(jobs)
    later = [kind for kind in KINDS if kind != FIRST]
    study.side_by_side(
        {
            f"{kind} {count} {seed}": functools.partial(joint, kind, count, seed)
            for kind, count, seed in itertools.product(later, COUNTS, seeds)
        }
    )
    return results


def prepare(study: Study, language: str) -> None:
    """The corpus of a language."""
    study.prepare(f"spoken_names/{language}", "spoken_names", f"--language={language}")


def run_name(languages: Sequence[str], seed: int, kind: str = "joint") -> str:
    """The folder of a recognizer of some languages."""
    name = languages[0] if len(languages) == 1 else str(len(languages))
    return f"names_{name}_{seed}" if kind == "joint" else f"names_{name}_{kind}_{seed}"


def recognizer(study: Study, languages: Sequence[str], scored: Sequence[str], seed: int, kind: str = "joint") -> dict:
    """Fine-tunes for some languages; returns the scores on the test of some of them."""
    budget = study.budget
    start, updates = str(study.folder / budget.encoders[0]), budget.updates
    if kind != FIRST:
        start, updates = f"{study.folder / run_name(languages, seed)}@best", budget.updates // 2
    dev, test = (tuple(f"spoken_names/{language}:{split}" for language in scored) for split in ("validation", "test"))
    return study.evaluated(
        run_name(languages, seed, kind),
        "asr_minutes",
        *steps_arguments(updates, seed),
        "--config.input.bucket_seconds=(4.0,8.0,12.0)",
        trains_on(*(f"spoken_names/{language}:train" for language in languages)),
        f"--config.input.dev_corpora={dev!r}",
        f"--config.input.eval_corpora={test!r}",
        f"--config.init_from={start}",
        *KINDS[kind],
        best=True,
    )


def _over_languages(rows: dict[str, dict[str, float]]) -> list[float]:
    """The mean over languages, for each seed."""
    seeds = sorted(next(iter(rows.values())))
    return [sum(row[seed] for row in rows.values()) / len(rows) for seed in seeds]


def format_table(results: Results) -> str:
    """Test CER in percent by language; one column for each model."""
    names = {"joint": "dense", "longer": "longer", "adapters": "LSAH"}
    columns = {"alone": results["alone"]} | {
        f"{count} {names[kind]}": rows for kind in KINDS for count, rows in results[kind].items()
    }
    lines = [f"{'test CER, %':<12}" + "".join(f"{name:>14}" for name in columns)]
    for language in results["alone"]:
        cells = [percent(list(rows[language].values())) for rows in columns.values()]
        lines.append(f"{language:<12}" + "".join(f"{cell:>14}" for cell in cells))
    means = [percent(_over_languages(rows)) for rows in columns.values()]
    return "\n".join([*lines, f"{'mean':<12}" + "".join(f"{cell:>14}" for cell in means)])


def compare(results: Results) -> Comparison:
    """The change from the fewest to the most languages, dense and with adapters."""
    change = {}
    for kind in ("longer", "adapters"):
        few, many = (_over_languages(results[kind][str(pick(COUNTS))]) for pick in (min, max))
        change[kind] = [after - before for before, after in zip(few, many)]
    told = {kind: percent(values) for kind, values in change.items()}
    return Comparison(
        "from 61 to 1,107 languages a dense model loses 5.1 points of CER, LSAH 0.4 (FLEURS)",
        f"from {min(COUNTS)} to {max(COUNTS)} languages the CER changes by {told['longer']} points (dense), "
        f"{told['adapters']} (LSAH)",
        is_lower(change["adapters"], change["longer"]),
    )


def plot(results: Results, path: pathlib.Path) -> None:
    """Number of languages against CER, mean over the scored languages, dense and with adapters."""
    figure, axis = plt.subplots(figsize=(7, 4.5), constrained_layout=True)
    places = [1, *COUNTS]
    for kind, color, label in (
        ("joint", "gray", "dense"),
        ("longer", "C0", "dense, longer"),
        ("adapters", "C1", "adapters and heads by language"),
    ):
        tables = [results["alone"], *(results[kind][str(count)] for count in COUNTS)]
        draw_curve(axis, places, [_over_languages(rows) for rows in tables], color, label)
    label_curves(axis, "languages of the model", places, ["alone", *map(str, COUNTS)])
    save_figure(figure, path)
