"""The frame of all sections: the budget, corpora and runs that are made once, and the comparison with the paper."""

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from launch.steps import Steps
from mms_jax.errors import InputError
from mms_jax.files import read_json, write_json

Results = dict[str, Any]

SETTINGS = "settings.json"  # in the folder of a run: the arguments that it was made with


@dataclasses.dataclass(frozen=True)
class Budget:
    """The size of a study.

    Attributes:
      seeds: runs of each kind.
      labels: table of labeled recordings, as for `prepare audio_folder`; None for festvox-ru.
      minutes: of labels.
      pretraining: updates of an encoder.
      encoders: objectives of pretraining.
      fine_tuning: updates of a recognizer on natural speech.
      updates: of a recognizer on synthetic speech.
    """

    seeds: int = 3
    labels: str | None = None
    minutes: tuple[int, ...] = (5, 15, 30, 60)
    pretraining: int = 6000
    encoders: tuple[str, ...] = ("hubert", "wav2vec2")
    fine_tuning: int = 3000
    updates: int = 1500


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The paper's finding and ours, a line each; `agrees` is None where the seeds do not tell, see `is_lower`."""

    paper: str
    ours: str
    agrees: bool | None


class Study(Steps):
    """A folder of runs; those that are finished are not repeated.

    Attributes:
      budget: of the study.
    """

    def __init__(self, folder: pathlib.Path, budget: Budget):
        super().__init__(folder.resolve())  # runs note the folder: however it is written, it is the same
        self.budget = budget

    def prepare(self, name: str, *arguments: str) -> None:
        """Prepares a corpus, with the arguments of input_pipeline.prepare, unless the study already has it."""
        if not self.is_prepared(name):
            label = "prepare_" + name.replace("/", "_")
            self.command(label, "input_pipeline.prepare", *arguments, f"--data_dir={self.data}")

    def is_prepared(self, name: str) -> bool:
        """Whether a corpus is complete; what an interrupted preparation leaves is not."""
        return any((self.data / name).glob("*/dataset_info.json"))

    def evaluated(self, name: str, config: str, *changes: str, best: bool = False) -> dict[str, Any]:
        """The evaluation of a run, which is trained unless the study already has it; half a run is continued.

        Args:
          name: of its folder.
          config: of the experiment.
          changes: arguments of mms_jax.train and mms_jax.evaluate.
          best: evaluates the best checkpoint instead of the newest.

        Raises:
          InputError: the run was made with other arguments.
        """
        workdir = self.folder / name
        settings = {"config": config, "changes": list(changes)}
        if (workdir / SETTINGS).exists():
            _check_same(workdir, read_json(workdir / SETTINGS, InputError), settings)
        scores = workdir / ("best/evaluation.json" if best else "evaluation.json")
        if not scores.exists():
            workdir.mkdir(parents=True, exist_ok=True)
            write_json(workdir / SETTINGS, settings)
            common = (f"--config={config}", f"--config.input.data_dir={self.data}", *changes)
            self.command(f"train_{name}", "mms_jax.train", *common, f"--workdir={workdir}")
            chosen = f"{workdir}@best" if best else str(workdir)
            self.command(f"evaluate_{name}", "mms_jax.evaluate", *common, f"--workdir={chosen}")
        return json.loads(scores.read_text())


def _check_same(workdir: pathlib.Path, before: dict, now: dict) -> None:
    if before != now:
        differing = sorted(set(before["changes"]) ^ set(now["changes"])) or [before["config"], now["config"]]
        raise InputError(
            f"{workdir} was made with other settings ({', '.join(differing)}); repeat them, or choose another folder"
        )


def steps_arguments(updates: int, seed: int = 0) -> tuple[str, str]:
    """The arguments for the length and seed of a run."""
    return f"--config.total_steps={updates}", f"--config.seed={seed}"


def is_lower(new: Sequence[float], old: Sequence[float]) -> bool | None:
    """Whether error rates fell: None where the means over seeds differ by less than the larger standard deviation.

    One seed has no spread, and gives None too.
    """
    difference = float(np.mean(new) - np.mean(old))
    return None if min(len(new), len(old)) < 2 or abs(difference) <= max(np.std(new), np.std(old)) else difference < 0


def percent(values: Sequence[float]) -> str:
    """Mean and spread (standard deviation) over seeds of error rates, in percent."""
    scaled = 100 * np.asarray(values)
    return f"{scaled.mean():.1f}" + (f" ± {scaled.std():.1f}" if len(scaled) > 1 else "")


def draw_curve(axis: Any, places: Sequence[float], values: Sequence[Sequence[float]], color: str, label: str) -> None:
    """Error rates in percent by place, with a band of one standard deviation over the seeds."""
    scaled = [100 * np.asarray(row) for row in values]
    mean, spread = (np.asarray([figure(row) for row in scaled]) for figure in (np.mean, np.std))
    axis.plot(places, mean, marker="o", color=color, label=label)
    axis.fill_between(places, mean - spread, mean + spread, color=color, alpha=0.2)


def label_curves(axis: Any, meaning: str, places: Sequence[float], names: Sequence[str]) -> None:
    """Names the axes of curves of error rates over places that double."""
    axis.set(xlabel=meaning, ylabel="character error rate (%)", ylim=(0, None), xscale="log")
    axis.set_xticks(places, names)
    axis.minorticks_off()
    axis.legend()


def draw_bars(axis: plt.Axes, values: dict[str, Sequence[float]], places: Sequence[str]) -> None:
    """Error rates in percent: a group of bars at each place, a color for each name."""
    width = 0.8 / len(values)
    for number, (name, row) in enumerate(values.items()):
        offset = (number - (len(values) - 1) / 2) * width
        axis.bar(np.arange(len(places)) + offset, 100 * np.asarray(row), width, label=name)
    axis.set_xticks(range(len(places)), places)
    if len(values) > 1:
        axis.legend()


def draw_mean_cers(axis: Any, results: Results, meaning: str) -> None:
    """A bar for each entry of the results: the mean of its table "cer" over the seeds."""
    means = [float(np.mean(list(row["cer"].values()))) for row in results.values()]
    draw_bars(axis, {"unseen voices": means}, list(results))
    axis.set(xlabel=meaning, ylabel="character error rate (%)")


def save_figure(figure: Any, path: pathlib.Path) -> None:
    """Writes a picture."""
    for axis in figure.axes:
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    plt.close(figure)
