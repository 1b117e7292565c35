"""Ends a run whose steps no longer finish, as when another process of the job has died, so that it can start again."""

import contextlib
import faulthandler
import os
import statistics
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Self

from mms_jax.errors import TRY_AGAIN

_STEPS = 50  # of which the median is taken
_FEWEST = 5  # steps of which a median is taken
_COMPILING = 4  # times the seconds that any step may take: the first steps, which are compiled


class Watchdog(contextlib.AbstractContextManager):
    """Watches the time since the last step, in a thread.

    After `factor` times the median step, though not before `seconds`, it prints what every thread does, and ends the process
    with TRY_AGAIN. The first steps may take four times `seconds`. Saving and evaluating are not watched, see `paused`.
    """

    def __init__(self, factor: float, seconds: float):
        """Does nothing yet; enter the context to begin.

        Args:
          factor: how many times the median step one may take; 0 watches nothing.
          seconds: that every step may take.
        """
        self._factor, self._seconds = factor, seconds
        self._durations: deque[float] = deque(maxlen=_STEPS)
        self._last: float | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Self:
        """Begins to watch."""
        self._last = time.monotonic()
        if self._factor:
            self._thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        """Ends the thread."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def step(self) -> None:
        """A step has finished."""
        now = time.monotonic()
        if self._last is not None:
            self._durations.append(now - self._last)
        self._last = now

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """What happens inside is no part of a step; the next step begins at its end."""
        self._last = None
        yield
        self._last = time.monotonic()

    def _allowed(self) -> float | None:
        """Seconds that the current step may take; None while it is not watched."""
        if self._last is None:
            return None
        if len(self._durations) < _FEWEST:
            return _COMPILING * self._seconds
        return max(self._seconds, self._factor * statistics.median(list(self._durations)))

    def _watch(self) -> None:
        while not self._ended.wait(min(1.0, self._seconds / 4)):
            begun, allowed = self._last, self._allowed()
            if begun is not None and allowed is not None and time.monotonic() - begun > allowed:
                faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
                print(
                    f"error: no step has finished for {allowed:.0f} s (see config.watchdog); what every thread does is "
                    "printed above. Another process may be gone, or the disk may hang: the same command continues "
                    "from the last checkpoint",
                    file=sys.stderr,
                    flush=True,
                )
                os._exit(TRY_AGAIN)
