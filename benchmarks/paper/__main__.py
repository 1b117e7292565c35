"""The paper's claims, tried with models of minutes: python -m benchmarks.paper FOLDER

Each section trains its models, and writes its table, a picture, and FOLDER/SECTION.json; at the end, the paper's findings
and ours stand side by side in FOLDER/paper.md. Finished runs are not repeated: the same command continues after an
interruption.
The sections `label_minutes` and those that start from its encoder need the Debian packages of
input_pipeline/corpora/unlabeled.py, and all need pip install -e '.[paper]'.
"""

if __name__ == "__main__":  # before the libraries below are imported, which takes seconds
    from mms_jax.command import hold_signals

    hold_signals()


import argparse
import dataclasses
import pathlib
import time
from types import ModuleType

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
from benchmarks.paper.study import Budget, Comparison, Results, Study
from mms_jax.command import leave, run_command
from mms_jax.errors import InputError
from mms_jax.files import read_json, write_json, write_text

# A section is a module with TITLE, run(study), format_table(results), compare(results), and plot(results, path).
SECTIONS: dict[str, ModuleType] = {
    "label_minutes": label_minutes,
    "languages": languages,
    "language_model": language_model,
    "second_round": second_round,
    "quality": quality,
    "identification": identification,
    "adaptation": adaptation,
    "reranking": reranking,
    "zero_shot": zero_shot,
}


def main() -> None:
    """Command line."""
    leave(run_command(_run))


def _run() -> None:
    arguments = _parse()
    budget = Budget(**{field.name: getattr(arguments, field.name) for field in dataclasses.fields(Budget)})
    study = Study(arguments.folder, budget)
    for name in arguments.sections:
        _run_section(study, name)
    print("\n" + write_summary(study.folder))


def _run_section(study: Study, name: str) -> None:
    section, begun = SECTIONS[name], time.monotonic()
    print(f"\n=== {name}: {section.TITLE}", flush=True)
    results = section.run(study)
    minutes = (time.monotonic() - begun) / 60
    write_json(study.folder / f"{name}.json", {"budget": dataclasses.asdict(study.budget), "results": results})
    section.plot(results, study.folder / f"{name}.png")
    print(f"\n{section.format_table(results)}\n({name}: {minutes:.1f} minutes)", flush=True)


def write_summary(folder: pathlib.Path) -> str:
    """Writes FOLDER/paper.md, the table of all sections that have results; returns it."""
    rows = ["| claim | paper | ours | agrees |", "|---|---|---|---|"]
    tables = []
    for name, section in SECTIONS.items():
        if (folder / f"{name}.json").exists():
            stored = read_json(folder / f"{name}.json", InputError)
            results: Results = stored["results"]
            found: Comparison = section.compare(results)
            agrees = {True: "yes", False: "no", None: "not told by these seeds"}[found.agrees]
            rows.append(f"| {section.TITLE} | {found.paper} | {found.ours} | {agrees} |")
            budget = ", ".join(f"{key} {value}" for key, value in stored["budget"].items())
            table = section.format_table(results)
            tables.append(f"## {section.TITLE}\n\nBudget: {budget}.\n\n```\n{table}\n```\n\n![{name}]({name}.png)")
    text = "\n".join(["# The paper in miniature", "", *rows, "", "\n\n".join(tables), ""])
    write_text(folder / "paper.md", text)
    return "\n".join([*rows, "", f"{folder}/paper.md"])


def _parse() -> argparse.Namespace:
    default = Budget()
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.paper", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=pathlib.Path, help="of all runs and results")
    parser.add_argument("--sections", nargs="+", choices=list(SECTIONS), default=list(SECTIONS), metavar="SECTION",
                        help=f"default: {' '.join(SECTIONS)}")  # fmt: skip
    for name, meaning in (
        ("seeds", "runs of each kind"),
        ("pretraining", "updates of an encoder"),
        ("fine_tuning", "updates of a recognizer of natural speech"),
        ("updates", "updates of a recognizer of synthetic speech"),
    ):
        value = getattr(default, name)
        parser.add_argument(f"--{name}", type=_positive, default=value, help=f"{meaning} (default: {value})")
    parser.add_argument(
        "--labels", metavar="TABLE", help="labeled recordings, as for `prepare audio_folder` (default: festvox-ru)"
    )
    parser.add_argument("--minutes", type=int, nargs="+", choices=label_minutes.PARTS, default=default.minutes,
                        help="of labels (default: all)")  # fmt: skip
    parser.add_argument("--encoders", nargs="+", choices=sorted(label_minutes.ENCODERS), default=default.encoders,
                        help=f"the other sections start from the first (default: {' '.join(default.encoders)})")  # fmt: skip
    arguments = parser.parse_args()
    arguments.minutes, arguments.encoders = tuple(sorted(arguments.minutes)), tuple(arguments.encoders)
    return arguments


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not positive")
    return value


if __name__ == "__main__":
    main()
