"""Figures of a run: summed over a window of steps, written to stdout, JSON lines and TensorBoard; progress; profiles."""

import contextlib
import json
import math
import pathlib
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, Self

import jax
import numpy as np
from absl import logging
from tensorboardX import SummaryWriter
from tqdm import tqdm

from mms_jax.tasks.base import Examples
from mms_jax.tasks.weighted import Weighted

RECENT = 100  # updates
_OF_TIME = ("steps_per_second", "audio_rate", "data_share", "mfu", "skipped", "bad")


class StepWindow:
    """The steps since the last line of the log. Means are exact: sums over sums, even for unequal batches.

    Attributes:
      first, last: its steps.
      bad, rows: recordings that could not be decoded, and recordings, since the start of the program.
      skipped: how many of the last RECENT updates were skipped.
    """

    def __init__(self, max_bad_share: float):
        self._max_bad_share = max_bad_share
        self._metrics: list[dict[str, Weighted]] = []
        self._begun = time.monotonic()
        self._waiting = self._at_peak = 0.0
        self.first = self.last = 0
        self.bad = self.rows = 0
        self._skipped: deque[float] = deque(maxlen=RECENT)  # of each recent update, whether it was skipped

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Measures the time inside the context, in which the loop has no batch."""
        begun = time.monotonic()
        yield
        self._waiting += time.monotonic() - begun

    def add(self, step: int, metrics: dict[str, Weighted], at_peak: float = math.nan) -> float:
        """Adds a step's figures, still on the device, and returns the seconds of audio of the previous step.

        Waiting for the previous step keeps the device busy, with the host at most one step ahead.

        Args:
          step: its number.
          metrics: its figures.
          at_peak: the seconds that it would take at the peak of the devices, see `Utilization`.
        """
        audio = float(jax.device_get(self._metrics[-1]["audio_seconds"].sum)) if self._metrics else 0.0
        if not self._metrics:
            self.first = step
        self.last = step
        self._metrics.append(metrics)
        self._at_peak += at_peak
        return audio

    def close(self) -> dict[str, float]:
        """The figures of the window; starts the next one.

        Returns:
          Means by name, and: steps_per_second; audio_rate, seconds of audio a second; data_share, the share of time
          spent waiting for data; mfu, the model's operations as a share of what the devices could do in that time, where
          that is known; bad, recordings of the window that could not be decoded.
        """
        fetched = jax.device_get(self._metrics)
        sums = {name: float(np.sum([row[name].sum for row in fetched])) for name in fetched[0]}
        weights = {name: float(np.sum([row[name].weight for row in fetched])) for name in fetched[0]}
        seconds = time.monotonic() - self._begun
        figures = {name: sums[name] / max(weights[name], 1e-9) for name in sums if name not in ("audio_seconds", "bad")}
        figures["steps_per_second"] = len(fetched) / seconds
        figures["audio_rate"] = sums["audio_seconds"] / seconds
        figures["data_share"] = self._waiting / seconds
        if not math.isnan(self._at_peak):
            figures["mfu"] = self._at_peak / seconds
        figures["bad"] = sums["bad"]
        self._skipped += [float(row["skipped"].sum) for row in fetched if "skipped" in row]
        if sums.get("skipped") == len(fetched):  # there is nothing to report
            figures = {name: value if name in _OF_TIME else float("nan") for name, value in figures.items()}
        self.bad += int(sums["bad"])
        self.rows += int(weights["bad"])
        self._metrics, self._begun, self._waiting, self._at_peak = [], time.monotonic(), 0.0, 0.0
        return figures

    @property
    def skipped(self) -> int:
        """See above."""
        return round(sum(self._skipped))

    def too_many_skipped(self) -> bool:
        """Whether more than a tenth of RECENT updates were skipped."""
        return self.skipped > 0.1 * RECENT

    def too_many_bad(self) -> bool:
        """Whether more recordings than allowed could not be decoded; judged from the hundredth on."""
        return self.rows >= 100 and self.bad > self._max_bad_share * self.rows


class MetricWriter:
    """Writes figures on the job's first process; the others write nothing."""

    def __init__(self, folder: pathlib.Path, first_step: int, tracker: Any = None):
        """Opens the files of a run.

        Args:
          folder: for the files.
          first_step: the step it resumes from; lines of later steps, left by a killed run, are dropped.
          tracker: from `start_tracker`, which also gets the figures; None for none.
        """
        self._main = jax.process_index() == 0
        if not self._main:
            return
        self._tracker = tracker
        path = folder / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
        kept = [line for line in lines if _step_of(line) <= first_step]
        path.write_text("".join(kept), encoding="utf-8")
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=first_step + 1)
        self._lines = path.open("a", encoding="utf-8")

    def write(self, step: int, figures: dict[str, Any]) -> None:
        """Writes one line. Nested figures (by language) go to the JSON line only."""
        if not self._main:
            return
        self._lines.write(json.dumps({"step": step, **figures}) + "\n")
        self._lines.flush()
        scalars = {name: value for name, value in figures.items() if isinstance(value, int | float)}
        for name, value in scalars.items():
            self._board.add_scalar(name, value, step)
        if self._tracker:
            try:
                self._tracker.log(scalars, step=step)
            except Exception as error:  # of any kind; the figures are in metrics.jsonl, too
                logging.warning("step %d: the tracker takes no figures (%s)", step, error)
        logging.info("step %d  %s", step, "  ".join(f"{name} {_short(value)}" for name, value in scalars.items()))

    def write_examples(self, step: int, examples: Examples) -> None:
        """Writes sounds and pictures to TensorBoard; a picture is dark at its lowest value, light at its highest."""
        if not self._main:
            return
        for name, waveform in examples.sounds.items():
            self._board.add_audio(name, np.clip(waveform, -1.0, 1.0), step, sample_rate=examples.rate)
        for name, values in examples.pictures.items():
            low, high = float(values.min()), float(values.max())
            scaled = (255 * (values[::-1] - low) / max(high - low, 1e-9)).astype(np.uint8)
            self._board.add_image(name, scaled, step, dataformats="HW")

    def flush(self) -> None:
        """Writes what is buffered."""
        if self._main:
            self._board.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._main:
            self._lines.close()
            self._board.close()
            if self._tracker:
                self._tracker.finish()


