"""CTC alignment beside the PyPI package ctc-forced-aligner: python -m benchmarks.align [--rounds 3]

It needs Linux and pip install -e .[peers]. The searches take the same random scores and labels, in turn, each in a
process of its own. The seconds of each, the memory that it adds to the process's peak, and its score are printed. An
hour of speech (180,000 frames, 45,000 labels) follows, and XLA's form on this machine.
"""

import argparse
import ctypes
import json
import pathlib
import re
import statistics
import subprocess
import sys
import time

import numpy as np

SYMBOLS = 31


def problem(frames: int, labels: int) -> tuple[np.ndarray, np.ndarray]:
    """float32 (frames, symbols) log probabilities, and labels of which some neighbors are equal."""
    rng = np.random.default_rng(0)
    scores = rng.normal(0.0, 2.0, (frames, SYMBOLS)).astype(np.float32)
    scores -= np.log(np.exp(scores).sum(axis=1, keepdims=True))
    return scores, rng.integers(1, SYMBOLS, labels).astype(np.int64)


def search(name: str, scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The path that a search finds: int (frames,), a label or blank for each."""
    if name == "ctc-forced-aligner":
        from ctc_forced_aligner.ctc_aligner import align_sequences

        return np.asarray(align_sequences(scores[None], labels[None], 0)[0])[0]
    if name == "numba":
        from mms_jax.alignment import align_ctc

        return align_ctc(scores, labels).labels
    from mms_jax.alignment.viterbi_xla import best_paths

    [states] = best_paths([scores], [labels.astype(np.int32)], 0)
    return np.where(states % 2 == 1, labels[np.minimum(states // 2, len(labels) - 1)], 0)


def measure(name: str, frames: int, labels: int) -> dict[str, float]:
    """Measures one search in this process, after compiling it on a problem of the same kind."""
    if name == "numba":
        search(name, *problem(100, 20))
    scores, text = problem(frames, labels)
    if name == "xla":
        search(name, scores, text)
    ctypes.CDLL("libc.so.6").malloc_trim(0)  # freed memory is returned,
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # and the peak starts anew
    before = _status("VmRSS")
    begun = time.perf_counter()
    path = search(name, scores, text)
    seconds = time.perf_counter() - begun
    added = _status("VmHWM") - before
    score = float(scores[np.arange(frames), path].sum(dtype=np.float64))
    return {"seconds": seconds, "megabytes": added, "score": score}


def _status(field: str) -> float:
    """A memory field of this process, in megabytes."""
    return int(re.search(rf"{field}:\s+(\d+)", pathlib.Path("/proc/self/status").read_text()).group(1)) / 1024  # type: ignore[union-attr]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs=3, metavar=("NAME", "FRAMES", "LABELS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        name, frames, labels = arguments.one
        print(json.dumps(measure(name, int(frames), int(labels))))
        return
    compare(60_000, 15_000, ("ctc-forced-aligner", "numba"), arguments.rounds)
    compare(180_000, 45_000, ("numba",), arguments.rounds)
    compare(60_000, 15_000, ("xla",), 1)


def compare(frames: int, labels: int, names: tuple[str, ...], rounds: int) -> None:
    """Runs the searches in turn and prints medians, and ratios to the first."""
    results: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            command = [sys.executable, "-m", "benchmarks.align", "--one", name, str(frames), str(labels)]
            results[name].append(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))
    first: dict[str, float] = {}
    print(f"{frames} frames, {labels} labels")
    for name, runs in results.items():
        median = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        first = first or median
        print(
            f"  {name:<20}{median['seconds']:8.2f} s ({first['seconds'] / median['seconds']:.1f} times as fast)"
            f"{median['megabytes']:8.1f} MB ({median['megabytes'] / max(first['megabytes'], 1e-9):.2f})"
            f"  score {median['score']:.2f}"
        )


if __name__ == "__main__":
    main()
