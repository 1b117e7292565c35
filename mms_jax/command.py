"""The frame of every command: one line for an error or a stop, an exit status, and no traceback but for a bug."""

import contextlib
import os
import pathlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from mms_jax.errors import TRY_AGAIN, MmsError, Stopped, Unavailable

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_NAMING_SECONDS = 45  # in which JAX misses the heartbeat of a process, names it, and ends this one
_held: list[int] = []  # signals that arrived while they were held


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM arrived in code that has nothing to save. Cleanup runs as for any exception.

    Attributes:
      number: of the signal.
    """

    def __init__(self, number: int):
        super().__init__()
        self.number = number


def hold_signals() -> None:
    """Notes signals until `run_command` acts on them: libraries that are interrupted while they are imported crash."""
    for number in SIGNALS:
        signal.signal(number, lambda caught, frame: _held.append(caught))


@contextlib.contextmanager
def holding_signals() -> Iterator[None]:
    """Holds signals inside the context, which imports libraries; a signal that came is raised at its end.

    Raises:
      Interrupted: a signal came.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    hold_signals()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if _held:
        raise Interrupted(_held.pop())


@contextlib.contextmanager
def catching_signals(handle: Callable[[int], None], signals: Sequence[signal.Signals] = SIGNALS) -> Iterator[None]:
    """SIGINT and SIGTERM, or those given, call `handle` with their number; a second one ends the process at once.

    In threads other than the main one, which get no signals, it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in signals}

    def caught(number: int, frame: object) -> None:
        del frame
        for each in before:
            signal.signal(each, signal.SIG_DFL)
        handle(number)

    for number in before:
        signal.signal(number, caught)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int) -> None:
    raise Interrupted(number)


def _send_again(unraisable: Any) -> None:
    """An interrupt in a callback of the garbage collector is lost there: it is sent again a moment later."""
    number = getattr(unraisable.exc_value, "number", None)
    if not isinstance(unraisable.exc_value, Interrupted) or number is None:
        sys.__unraisablehook__(unraisable)
        return
    for each in SIGNALS:
        signal.signal(each, lambda caught, frame: _interrupt(caught))
    threading.Timer(0.05, os.kill, (os.getpid(), number)).start()


def run_command(command: Callable[[], int | None]) -> int:
    """Runs a command; prints the errors that users can mend as one line.

    Returns:
      The exit status: the command's, 0 where it returns None; 1 for an error, TRY_AGAIN for one that may pass; 128 + the
      signal's number where one stopped it.
    """
    hook = sys.unraisablehook
    sys.unraisablehook = _send_again
    try:
        with catching_signals(_interrupt):
            if _held:
                raise Interrupted(_held.pop())
            status = command()
            sys.stdout.flush()
        return status or 0
    except Stopped as stop:
        print(f"stopped: {stop}", file=sys.stderr)
        return 128 + stop.number
    except KeyboardInterrupt as stop:
        print("stopped", file=sys.stderr)
        return 128 + getattr(stop, "number", signal.SIGINT)
    except BrokenPipeError:  # the reader of the output has enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + getattr(signal, "SIGPIPE", 13)
    except (MmsError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return TRY_AGAIN if isinstance(error, Unavailable) else 1
    except RuntimeError as error:
        if not (in_job() and type(error).__name__ == "JaxRuntimeError"):
            raise
        print(f"error: another process of the job may have ended: {str(error).splitlines()[0][:300]}", file=sys.stderr)
        time.sleep(_NAMING_SECONDS)
        return TRY_AGAIN
    finally:
        sys.unraisablehook = hook


def in_job() -> bool:
    """Whether this process has joined others."""
    jax = sys.modules.get("jax")
    return bool(jax and jax.distributed.is_initialized())


def leave(status: int) -> NoReturn:
    """Ends the program.

    With an error or a stop, it ends at once, for everything has been cleaned up: XLA, which a signal may have met while it
    compiled, crashes when the interpreter is taken down, and threads of libraries print failures below the line that says
    what is wrong. In a job, a member that fails would also wait for others that wait for it: they end by its missing
    heartbeat. Members that all stop sign off first.

    Statuses 1 and 2 are noted in the file MMS_JAX_STATUS, if that is set, since schedulers tell the status of the tasks that
    they kill afterwards.
    """
    if status in (1, 2) and (path := os.environ.get("MMS_JAX_STATUS")):
        pathlib.Path(path).write_text(f"{status}\n")
    stopped = status in [128 + number for number in SIGNALS]
    if status and not (stopped and in_job()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)