_COMPILING = 2  # first steps of a process, which a profile leaves out


class Profile:
    """A profile of a few steps, in FOLDER/profile."""

    def __init__(self, folder: pathlib.Path, start: int, steps: int, first: int = 0):
        """Profiles `steps` steps from step `start` on; none for `start` 0, or where FOLDER holds a profile already.

        A run that resumes behind `start`, after step `first`, is profiled once its step is compiled.
        """
        self._folder = folder / "profile"
        if self._folder.exists():
            start = 0
        elif 0 < start <= first:
            start = first + _COMPILING
        self._start, self._end = start, start + steps - 1
        self._running = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._running:
            jax.profiler.stop_trace()

    def before(self, step: int) -> None:
        """Call before each step."""
        if self._start and step == self._start:
            jax.profiler.start_trace(str(self._folder))
            self._running = True

    def after(self, step: int, state: Any) -> None:
        """Call after each step, with its new state."""
        if self._running and step == self._end:
            jax.block_until_ready(state)
            jax.profiler.stop_trace()
            self._running = False


class Progress:
    """A progress bar with seconds of audio per second; hidden where stderr is not a terminal and the log suffices."""

    def __init__(self, first: int, total: int):
        self._bar = tqdm(
            total=total, initial=first, desc="train", unit="step", disable=None if jax.process_index() == 0 else True
        )
        self._begun = time.monotonic()
        self._audio = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def advance(self, audio_seconds: float) -> None:
        """Advances by one step."""
        self._audio += audio_seconds
        self._bar.set_postfix_str(f"{self._audio / (time.monotonic() - self._begun):.0f} audio s/s", refresh=False)
        self._bar.update()


def _short(value: float) -> str:
    return f"{value:.4g}"


def _step_of(line: str) -> float:
    """The step of a line of metrics.jsonl; infinite for a damaged line, as a killed run may leave it."""
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return float("inf")
