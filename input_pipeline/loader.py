"""Batches, decoded ahead of the step that needs them."""

from collections.abc import Iterator
from typing import Protocol

import grain
from absl import flags

from input_pipeline.decode import Batch, Decoder
from input_pipeline.plan import EvaluationPlan, TrainingPlan


class BatchIterator(Protocol):
    """Decoded batches; `close` ends the threads or processes that decode them."""

    def __iter__(self) -> Iterator[Batch]: ...

    def __next__(self) -> Batch: ...

    def close(self) -> None: ...


class _Load:
    """Step number -> this process's decoded rows. It is a class, so that it can be sent to worker processes."""

    def __init__(self, plan: TrainingPlan | EvaluationPlan, decoder: Decoder, process: int, processes: int):
        self._plan, self._decoder = plan, decoder
        self._process, self._processes = process, processes

    def __call__(self, step: int) -> Batch:
        batch = self._plan.batch(int(step))
        rows = len(batch.items) // self._processes
        return self._decoder(batch, slice(self._process * rows, (self._process + 1) * rows))


def load_batches(
    plan: TrainingPlan | EvaluationPlan,
    decoder: Decoder,
    *,
    start: int,
    stop: int,
    workers: int,
    prefetch: int = 2,
    process: int = 0,
    processes: int = 1,
) -> BatchIterator:
    """Yields batches start, start + 1, ..., stop - 1 of a plan, in order.

    Args:
      plan: of the batches.
      decoder: reads them.
      start, stop: batch numbers; a resumed run differs only in its start.
      workers: decoding processes; 0 decodes in two threads of this process, which suffices for a few CPU cores, since
        FLAC is decoded outside the interpreter's lock.
      prefetch: batches decoded ahead (by each worker).
      process, processes: of the job; each takes its share of the rows of every batch.
    """
    load = _Load(plan, decoder, process, processes)
    steps = grain.MapDataset.range(start, stop).map(load)
    if workers == 0:
        return iter(steps.to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=prefetch)))
    if not flags.FLAGS.is_parsed():  # Grain's workers read flags, which only an absl program has parsed.
        flags.FLAGS.mark_as_parsed()
    batches = steps.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=1))
    return iter(batches.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=prefetch)))
