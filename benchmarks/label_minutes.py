"""Whether pretraining helps where labels are few: python -m benchmarks.label_minutes FOLDER

MMS's first claim in miniature. Encoders are pretrained on the unlabeled sets that Debian packages, without festvox-ru, then
fine-tuned with 5, 15, 30 and 60 minutes of that set, whose reader and microphone they have not heard; and fine-tuned from
scratch, with the same updates. Each run keeps its best checkpoint by dev CER, which is scored on the test. A probe is
the same with a frozen backbone, against a random one.

Every run is a folder of mms_jax.train, so that the same command continues after an interruption. FOLDER then holds
label_minutes.json and label_minutes.png, minutes of labels against CER, mean and spread over the seeds. On two x86-64
cores a fine-tuning run of 1,200 updates takes about 7 minutes; the whole study with three seeds, a day.
"""

import argparse
import hashlib
import json
import pathlib
import re
import subprocess
import sys
from typing import Any

import matplotlib
import numpy as np
import soundfile

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from input_pipeline.corpora.unlabeled import SETS
from mms_jax.errors import CorpusError
from mms_jax.files import write_json, write_text

NAME = "label_minutes"
READER = pathlib.Path(SETS["festvox"].folder) / "msu_ru_nsh_clunits"
SPLITS = (("test", 6), ("validation", 3), ("to5", 5), ("to15", 10), ("to30", 15), ("to60", 30))  # minutes
MINUTES = {5: ("to5",), 15: ("to5", "to15"), 30: ("to5", "to15", "to30"), 60: ("to5", "to15", "to30", "to60")}
LONGEST = 12.0  # seconds
ENCODERS = {"wav2vec2": "pretrain_speech", "hubert": "hubert_speech"}
SCRATCH = "scratch"


def write_table(path: pathlib.Path) -> None:
    """The table of festvox-ru, in splits of nested sizes, for `prepare audio_folder`.

    Raises:
      CorpusError: it is not installed.
    """
    prompts = READER / "etc" / "txt.done.data"
    if not prompts.is_file():
        raise CorpusError(f"no {prompts}; install it with apt-get install --no-install-recommends festvox-ru")
    rows = []
    for name, text in re.findall(r'^\( (\w+) "(.*)" \)', prompts.read_text(encoding="utf-8"), re.MULTILINE):
        recording = READER / "wav" / f"{name}.wav"
        seconds = soundfile.info(recording).duration
        if seconds < LONGEST and not re.search(r"\d", text):
            rows.append((hashlib.sha256(name.encode()).hexdigest(), recording, text.replace("+", ""), seconds))
    lines, remaining = [("path", "text", "language", "speaker", "split")], iter(sorted(rows))
    for split, minutes in SPLITS:
        heard = 0.0
        while heard < 60 * minutes and (row := next(remaining, None)):
            lines.append((str(row[1]), row[2], "rus", "nsh", split))
            heard += row[3]
    write_text(path, "".join("\t".join(line) + "\n" for line in lines))


class Study:
    """The runs of the study; each is made where it does not exist yet."""

    def __init__(self, folder: pathlib.Path, updates: int):
        self.folder, self.updates = folder, updates
        self.data = folder / "data"
        folder.mkdir(parents=True, exist_ok=True)

    def command(self, *arguments: str) -> None:
        """Runs `python -m ...`; a failure ends the study."""
        print(f"$ python -m {' '.join(arguments)}", flush=True)
        with (self.folder / "log.txt").open("a") as log:
            subprocess.run([sys.executable, "-m", *arguments], check=True, stdout=log, stderr=log)

    def prepare(self) -> None:
        """The corpora."""
        for name in SETS:
            if name != "festvox":
                self.command("input_pipeline.prepare", "unlabeled", f"--set={name}", f"--data_dir={self.data}")
        table = self.folder / "festvox.tsv"
        if not table.exists():
            write_table(table)
        self.command(
            "input_pipeline.prepare", "audio_folder", "--name=festvox", f"--table={table}", f"--data_dir={self.data}"
        )

    def pretrain(self, name: str, updates: int) -> dict[str, float]:
        """An encoder; returns its scores on held-out speech."""
        workdir = self.folder / name
        common = (f"--config={ENCODERS[name]}", f"--workdir={workdir}", f"--config.input.data_dir={self.data}")
        if not (workdir / "evaluation.json").exists():
            self.command("mms_jax.train", *common, f"--config.total_steps={updates}")
            self.command("mms_jax.evaluate", *common)
        return json.loads((workdir / "evaluation.json").read_text())

    def fine_tune(self, start: str, minutes: int, seed: int, *, probe: bool) -> float:
        """The test CER of a recognizer that starts from an encoder, or from scratch; its backbone is frozen for a probe."""
        workdir = self.folder / f"{'probe_' if probe else ''}{start}_{minutes}_{seed}"
        corpora = tuple(f"audio_folder/festvox:{split}" for split in MINUTES[minutes])
        common = [
            "--config=asr_minutes", f"--config.input.data_dir={self.data}",
            f"--config.input.corpora={corpora!r}", "--config.input.dev_corpora=('audio_folder/festvox:validation',)",
            "--config.input.eval_corpora=('audio_folder/festvox:test',)", f"--config.seed={seed}",
            f"--config.total_steps={self.updates}",
        ]  # fmt: skip
        if start != SCRATCH:
            common.append(f"--config.init_from={self.folder / start}")
        if probe:
            common.append("--config.optimizer.freeze=('backbone:-1',)")
        scores = workdir / "best" / "evaluation.json"
        if not scores.exists():
            self.command("mms_jax.train", *common, f"--workdir={workdir}")
            self.command("mms_jax.evaluate", *common, f"--workdir={workdir}@best")
        return json.loads(scores.read_text())["cer"]


