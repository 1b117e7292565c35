"""Time and memory of planning the batches of a large corpus: python -m benchmarks.planning [UTTERANCES]

Writes the index of a synthetic corpus (by default 100 million utterances in 4,000 languages, 500,000 hours, 2 % of them
chapters that are cropped), and plans it in a process of its own, as a run does: the time until the plan stands, with its
check for repeated rows, until the first batch is known, and until a run resumed at step 900,000 knows its batch; and the
memory that this adds at its peak. No audio is read. Linux only.
"""

import itertools
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

from input_pipeline.corpora.index import Index, save_index

LANGUAGES, HOURS = 4_000, 500_000
PLAN = """
import pathlib, re, sys, time
from input_pipeline.corpora.index import open_index
from input_pipeline.corpora.storage import Corpus
from input_pipeline.dataset import DataNeeds, training_data
from mms_jax.config import default_config
config = default_config("pretrain").input
config.bucket_seconds, config.batch_seconds, config.rows_multiple = (5.0, 10.0, 20.0), 15360.0, 256
# Not getrusage: its peak is inherited from the process that started this one.
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text()).group(1)) * 1024 / 1e9
before, begun = peak(), time.perf_counter()
elapsed = lambda: time.perf_counter() - begun
corpus = Corpus("synthetic:train", (), open_index(pathlib.Path(sys.argv[1])))
plan, _ = training_data(config, [corpus], DataNeeds(crop=True), 0)
print(f"plan                  {elapsed():8.2f} s  ({len(plan.table):,} utterances, {plan.batches:,} batches an epoch)")
for step in (0, 900_000):
    begun = time.perf_counter()
    rows = len(plan.batch(step).items)
    print(f"batch {step:<16}{elapsed():8.2f} s  ({rows} rows)")
begun = time.perf_counter()
for step in range(900_001, 900_101):
    plan.batch(step)
print(f"each batch after that {elapsed() / 100:8.4f} s")
print(f"memory added          {peak() - before:8.2f} GB")
"""


def synthetic_index(utterances: int) -> Index:
    """Languages of very different size, and lengths as of sentences and chapters."""
    rng = np.random.default_rng(0)
    sizes = rng.lognormal(0.0, 1.5, LANGUAGES)
    counts = np.maximum(1, (sizes / sizes.sum() * utterances).astype(int))
    counts[0] += max(0, utterances - counts.sum())
    starts = np.concatenate([[0], np.cumsum(counts)])
    seconds = rng.gamma(4.0, 1.0, starts[-1]).astype(np.float32)
    seconds[rng.integers(0, len(seconds), len(seconds) // 50)] *= 20
    seconds *= np.float32(HOURS * 3600 * utterances / 100e6 / seconds.sum(dtype=np.float64))
    for low, high in itertools.pairwise(starts):
        seconds[low:high].sort()
    zeros = np.zeros(len(seconds), np.int32)
    return Index(
        languages=tuple(f"{number:04d}" for number in range(LANGUAGES)),
        starts=starts,
        record=rng.permutation(len(seconds)).astype(np.int32),
        seconds=seconds,
        characters=zeros,
        speakers=("unknown",),
        speaker=zeros,
        alphabets={},
    )


def main() -> None:
    """Writes, plans, prints."""
    utterances = int(float(sys.argv[1])) if len(sys.argv) > 1 else 100_000_000
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch) / "index_train"
        save_index(synthetic_index(utterances), folder)
        print(subprocess.run([sys.executable, "-c", PLAN, folder], check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    main()
