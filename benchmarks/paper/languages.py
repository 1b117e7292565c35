"""Claim: a dense recognizer of many languages is worse than one of few, by a little.

One model for 4, 8, 16, and 32 languages, and one for each of the first four alone, all with the same number of updates and
from the same encoder. Each keeps its best checkpoint by the dev CER of the first four, which is scored on their test: names
that no training has, by unseen voices.
"""

import pathlib
from collections.abc import Sequence

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

TITLE = "one model for many languages against one for each"
COUNTS = (4, 8, 16, 32)
SCORED = tuple(LANGUAGES)[:4]


def run(study: Study) -> Results:
    """CER by language: of models of their own, and of joint models by the number of their languages."""
    label_minutes.encoder(study, study.budget.encoders[0])
    for language in list(LANGUAGES)[: max(COUNTS)]:
        prepare(study, language)
    results: Results = {"alone": {}, "joint": {str(count): {} for count in COUNTS}}

    def alone(language: str, seed: int) -> None:
        scores = recognizer(study, [language], [language], seed)
        results["alone"].setdefault(language, {})[str(seed)] = scores["cer"]

    def joint(count: int, seed: int) -> None:
        scores = recognizer(study, list(LANGUAGES)[:count], SCORED, seed)
        for language in SCORED:
            row = results["joint"][str(count)].setdefault(language, {})
            row[str(seed)] = scores["by_language"][language]["cer"]

    jobs = {}
    for seed in range(study.budget.seeds):
        for language in SCORED:
            jobs[f"{language} {seed}"] = lambda language=language, seed=seed: alone(language, seed)
        for count in COUNTS:
            jobs[f"{count} {seed}"] = lambda count=count, seed=seed: joint(count, seed)
    study.side_by_side(jobs)
    return results


def prepare(study: Study, language: str) -> None:
    """The corpus of a language."""
    study.prepare(f"spoken_names/{language}", "spoken_names", f"--language={language}")


def run_name(languages: Sequence[str], seed: int) -> str:
    """The folder of a recognizer of some languages."""
    return f"names_{languages[0] if len(languages) == 1 else len(languages)}_{seed}"


def recognizer(study: Study, languages: Sequence[str], scored: Sequence[str], seed: int) -> dict:
    """Fine-tunes the first encoder for some languages; returns the scores on the test of some of them."""
    dev, test = (tuple(f"spoken_names/{language}:{split}" for language in scored) for split in ("validation", "test"))
    return study.evaluated(
        run_name(languages, seed),
        "asr_minutes",
        *steps_arguments(study.budget.updates, seed),
        "--config.input.bucket_seconds=(4.0,8.0,12.0)",
        trains_on(*(f"spoken_names/{language}:train" for language in languages)),
        f"--config.input.dev_corpora={dev!r}",
        f"--config.input.eval_corpora={test!r}",
        f"--config.init_from={study.folder / study.budget.encoders[0]}",
        best=True,
    )


def _over_languages(rows: dict[str, dict[str, float]]) -> list[float]:
    """The mean over languages, for each seed."""
    seeds = sorted(next(iter(rows.values())))
    return [sum(row[seed] for row in rows.values()) / len(rows) for seed in seeds]


def format_table(results: Results) -> str:
    """Test CER in percent by language; one column for each model."""
    columns = {"alone": results["alone"], **{f"{count} joint": rows for count, rows in results["joint"].items()}}
    lines = [f"{'test CER, %':<12}" + "".join(f"{name:>16}" for name in columns)]
    for language in results["alone"]:
        cells = [percent(list(rows[language].values())) for rows in columns.values()]
        lines.append(f"{language:<12}" + "".join(f"{cell:>16}" for cell in cells))
    means = [percent(_over_languages(rows)) for rows in columns.values()]
    return "\n".join([*lines, f"{'mean':<12}" + "".join(f"{cell:>16}" for cell in means)])


def compare(results: Results) -> Comparison:
    """The mean CER with the fewest and the most languages."""
    few, many = (_over_languages(results["joint"][str(pick(COUNTS))]) for pick in (min, max))
    alone = _over_languages(results["alone"])
    return Comparison(
        "a dense model loses 5.1 points of CER from 61 to 1,107 languages (FLEURS)",
        f"{percent(alone)} % alone, {percent(few)} % with {min(COUNTS)} languages, {percent(many)} % with {max(COUNTS)}",
        is_lower(few, many),
    )


def plot(results: Results, path: pathlib.Path) -> None:
    """Number of languages against CER, a curve for each language and the mean."""
    figure, axis = plt.subplots(figsize=(7, 4.5), constrained_layout=True)
    places = [1, *COUNTS]
    tables = [results["alone"], *(results["joint"][str(count)] for count in COUNTS)]
    for number, language in enumerate(results["alone"]):
        values = [list(rows[language].values()) for rows in tables]
        draw_curve(axis, places, values, f"C{number}", language)
    draw_curve(axis, places, [_over_languages(rows) for rows in tables], "black", "mean")
    label_curves(axis, "languages of the model", places, ["alone", *map(str, COUNTS)])
    save_figure(figure, path)
