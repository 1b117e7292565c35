"""Time of a training step with language adapters, by the number of languages in the banks.

    python -m benchmarks.adapters

The batch holds two languages. A step of this program takes their rows out of the banks; beside it stands a step that
differentiates and updates the whole banks, as a framework does that knows nothing of rows. All are timed in turn.
"""

import argparse
import functools
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from input_pipeline.decode import Batch
from mms_jax.config import default_config
from mms_jax.models.functional import FunctionalModel, Params
from mms_jax.models.wav2vec2.config import geometry
from mms_jax.optimizers import make_optimizer
from mms_jax.tasks.asr.task import AsrTask
from mms_jax.tasks.gradient_update import gradient_update
from mms_jax.text.vocabulary import VocabularyBank

WIDTH = 16
ROWS, SECONDS = 4, 4.0


def make_batch(languages: int) -> Batch:
    """A few rows of noise in two languages."""
    rng = np.random.default_rng(0)
    samples = int(SECONDS * 16_000)
    return {
        "waveforms": jnp.asarray(rng.normal(size=(ROWS, samples)), jnp.float32),
        "lengths": jnp.full(ROWS, samples),
        "item": jnp.arange(ROWS),
        "counted": jnp.ones(ROWS, bool),
        "language": jnp.asarray([0, languages - 1] * (ROWS // 2)),
        "labels": jnp.asarray(rng.integers(2, 30, (ROWS, 40))),
        "label_lengths": jnp.full(ROWS, 40),
    }


class Step:
    """Updates a model again and again; its state is donated."""

    def __init__(self, name: str, languages: int, *, whole: bool):
        config = default_config("asr")
        config.adapters.width = WIDTH
        model = geometry(name, adapter_width=WIDTH, adapter_languages=languages)
        alphabets = {f"q{number:04d}": "abcdefghijklmnopqrstuvwxyz'" for number in range(languages)}
        task = AsrTask(config, model, VocabularyBank.from_alphabets(alphabets))
        functional = FunctionalModel.abstract(task.build)
        optimizer, _ = make_optimizer(config.optimizer, 100, 10)
        batch, key = make_batch(languages), jax.random.key(0)
        update = functools.partial(gradient_update, task) if whole else task.update
        self.params: Params = jax.jit(functional.init)(key)
        self.state: Any = optimizer.init(self.params)
        self.step = jax.jit(
            lambda params, state: update(functional, optimizer, params, state, batch, key, jnp.int32(0))[:2],
            donate_argnums=(0, 1),
        )
        self.banks = sum(leaf.size for leaf in jax.tree.leaves(self.params)) / 1e6

    def seconds(self) -> float:
        """The time of one update."""
        begun = time.perf_counter()
        self.params, self.state = jax.block_until_ready(self.step(self.params, self.state))
        return time.perf_counter() - begun


def main() -> None:
    """Prints medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--geometry", default="tiny")
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    cases = [(2, False), (1107, False), (1107, True)]
    steps = [Step(arguments.geometry, languages, whole=whole) for languages, whole in cases]
    for step in steps:
        step.seconds()  # compiles
    times = [[step.seconds() for step in steps] for _ in range(arguments.repeats)]
    medians = [statistics.median(column) for column in zip(*times)]
    for (languages, whole), step, median in zip(cases, steps, medians):
        way = "whole banks" if whole else "rows of the batch"
        print(f"{languages:>5} languages, {step.banks:6.1f} M parameters, {way:<18} {1000 * median:7.0f} ms "
              f"{median / medians[0]:6.2f} times")  # fmt: skip


if __name__ == "__main__":
    main()
