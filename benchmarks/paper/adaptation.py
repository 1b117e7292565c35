"""Claim: a language is added to a recognizer of others with little labeled speech: an adapter and a head of its own.

`mms-jax adapt` adds natural speech by one reader to the recognizer of 32 languages of synthetic names, whose encoder has
heard natural speech: with the adapter and head alone, and with all weights.
"""

import functools
import itertools
import pathlib
from collections.abc import Callable

import matplotlib.pyplot as plt

from benchmarks.paper import label_minutes, languages
from benchmarks.paper.study import Comparison, Results, Study, draw_curve, is_lower, label_curves, percent, save_figure
from input_pipeline.corpora.audio_folder import read_table
from input_pipeline.corpora.spoken_names import LANGUAGES
from mms_jax.errors import InputError
from mms_jax.files import read_json, write_text

TITLE = "a language is adapted to, by minutes of labels"
READ = tuple(LANGUAGES)[:32]
MINUTES = (5, 15, 30, 60)
KINDS = {"adapter": "adapter and head", "all": "all weights"}
BEFORE = "before"
CODE = "qaa"  # a code of its own: the labels may be in a language that the recognizer reads


def run(study: Study) -> Results:
    """Test CER by what learns, minutes of labels, and seed; and before, read as the one of four languages that fits best."""
    label_minutes.encoder(study, study.budget.encoders[0])
    label_minutes.prepare(study)
    for language in READ:
        languages.prepare(study, language)
    languages.recognizer(study, READ, languages.SCORED, 0)
    minutes = [size for size in MINUTES if size in study.budget.minutes]
    results: Results = {kind: {str(size): {} for size in minutes} for kind in KINDS} | {BEFORE: {}}
    jobs: dict[str, Callable[[], object]] = {}
    for kind, size, seed in itertools.product(KINDS, minutes, range(study.budget.seeds)):
        jobs[f"{kind} {size} {seed}"] = functools.partial(adapt, study, results, kind, size, seed)
    study.side_by_side(jobs)
    return results


def adapt(study: Study, results: Results, kind: str, minutes: int, seed: int) -> None:
    """One run of `mms-jax adapt`."""
    name = f"adapt_{kind}_{minutes}_{seed}"
    report = study.folder / name / "report.json"
    if not report.exists():
        model = f"{study.folder / languages.run_name(READ, 0)}@best"
        # With all weights, the result reads the new language alone.
        kept = ("--keep", ",".join(languages.SCORED)) if kind == "adapter" else ()
        study.command(
            name, "mms_jax.cli", "adapt", "--model", model, "--lang", CODE, "--data", str(_table(study, minutes)), "--out",
            str(study.folder / name), "--train", kind, "--updates", str(study.budget.updates), "--seed", str(seed),
            "--batch-seconds", "12", *kept,
        )  # fmt: skip
    scores = read_json(report, InputError)
    results[kind][str(minutes)][str(seed)] = scores["after"]["cer"]
    if kind == "adapter":
        results[BEFORE][str(seed)] = scores["before"]["cer"]


def _table(study: Study, minutes: int) -> pathlib.Path:
    """The labels of so many minutes as a table with the splits of a user's."""
    path = study.folder / f"labels_{minutes}.tsv"
    parts = {f"to{part}" for part in label_minutes.PARTS if part <= minutes}
    lines = ["path\ttext\tspeaker\tsplit\tid"]
    for row in read_table(study.folder / "labels.tsv", None):
        split = "train" if row.split in parts else row.split
        if split in ("train", "validation", "test"):
            lines.append("\t".join((str(row.path), row.text, row.speaker, split, row.identity)))
    write_text(path, "\n".join(lines) + "\n")
    return path


def format_table(results: Results) -> str:
    """Test CER in percent, by minutes of labels and what learns."""
    minutes = list(results["adapter"])
    lines = [f"{'test CER, %':<22}" + "".join(f"{size + ' minutes':>16}" for size in minutes)]
    lines.append(f"{'before':<22}" + f"{percent(list(results[BEFORE].values())):>16}" * len(minutes))
    for kind, meaning in KINDS.items():
        cells = [percent(list(results[kind][size].values())) for size in minutes]
        lines.append(f"{meaning:<22}" + "".join(f"{cell:>16}" for cell in cells))
    return "\n".join(lines)


def compare(results: Results) -> Comparison:
    """Before and after, with the most labels."""
    most = list(results["adapter"])[-1]
    before, after, whole = (
        list(row.values()) for row in (results[BEFORE], results["adapter"][most], results["all"][most])
    )
    return Comparison(
        "adapters and heads of 2,000 updates make a language of its own (no figure for new languages)",
        f"{percent(before)} % before, {percent(after)} % with {most} minutes, {percent(whole)} % where all weights learn",
        is_lower(after, before),
    )


def plot(results: Results, path: pathlib.Path) -> None:
    """Label minutes against CER, a curve for what learns."""
    figure, axis = plt.subplots(figsize=(7, 4.5), constrained_layout=True)
    minutes = list(results["adapter"])
    for number, (kind, meaning) in enumerate(KINDS.items()):
        values = [list(results[kind][size].values()) for size in minutes]
        draw_curve(axis, list(map(int, minutes)), values, f"C{number}", meaning)
    before = 100 * sum(results[BEFORE].values()) / len(results[BEFORE])
    axis.axhline(before, color="gray", linestyle=":", label="before")
    label_curves(axis, "minutes of labels", list(map(int, minutes)), minutes)
    save_figure(figure, path)
