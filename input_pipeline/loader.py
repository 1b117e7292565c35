"""Batches, decoded ahead of the step that needs them."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from typing import Protocol

import grain
import numpy as np
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

    def __init__(self, plan: TrainingPlan | EvaluationPlan, decoder: Decoder, parts: Sequence[int], of: int):
        self._plan, self._decoder = plan, decoder
        self._parts, self._of = parts, of

    def __call__(self, step: int) -> Batch:
        batch = self._plan.batch(int(step))
        cut = np.arange(len(batch.items)).reshape(self._of, -1)
        return self._decoder(batch, cut[list(self._parts)].ravel().tolist())


def load_batches(
    plan: TrainingPlan | EvaluationPlan,
    decoder: Decoder,
    *,
    start: int,
    stop: int,
    workers: int,
    prefetch: int = 2,
    parts: Sequence[int] = (0,),
    of: int = 1,
) -> BatchIterator:
    """Yields batches start, start + 1, ..., stop - 1 of a plan, in order.

    Args:
      plan: of the batches.
      decoder: reads them.
      start, stop: batch numbers; a resumed run differs only in its start.
      workers: decoding processes; 0 decodes in two threads of this process, which suffices for a few CPU cores, since
        FLAC is decoded outside the interpreter's lock.
      prefetch: batches decoded ahead (by each worker).
      parts: of the `of` equal parts into which the rows of every batch are cut, those that this process reads.
    """
    load = _Load(plan, decoder, parts, of)
    steps = grain.MapDataset.range(start, stop).map(load)
    if workers == 0:
        return iter(steps.to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=prefetch)))
    if not flags.FLAGS.is_parsed():  # Grain's workers read flags, which only an absl program has parsed.
        flags.FLAGS.mark_as_parsed()
    batches = steps.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=1))
    options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=prefetch)
    return iter(batches.mp_prefetch(options, worker_init_fn=_follow_trainer))


def _follow_trainer(worker: int, workers: int) -> None:
    """Lets a worker process live exactly as long as the trainer.

    Ctrl-C and SIGTERM often reach a whole group of processes, and the trainer needs batches until it has saved. A trainer
    that is killed cannot end its workers.
    """
    del worker, workers
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_trainer, daemon=True).start()


def _end_with_trainer() -> None:
    trainer = multiprocessing.parent_process()
    assert trainer is not None
    trainer.join()
    os._exit(1)
