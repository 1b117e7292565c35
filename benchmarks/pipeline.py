"""The speed of the input pipeline, and the time a training step waits for it: python -m benchmarks.pipeline DATA_DIR

DATA_DIR is that of a quickstart: runs/quickstart/data. The benchmark prints the hours of audio decoded in a second of
one core, in this process's threads and in worker processes, the time to the first batch, and the share of a training run's
time spent without a batch. Beside them stands the need of a host of a TPU v5e slice.
"""

import json
import os
import pathlib
import statistics
import sys
import tempfile
import time

from input_pipeline.dataset import open_corpora, training_data
from input_pipeline.loader import load_batches
from mms_jax.config import default_config
from mms_jax.tasks.asr.task import AsrTask
from mms_jax.train import train

BATCHES, REPEATS = 100, 5
# Audio hours a second for each of the 64 hosts of a v5e 16x16 that pretrains the 1B model at MMS's batch: the estimate of
# python -m mms_jax.compile --config=pretrain_1b --topology=v5e:16x16 --config.mesh.fsdp=16, see docs/running.md.
NEEDED = 0.38


def bench_config(data_dir: str):
    """Batches of 48 s of the corpus that the quickstart's recognizer is trained on."""
    config = default_config("asr")
    config.input.corpora = ("aligned_chapters/phrases:train",)
    config.input.data_dir = data_dir
    config.input.bucket_seconds = (2.4, 3.0, 4.4)
    config.input.batch_seconds = 48.0
    return config


def first_batch(config) -> float:
    """Seconds from opening the corpora to the first batch of a run, without the imports."""
    begun = time.monotonic()
    corpora = open_corpora(config.input.corpora, config.input.data_dir)
    plan, decoder = training_data(config.input, corpora, AsrTask.from_corpora(config, corpora).needs, seed=0)
    next(load_batches(plan, decoder, start=0, stop=1, workers=0))
    return time.monotonic() - begun


def decoding(config, workers: int) -> tuple[float, float]:
    """Audio hours in a second of wall time and in a second of CPU time, medians of several runs."""
    corpora = open_corpora(config.input.corpora, config.input.data_dir)
    needs = AsrTask.from_corpora(config, corpora).needs
    plan, decoder = training_data(config.input, corpora, needs, seed=0)
    by_wall, by_cpu = [], []
    for repeat in range(REPEATS):
        batches = load_batches(
            plan, decoder, start=repeat * BATCHES, stop=(repeat + 1) * BATCHES, workers=workers, prefetch=4
        )
        next(batches)  # the start of the processes is not measured
        before, begun = os.times(), time.monotonic()
        hours = sum(batch["lengths"].sum() for batch in batches) / 16_000 / 3600
        after = os.times()
        cpu = sum(after[:4]) - sum(before[:4])
        by_wall.append(hours / (time.monotonic() - begun))
        by_cpu.append(hours / max(cpu, 1e-9))
    return statistics.median(by_wall), statistics.median(by_cpu)


def waiting(config) -> float:
    """The share of a training run's time without a batch, compilation excluded."""
    config.total_steps, config.log_every, config.model.geometry = 60, 20, "tiny"
    with tempfile.TemporaryDirectory() as folder:
        train(config, folder)
        rows = [json.loads(line) for line in (pathlib.Path(folder) / "metrics.jsonl").read_text().splitlines()]
    return rows[-1]["data_share"]


def main() -> None:
    """Prints the table."""
    data_dir = sys.argv[1] if len(sys.argv) > 1 else "runs/quickstart/data"
    config = bench_config(data_dir)
    print(f"first batch after {first_batch(config):.2f} s")
    config.input.noise = (10.0, 40.0)
    wall, cpu = decoding(config, 0)
    print(f"threads, with noise added: {wall:.2f} audio hours a second, {cpu:.2f} audio hours a core-second")
    config.input.noise = ()
    wall, cpu = decoding(config, 0)
    print(f"threads    {wall:6.2f} audio hours a second, {cpu:6.2f} audio hours a core-second")
    print(
        f"needed     {NEEDED:6.2f} audio hours a second by a host of a v5e 16x16; twice that is {2 * NEEDED / cpu:.1f} cores"
    )
    wall, _ = decoding(config, 2)
    print(f"2 workers  {wall:6.2f} audio hours a second")
    print(f"a training step of the tiny model waits for data {100 * waiting(config):.1f} % of its time")


if __name__ == "__main__":
    main()
