"""Measures peers side by side: each in a process of its own, in turn, for several rounds."""

import contextlib
import multiprocessing
import resource
import statistics
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection

Call = Callable[[], float]


def in_turn(rounds: int, **makers: Callable[[], Call]) -> dict[str, float]:
    """The medians of the values that several calls return.

    In one process, peers slow each other down: a training step of 4.1 s took 5.4 s beside PyTorch's. A turn is three
    calls; the first, which has to bring idle memory back, is not counted.

    Args:
      rounds: number of turns of each, after one call that is not counted.
      **makers: picklable; each is called in its own process, and returns the call to measure.
    """
    values: dict[str, list[float]] = {name: [] for name in makers}
    with contextlib.ExitStack() as stack:
        calls = {name: stack.enter_context(elsewhere(make)) for name, make in makers.items()}
        for call in calls.values():
            call()
        for _ in range(rounds):
            for name, call in calls.items():
                _, *counted = [call() for _ in range(3)]
                values[name] += counted
    return {name: statistics.median(found) for name, found in values.items()}


def peak_memory() -> float:
    """Of this process so far, in gigabytes (Linux)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


@contextlib.contextmanager
def elsewhere(make: Callable[[], Callable[..., float]]) -> Iterator[Callable[..., float]]:
    """The call that the picklable `make` returns; it is made and called in a process of its own."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(make, there), daemon=True)
    process.start()
    there.close()

    def call(*arguments: object) -> float:
        here.send(arguments)
        return here.recv()

    try:
        yield call
    finally:
        here.close()
        process.join()


def _serve(make: Callable[[], Callable[..., float]], pipe: Connection) -> None:
    call = make()
    with contextlib.suppress(EOFError):  # the other end was closed: no more is asked
        while True:
            pipe.send(call(*pipe.recv()))
