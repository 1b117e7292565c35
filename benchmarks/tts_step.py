"""A training step of VITS beside the original's code: python -m benchmarks.tts_step CHECKOUT [--rows 4]

It needs pip install -e .[peers], librosa, and CHECKOUT, a copy of jaywalnut310/vits. Both use the published geometry,
batches of the same shapes and float32, and take a step as their programs do: alignment, both losses, both updates.
They run in turn, each in its own process with all cores; medians and the ratio are printed. --device cuda runs the
original on a GPU.
"""

import argparse
import functools
import importlib.metadata
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.monotonic import loops
from benchmarks.turns import Call, in_turn
from mms_jax.config import default_config
from mms_jax.models.functional import FunctionalModel
from mms_jax.models.vits.config import VitsConfig
from mms_jax.optimizers import make_optimizer, one_for_each
from mms_jax.tasks.tts.task import DISCRIMINATORS, VOICE, TtsTask
from mms_jax.text.voice_tokenizer import VoiceTokenizer

SETTINGS = {
    "inter_channels": 192, "hidden_channels": 192, "filter_channels": 768, "n_heads": 2, "n_layers": 6,
    "kernel_size": 3, "p_dropout": 0.1, "resblock": "1", "resblock_kernel_sizes": [3, 7, 11],
    "resblock_dilation_sizes": [[1, 3, 5]] * 3, "upsample_rates": [8, 8, 2, 2], "upsample_initial_channel": 512,
    "upsample_kernel_sizes": [16, 16, 4, 4],
}  # fmt: skip


def make_ours(batch: dict[str, np.ndarray]) -> Call:
    """A call that takes one step."""
    print(f"jax {jax.__version__} on {jax.devices()[0].device_kind}")
    config = default_config("tts")
    config.input.min_seconds = 0.6
    config.optimizer.schedule = "constant"
    config.optimizer.learning_rate = 2e-4
    text = VoiceTokenizer(tuple(chr(97 + number) for number in range(38)))
    task = TtsTask(config, VitsConfig(), text)
    model = FunctionalModel.abstract(task.build)
    optimizer = one_for_each((VOICE, DISCRIMINATORS), make_optimizer(config.optimizer, 100, 10)[0])
    params = jax.jit(model.init)(jax.random.key(0))
    step = jax.jit(
        lambda params, state, batch, key: task.update(model, optimizer, params, state, batch, key, jnp.int32(0)),
        donate_argnums=(0, 1),
    )
    state: dict[str, Any] = {"params": params, "optimizer": optimizer.init(params), "number": 0}

    def call() -> float:
        begun = time.perf_counter()
        key = jax.random.key(state["number"])
        state["params"], state["optimizer"], metrics = step(state["params"], state["optimizer"], batch, key)
        jax.block_until_ready(metrics)
        state["number"] += 1
        return 1.0 / (time.perf_counter() - begun)

    return call


def make_theirs(checkout: str, batch: dict[str, np.ndarray], device: str) -> Call:
    """The same for the original, whose spectrograms are computed in the step, as ours are."""
    import types

    import librosa
    import torch

    def maximum_path(scores, mask):
        inside = mask.cpu().numpy()
        paths = np.zeros(scores.shape, np.float32)
        frames, symbols = inside.sum(1)[:, 0].astype(int), inside.sum(2)[:, 0].astype(int)
        for row, path in enumerate(loops(scores.data.cpu().numpy().astype(np.float32), frames, symbols)):
            paths[row, np.arange(frames[row]), path[: frames[row]]] = 1
        return torch.from_numpy(paths).to(scores.device)

    modules: dict[str, Any] = sys.modules  # type: ignore[assignment]
    modules["monotonic_align"] = types.SimpleNamespace(maximum_path=maximum_path)
    sys.path.insert(0, checkout)
    filters: Any = librosa.filters
    mel, stft = filters.mel, torch.stft
    filters.mel = lambda rate, fft, bands, low, high: mel(sr=rate, n_fft=fft, n_mels=bands, fmin=low, fmax=high)
    torch.stft = lambda *args, **kwargs: torch.view_as_real(stft(*args, **kwargs, return_complex=True))
    import commons
    import losses
    import mel_processing
    import models

    filters.mel = mel
    torch.manual_seed(0)
    voice = models.SynthesizerTrn(38, 513, 32, **SETTINGS).to(device)
    discriminators = models.MultiPeriodDiscriminator().to(device)
    optimizers = [torch.optim.AdamW(m.parameters(), 2e-4, betas=(0.8, 0.99), eps=1e-9) for m in (voice, discriminators)]
    symbols, symbol_lengths = (
        torch.from_numpy(batch["labels"]).to(device),
        torch.from_numpy(batch["label_lengths"]).to(device),
    )
    waveforms = torch.from_numpy(batch["waveforms"]).to(device)
    frames = torch.from_numpy(batch["lengths"] // 256).to(device)
    shape = (1024, 80, 16_000, 256, 1024, 0.0, None)

    def call() -> float:
        begun = time.perf_counter()
        spectrogram = mel_processing.spectrogram_torch(waveforms, 1024, 16_000, 256, 1024)
        said, duration, _, starts, _, mask, (_, z_p, m_p, logs_p, _, logs_q) = voice(
            symbols, symbol_lengths, spectrogram, frames
        )
        mel = commons.slice_segments(
            mel_processing.spec_to_mel_torch(spectrogram, 1024, 80, 16_000, 0.0, None), starts, 32
        )
        said_mel = mel_processing.mel_spectrogram_torch(said.squeeze(1), *shape)
        real = commons.slice_segments(waveforms[:, None], starts * 256, 8192)
        scores_real, scores_said, _, _ = discriminators(real, said.detach())
        loss, _, _ = losses.discriminator_loss(scores_real, scores_said)
        optimizers[1].zero_grad()
        loss.backward()
        optimizers[1].step()
        _, scores_said, features_real, features_said = discriminators(real, said)
        loss = (
            losses.generator_loss(scores_said)[0] + losses.feature_loss(features_real, features_said)
            + 45 * torch.nn.functional.l1_loss(mel, said_mel) + duration.float().sum()
            + losses.kl_loss(z_p, logs_q, m_p, logs_p, mask)
        )  # fmt: skip
        optimizers[0].zero_grad()
        loss.backward()
        optimizers[0].step()
        loss.item()
        return 1.0 / (time.perf_counter() - begun)

    return call


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("checkout")
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=4.096)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu", help="of the original: cpu or cuda")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    samples = int(arguments.seconds * 16_000) // 256 * 256
    batch = {
        "waveforms": rng.normal(0, 0.1, (arguments.rows, samples)).astype(np.float32),
        "lengths": np.full(arguments.rows, samples),
        "labels": rng.integers(0, 38, (arguments.rows, 120)),
        "label_lengths": np.full(arguments.rows, 120),
        "counted": np.ones(arguments.rows, bool),
    }
    median = in_turn(
        arguments.rounds,
        original=functools.partial(make_theirs, arguments.checkout, batch, arguments.device),
        mms_jax=functools.partial(make_ours, batch),
    )
    print(f"torch {importlib.metadata.version('torch')} on {arguments.device}")
    print(f"{arguments.rows} rows of {arguments.seconds} s, segments of 8,192 samples")
    for name, value in median.items():
        print(f"  {name:<10}{1 / value:8.2f} s a step ({value / median['original']:.2f} times as fast)")


if __name__ == "__main__":
    main()
