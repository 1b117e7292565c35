"""Claim: pretraining helps, and most where labels are few.

Encoders are pretrained on the unlabeled sets that Debian packages, without festvox-ru, then fine-tuned with some minutes of
one reader, whose voice and microphone they have not heard: festvox-ru, or the recordings of --labels. From scratch, the same
is done with the same updates. Each run keeps its best checkpoint by dev CER, which is scored on the test. A probe is the
same with a frozen backbone, pretrained or random.
"""

import hashlib
import itertools
import pathlib
import re
from collections.abc import Callable, Sequence

import matplotlib.pyplot as plt
import soundfile

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
from input_pipeline.corpora.audio_folder import Row, read_table
from input_pipeline.corpora.unlabeled import SETS
from launch.steps import trains_on
from mms_jax.errors import CorpusError
from mms_jax.files import write_text
from mms_jax.text.normalize import has_digits

TITLE = "pretrained against from scratch, by minutes of labels"
READER = pathlib.Path(SETS["festvox"].folder) / "msu_ru_nsh_clunits"
HELD_OUT = {"test": 6, "validation": 3}  # minutes
PARTS = (5, 15, 30, 60)  # minutes of labels; the splits "to5", "to15", and so on hold what each adds to the one before
LONGEST = 14.0  # seconds of an utterance
ENCODERS = {"hubert": "hubert_speech", "wav2vec2": "pretrain_speech"}
SCRATCH = "scratch"
PROBE_MINUTES = 15
GOAL_MINUTES, GOAL = 15, -0.25  # change of the CER


def run(study: Study) -> Results:
    """CER by start, minutes of labels, and seed; of fine-tuning and of probes."""
    prepare(study)
    budget = study.budget
    results: Results = {
        "minutes": list(budget.minutes),
        "pretraining": {name: encoder(study, name) for name in budget.encoders},
        "cer": {},
        "probe": {},
        "best_step": {"cer": {}, "probe": {}},
        "updates": budget.fine_tuning,
    }
    jobs: dict[str, Callable[[], object]] = {}
    for seed in range(budget.seeds):
        for start in (SCRATCH, *budget.encoders):
            for minutes in budget.minutes:
                jobs[f"{start} {minutes} {seed}"] = _job(study, results, start, minutes, seed, probe=False)
            if PROBE_MINUTES in budget.minutes:
                jobs[f"probe {start} {seed}"] = _job(study, results, start, PROBE_MINUTES, seed, probe=True)
    study.side_by_side(jobs)
    return results


def encoder(study: Study, name: str) -> dict[str, float]:
    """Pretrains an encoder, FOLDER/NAME; returns its scores on held-out speech."""
    for unlabeled in sorted(SETS.keys() - {"festvox"}):
        study.prepare(f"unlabeled/{unlabeled}", "unlabeled", f"--set={unlabeled}")
    return study.evaluated(name, ENCODERS[name], *steps_arguments(study.budget.pretraining))


def prepare(study: Study) -> None:
    """The corpus audio_folder/labels, in splits of nested sizes.

    Raises:
      CorpusError: there is too little speech, or the study was begun with other labels.
    """
    table, labels = study.folder / "labels.tsv", study.budget.labels
    text = make_table(read_table(pathlib.Path(labels), "und") if labels else read_festvox(), max(study.budget.minutes))
    if table.exists() and table.read_text(encoding="utf-8") != text:
        raise CorpusError(f"{table} was made of other labels; repeat the same --labels, or choose another folder")
    write_text(table, text)
    study.prepare("audio_folder/labels", "audio_folder", "--name=labels", f"--table={table}")


def read_festvox() -> list[Row]:
    """The recordings of festvox-ru.

    Raises:
      CorpusError: it is not installed.
    """
    prompts = READER / "etc" / "txt.done.data"
    if not prompts.is_file():
        raise CorpusError(
            f"no {prompts}; install it with apt-get install --no-install-recommends festvox-ru, or give --labels"
        )
    found = re.findall(r'^\( (\w+) "(.*)" \)', prompts.read_text(encoding="utf-8"), re.MULTILINE)
    return [
        Row(name, READER / "wav" / f"{name}.wav", text.replace("+", ""), "rus", "nsh", "train") for name, text in found
    ]


def make_table(rows: Sequence[Row], minutes: int) -> str:
    """The table for `prepare audio_folder`: usable rows in an order of hashes, cut into splits as far as they go.

    Args:
      rows: recordings by one reader.
      minutes: of labels that are needed; one of PARTS.

    Raises:
      CorpusError: there are several readers, a recording cannot be read, or there is too little speech.
    """
    if len(speakers := sorted({row.speaker for row in rows})) > 1:
        raise CorpusError(
            f"the labels are by {len(speakers)} speakers, as {speakers[0]} and {speakers[1]}; give one reader's"
        )
    usable = [row for row in rows if row.text and not has_digits(row.text)]
    sizes = HELD_OUT | {f"to{part}": part - before for before, part in itertools.pairwise((0, *PARTS))}
    lines, full = [("id", "path", "text", "language", "speaker", "split")], []
    remaining = iter(sorted(usable, key=lambda row: hashlib.sha256(row.identity.encode()).hexdigest()))
    for split, size in sizes.items():
        heard = 0.0
        while heard < 60 * size and (row := next(remaining, None)):
            if (seconds := _seconds(row.path)) < LONGEST:
                path = str(row.path.resolve())
                lines.append((row.identity, path, row.text, row.language, row.speaker, split))
                heard += seconds
        if heard >= 60 * size:
            full.append(split)
    if f"to{minutes}" not in full:
        raise CorpusError(
            f"the labels end before {minutes + sum(HELD_OUT.values())} minutes, of which {sum(HELD_OUT.values())} are for "
            "dev and test; give more, or lower --minutes"
        )
    return "".join("\t".join(line) + "\n" for line in lines)


