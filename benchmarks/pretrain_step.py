"""A pretraining step beside transformers on PyTorch: python -m benchmarks.pretrain_step [--rows 4] [--seconds 5]

Both train wav2vec 2.0 of base size (12 layers of 768, extractor with layer norm) on batches of the same shape in float32:
masking, quantization with Gumbel noise, 100 distractors, both losses, all gradients, Adam. They run in turn, each
in a process of its own with all cores; medians, their ratio, and the peak memory of each process are printed. It needs
pip install -e .[peers].
"""

import argparse
import contextlib
import functools
import importlib.metadata
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.turns import elsewhere, peak_memory

STEP, MEMORY = "step", "memory"
Side = Callable[[str], float]


def make_ours(waveforms: np.ndarray) -> Side:
    """Seconds of one step, or gigabytes at the peak."""
    import jax
    import jax.numpy as jnp

    from mms_jax import sharding
    from mms_jax.config import default_config
    from mms_jax.models.functional import FunctionalModel
    from mms_jax.models.wav2vec2.config import Wav2Vec2Config
    from mms_jax.optimizers import make_optimizer
    from mms_jax.tasks.pretrain.task import PretrainTask
    from mms_jax.training.state import abstract_state, initial_state
    from mms_jax.training.step import make_train_step

    print(f"jax {jax.__version__} on {jax.devices()[0].device_kind}", flush=True)
    config = default_config("pretrain")
    base = Wav2Vec2Config(hidden=768, mlp=3072, layers=12, heads=12, quantized=256, projected=256)
    task = PretrainTask(config, base)
    model = FunctionalModel.abstract(task.build)
    optimizer, _ = make_optimizer(config.optimizer, 1000, 10)
    rows, samples = waveforms.shape
    batch: Any = {
        "waveforms": jnp.asarray(waveforms),
        "lengths": jnp.full(rows, samples),
        "item": jnp.arange(rows),
        "counted": jnp.ones(rows, bool),
    }
    mesh = sharding.make_mesh()
    with jax.set_mesh(mesh):
        state = initial_state(task, model, optimizer, abstract_state(task, model, optimizer, mesh), seed=0)
        step = make_train_step(task, model, optimizer, seed=0)
        batch = sharding.put_batch(batch, mesh)

    def side(asked: str) -> float:
        nonlocal state
        if asked == MEMORY:
            return peak_memory()
        begun = time.perf_counter()
        with jax.set_mesh(mesh):
            state, metrics = step(state, batch)
        jax.block_until_ready((state, metrics))
        return time.perf_counter() - begun

    return side


def make_theirs(waveforms: np.ndarray) -> Side:
    """The same for transformers."""
    import torch
    import transformers
    from transformers.models.wav2vec2 import modeling_wav2vec2 as original

    print(f"torch {torch.__version__}, transformers {importlib.metadata.version('transformers')}", flush=True)
    torch.manual_seed(0)
    config = transformers.Wav2Vec2Config(
        conv_bias=True, feat_extract_norm="layer", do_stable_layer_norm=True, hidden_dropout=0.0, layerdrop=0.0,
        attention_dropout=0.0, activation_dropout=0.0, feat_proj_dropout=0.0, feat_quantizer_dropout=0.0,
    )  # fmt: skip
    model = original.Wav2Vec2ForPreTraining(config).train()
    optimizer = torch.optim.Adam(model.parameters(), 5e-4, betas=(0.9, 0.98), eps=1e-6)
    sound = torch.from_numpy(waveforms)
    frames = int(model._get_feat_extract_output_lengths(waveforms.shape[1]))

    def side(asked: str) -> float:
        if asked == MEMORY:
            return peak_memory()
        begun = time.perf_counter()
        shape = (len(waveforms), frames)
        mask = original._compute_mask_indices(shape, mask_prob=0.65, mask_length=10)
        negatives = original._sample_negative_indices(shape, 100, mask)
        loss = model(
            sound, mask_time_indices=torch.from_numpy(mask), sampled_negative_indices=torch.from_numpy(negatives)
        ).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
        return time.perf_counter() - begun

    return side


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    waveforms = rng.normal(size=(arguments.rows, int(arguments.seconds * 16_000))).astype(np.float32)
    makers = {"transformers": make_theirs, "mms_jax": make_ours}
    seconds: dict[str, list[float]] = {name: [] for name in makers}
    with contextlib.ExitStack() as stack:
        sides = {
            name: stack.enter_context(elsewhere(functools.partial(make, waveforms))) for name, make in makers.items()
        }
        for name, side in sides.items():
            print(f"{name}: the first step takes {side(STEP):.1f} s", flush=True)
        for _ in range(arguments.rounds):
            for name, side in sides.items():
                side(STEP)  # brings idle memory back
                seconds[name].append(side(STEP))
        print(f"{arguments.rows} rows of {arguments.seconds:g} s")
        for name, side in sides.items():
            median = statistics.median(seconds[name])
            ratio = statistics.median(seconds["transformers"]) / median
            print(f"  {name:<14}{median:6.2f} s a step ({ratio:.2f} times as fast), {side(MEMORY):.2f} GB")


if __name__ == "__main__":
    main()
