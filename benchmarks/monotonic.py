"""Monotonic alignment search beside the original's Cython loops, compiled by Numba: python -m benchmarks.monotonic

The batch has 64 x 1,000 frames x 200 symbols, in rows of different lengths. Both searches run in turn in one process;
medians of several rounds are printed. The original's copies of scores from an accelerator and of paths back to it are
not counted.
"""

import argparse
import statistics
import time

import jax
import numba
import numpy as np

from mms_jax.models.vits.monotonic import monotonic_alignment


@numba.njit(parallel=True, fastmath=True)
def loops(scores, frames, symbols):
    """The original's search: in place, one row of the batch after another in each thread."""
    batch, size, _ = scores.shape
    paths = np.full((batch, size), -1, np.int32)
    for row in numba.prange(batch):
        value, last_frame, last = scores[row], frames[row], symbols[row]
        for frame in range(last_frame):
            for symbol in range(max(0, last + frame - last_frame), min(last, frame + 1)):
                stay = np.float32(-1e9) if symbol == frame else value[frame - 1, symbol]
                if symbol == 0:
                    step = np.float32(0.0) if frame == 0 else np.float32(-1e9)
                else:
                    step = value[frame - 1, symbol - 1]
                value[frame, symbol] += max(step, stay)
        symbol = last - 1
        for frame in range(last_frame - 1, -1, -1):
            paths[row, frame] = symbol
            if symbol != 0 and (symbol == frame or value[frame - 1, symbol] < value[frame - 1, symbol - 1]):
                symbol -= 1
    return paths


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(64, 1000, 200)).astype(np.float32)
    frames, symbols = rng.integers(700, 1001, 64), rng.integers(120, 201, 64)
    search, placed = jax.jit(monotonic_alignment), jax.device_put(scores)
    paths = np.asarray(search(placed, frames, symbols))
    np.testing.assert_array_equal(paths, loops(scores.copy(), frames, symbols))
    seconds: dict[str, list[float]] = {"loops": [], "mms_jax": []}
    for _ in range(rounds):
        mutable = scores.copy()  # the loops write into their scores
        begun = time.perf_counter()
        loops(mutable, frames, symbols)
        seconds["loops"].append(time.perf_counter() - begun)
        begun = time.perf_counter()
        search(placed, frames, symbols).block_until_ready()
        seconds["mms_jax"].append(time.perf_counter() - begun)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"the same paths; {jax.devices()[0].device_kind}, jax {jax.__version__}, {numba.get_num_threads()} threads")
    for name, value in median.items():
        print(f"  {name:<10}{1000 * value:8.1f} ms ({median['loops'] / value:.2f} times as fast)")


if __name__ == "__main__":
    main()