def format_table(results: dict[str, Any]) -> str:
    """CER in percent, mean and spread (standard deviation) over the seeds, and the change from scratch."""
    lines = [f"{'':<24}" + "".join(f"{minutes:>18} min" for minutes in results["minutes"])]
    for kind in ("cer", "probe"):
        baseline = results[kind].get(SCRATCH, {})
        for start, by_minutes in results[kind].items():
            cells = []
            for minutes in map(str, results["minutes"]):
                values = 100 * np.asarray(by_minutes.get(minutes, []))
                base = 100 * np.asarray(baseline.get(minutes, []))
                cell = f"{values.mean():.1f} ± {values.std():.1f}" if len(values) else "-"
                if start != SCRATCH and len(values) and len(base):
                    cell += f" ({100 * (values.mean() / base.mean() - 1):+.0f} %)"
                cells.append(f"{cell:>22}")
            lines.append(f"{('probe, ' if kind == 'probe' else '') + start:<24}" + "".join(cells))
    return "\n".join(lines)


def plot(results: dict[str, Any], path: pathlib.Path) -> None:
    """Minutes of labels against CER: a curve with its spread for each start."""
    figure, axis = plt.subplots(figsize=(7, 4.5), constrained_layout=True)
    for number, (start, by_minutes) in enumerate(results["cer"].items()):
        minutes = [int(name) for name in by_minutes]
        values = [100 * np.asarray(by_minutes[name]) for name in by_minutes]
        mean = np.asarray([value.mean() for value in values])
        axis.plot(minutes, mean, marker="o", color=f"C{number}", label=start)
        spread = np.asarray([value.std() for value in values])
        axis.fill_between(minutes, mean - spread, mean + spread, color=f"C{number}", alpha=0.2)
    axis.set(xlabel="minutes of labels", ylabel="character error rate (%)", ylim=(0, None), xscale="log")
    axis.set_xticks(results["minutes"], [str(minutes) for minutes in results["minutes"]])
    axis.grid(alpha=0.3)
    axis.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--minutes", type=int, nargs="+", choices=sorted(MINUTES), default=sorted(MINUTES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--encoders", nargs="+", choices=sorted(ENCODERS), default=sorted(ENCODERS))
    parser.add_argument("--pretraining", type=int, default=6000, help="updates of an encoder (default: 6000)")
    parser.add_argument("--updates", type=int, default=3000, help="updates of a recognizer (default: 3000)")
    arguments = parser.parse_args()
    study = Study(arguments.folder, arguments.updates)
    study.prepare()
    results: dict[str, Any] = {"minutes": arguments.minutes, "updates": arguments.updates, "cer": {}, "probe": {}}
    results["pretraining"] = {name: study.pretrain(name, arguments.pretraining) for name in arguments.encoders}
    for seed in range(arguments.seeds):
        for minutes in arguments.minutes:
            for start in (SCRATCH, *arguments.encoders):
                for kind in ("cer", "probe"):
                    error = study.fine_tune(start, minutes, seed, probe=kind == "probe")
                    results[kind].setdefault(start, {}).setdefault(str(minutes), []).append(error)
                    write_json(study.folder / f"{NAME}.json", results)
                print(format_table(results), flush=True)
    plot(results, study.folder / f"{NAME}.png")


if __name__ == "__main__":
    main()