def _seconds(path: pathlib.Path) -> float:
    try:
        return soundfile.info(path).duration
    except soundfile.LibsndfileError as error:
        raise CorpusError(f"{path}: cannot be read ({error}); correct --labels") from error


def _job(study: Study, results: Results, start: str, minutes: int, seed: int, *, probe: bool) -> Callable[[], None]:
    """Enters a recognizer's test CER and best update; it starts from an encoder or from scratch, frozen for a probe."""
    kind = "probe" if probe else "cer"
    table, steps = results[kind], results["best_step"][kind]

    def job() -> None:
        changes = [
            *steps_arguments(study.budget.fine_tuning, seed),
            trains_on(*(f"audio_folder/labels:to{part}" for part in PARTS if part <= minutes)),
            "--config.input.dev_corpora=('audio_folder/labels:validation',)",
            "--config.input.eval_corpora=('audio_folder/labels:test',)",
        ]
        if start != SCRATCH:
            changes.append(f"--config.init_from={study.folder / start}")
        if probe:
            changes.append("--config.optimizer.freeze=('backbone:-1',)")
        name = f"{'probe_' if probe else ''}{start}_{minutes}_{seed}"
        scores = study.evaluated(name, "asr_minutes", *changes, best=True)
        # As text, since JSON has no other keys. Jobs end in any order; seeds stay in theirs.
        table.setdefault(start, {}).setdefault(str(minutes), {})[str(seed)] = scores["cer"]
        steps.setdefault(start, {}).setdefault(str(minutes), {})[str(seed)] = scores["step"]

    return job


def _values(results: Results, kind: str, start: str, minutes: int) -> list[float]:
    return [cer for _, cer in sorted(results[kind].get(start, {}).get(str(minutes), {}).items())]


def _change(results: Results, start: str, minutes: int) -> float:
    """The relative change of the mean CER from scratch."""
    own, scratch = (_values(results, "cer", name, minutes) for name in (start, SCRATCH))
    return (sum(own) / len(own)) / (sum(scratch) / len(scratch)) - 1


def format_table(results: Results) -> str:
    """CER in percent, mean and spread over the seeds, and the change from scratch; one column for each amount of labels."""
    lines = [f"{'test CER, %':<20}" + "".join(f"{f'{minutes} min':>22}" for minutes in results["minutes"])]
    for start in results["cer"]:
        cells = []
        for minutes in results["minutes"]:
            cell = percent(_values(results, "cer", start, minutes))
            if start != SCRATCH:
                cell += f" ({100 * _change(results, start, minutes):+.0f} %)"
            cells.append(f"{cell:>22}")
        lines.append(f"{start:<20}" + "".join(cells))
    for start in results["probe"]:
        name = "random" if start == SCRATCH else start
        lines.append(
            f"probe of {name}, {PROBE_MINUTES} min: {percent(_values(results, 'probe', start, PROBE_MINUTES))}"
        )
    steps = results["best_step"]["cer"]
    best = [step for by_minutes in steps.values() for by_seed in by_minutes.values() for step in by_seed.values()]
    lines.append(f"best dev CER at updates {min(best):,} to {max(best):,} of {results['updates']:,}")
    for name, scores in results["pretraining"].items():
        lines.append(
            f"{name}: {100 * scores['accuracy']:.1f} % of masked frames, chance {100 * scores['chance']:.1f} %"
        )
    return "\n".join(lines)


def compare(results: Results) -> Comparison:
    """Each encoder at 15 minutes (or the least that there is), and at the most minutes."""
    few = GOAL_MINUTES if GOAL_MINUTES in results["minutes"] else min(results["minutes"])
    many = max(results["minutes"])
    starts = [start for start in results["cer"] if start != SCRATCH]
    found = [
        f"{start}: {100 * _change(results, start, few):+.0f} % CER with {few} minutes of labels, "
        f"{100 * _change(results, start, many):+.0f} % with {many}"
        for start in starts
    ]
    lower = [is_lower(_values(results, "cer", start, few), _values(results, "cer", SCRATCH, few)) for start in starts]
    return Comparison(
        "pretraining on 1,406 languages makes recognition with little labeled data possible; more of it is better: 0.6 to "
        "0.7 points of CER against XLS-R (FLEURS, 61 languages)",
        f"{'; '.join(found)} (goal: {100 * GOAL:.0f} % with {GOAL_MINUTES})",
        True if True in lower else None if None in lower else False,
    )


def plot(results: Results, path: pathlib.Path) -> None:
    """Minutes of labels against CER: a curve with its spread for each start."""
    figure, axis = plt.subplots(figsize=(7, 4.5), constrained_layout=True)
    minutes = results["minutes"]
    for number, start in enumerate(results["cer"]):
        values = [_values(results, "cer", start, amount) for amount in minutes]
        draw_curve(axis, minutes, values, f"C{number}", "from scratch" if start == SCRATCH else start)
    label_curves(axis, "minutes of labels", minutes, [str(amount) for amount in minutes])
    save_figure(figure, path)
