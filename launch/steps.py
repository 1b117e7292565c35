"""Commands of this project run one after the other or side by side, each with its log: for the quickstart and studies."""

import concurrent.futures
import os
import pathlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO


class Steps:
    """Runs commands for a folder; their output goes to FOLDER/logs.

    Attributes:
      folder: of all results.
      data: of prepared corpora.
    """

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.data = folder / "data"
        (folder / "logs").mkdir(parents=True, exist_ok=True)
        self.environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(folder / "compiled")}
        self._running: set[subprocess.Popen] = set()
        self._lock = threading.Lock()  # held while a process begins, so that a stop misses none
        self._stopped = False

    def command(self, name: str, *arguments: str, show: bool = False, accepted: tuple[int, ...] = (0,)) -> str:
        """Runs `python -m ...`, printed before; a failure ends the program with the end of the log.

        Args:
          name: of the log, logs/NAME.txt.
          arguments: after `python -m`.
          show: prints the standard output, which otherwise goes to the log with the errors; of a training run, the main
            figures are printed.
          accepted: exit statuses that are no failure.

        Returns:
          The standard output; with the errors, where `show` is False.
        """
        log = self.folder / "logs" / f"{name}.txt"
        print(f"\n{name}\n$ python -m {' '.join(arguments)}", flush=True)
        begun = time.monotonic()
        with log.open("w") as errors:
            process = self._start(arguments, errors if show else subprocess.STDOUT)
            assert process.stdout is not None
            lines = []
            try:
                for line in process.stdout:
                    lines.append(line)
                    errors.write(line)
                    if show:
                        print(f"  {line}", end="", flush=True)
                    elif "] step " in line and "  " in line:
                        print(f"  {name}: {_progress_line(line)}", flush=True)
                status = process.wait()
            except KeyboardInterrupt:
                self._stop()
                raise
        self._running.discard(process)
        if status not in accepted:
            sys.exit(f"error: {name} failed; the end of {log}:\n{log.read_text()[-2000:]}")
        print(f"  ({name}: {time.monotonic() - begun:.0f} s)", flush=True)
        return "".join(lines)

    def _start(self, arguments: Sequence[str], errors: IO[str] | int) -> subprocess.Popen:
        """Starts `python -m ...` in a process group of its own: Ctrl-C reaches it through `_stop`, once."""
        with self._lock:
            if self._stopped:
                raise concurrent.futures.CancelledError
            process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=self.environment,
                process_group=0,
            )
            self._running.add(process)
        return process

    def _stop(self) -> None:
        """Asks every running command to save and end, and waits for it; none begins afterwards."""
        with self._lock:
            self._stopped = True
        for process in list(self._running):
            process.terminate()
        for process in list(self._running):
            process.wait()

    def side_by_side(self, jobs: Mapping[str, Callable[[], object]]) -> None:
        """Runs jobs at once, as many as there are cores, each on a core of its own: small models fill only one.

        Args:
          jobs: by name; each calls `command`.
        """
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        free = list(cores)

        def run(job: Callable[[], object]) -> None:
            core = free.pop() if free else None
            if core is not None:  # a thread's processes inherit its core
                os.sched_setaffinity(0, {core})
            try:
                job()
            finally:
                if core is not None:
                    free.append(core)

        with concurrent.futures.ThreadPoolExecutor(len(cores) or 2) as pool:
            futures = [pool.submit(run, job) for job in jobs.values()]
            try:
                for future in concurrent.futures.as_completed(futures):
                    future.result()
            except BaseException:  # a failed job or Ctrl-C: those that wait do not begin
                pool.shutdown(wait=False, cancel_futures=True)
                self._stop()
                raise


def trains_on(*corpora: str) -> str:
    """The argument that lets a run train on corpora, each NAME:SPLIT."""
    return f"--config.input.corpora={corpora!r}"


def _progress_line(line: str) -> str:
    """The main figures of a log line."""
    words = line.split("] ", 1)[1].split("  ")
    wanted = ("step", "accuracy", "chance", "cross_entropy", "loss_per_character", "mel", "audio_rate", "loss ")
    return "  ".join(word.strip() for word in words if word.startswith(wanted))
