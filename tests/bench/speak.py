"""Speaking beside transformers' VitsModel, with the same random weights of the published size: python -m tests.bench.speak

Needs pip install -e .[peers]. End to end in float32 for sentences of about five seconds, and for the generator alone, in
turn in one process, both with all cores; medians and ratios. --device cuda runs transformers on a GPU too.
"""

import argparse
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable

import jax
import numpy as np

SECONDS = 5.0


def make_voice(folder: pathlib.Path):
    """transformers' VitsModel with weights that speak at a usual pace, saved, and its symbols."""
    import json

    import torch
    import transformers

    torch.manual_seed(0)
    model = transformers.VitsModel(transformers.VitsConfig()).eval()
    with torch.no_grad():
        # Durations of about three frames a symbol, whatever the text.
        model.duration_predictor.flows[0].translate.copy_(torch.tensor([[1.0], [0.0]]))
        model.duration_predictor.flows[0].log_scale.copy_(torch.tensor([[1.5], [0.0]]))
    model.save_pretrained(folder)
    letters = "_ abcdefghijklmnopqrstuvwxyz'-0123456"[: model.config.vocab_size]
    letters += "".join(chr(0xE0 + number) for number in range(model.config.vocab_size - len(letters)))
    (folder / "vocab.json").write_text(json.dumps({letter: number for number, letter in enumerate(letters)}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"add_blank": True, "phonemize": False}))
    return model


def in_turn(rounds: int, **calls: Callable[[], float]) -> dict[str, float]:
    """The median of what each call returns, each called once before."""
    for call in calls.values():
        call()
    values: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            values[name].append(call())
    return {name: statistics.median(found) for name, found in values.items()}


def report(title: str, median: dict[str, float]) -> None:
    """Prints seconds of audio a second, and ratios to transformers."""
    print(title)
    for name, value in median.items():
        print(f"  {name:<14}{value:8.2f} s of audio a second ({value / median['transformers']:.2f} times transformers)")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cpu", help="of transformers: cpu or cuda")
    arguments = parser.parse_args()
    import torch

    import mms_jax

    with tempfile.TemporaryDirectory() as scratch:
        model = make_voice(pathlib.Path(scratch)).to(arguments.device)
        voice = mms_jax.load_voice(scratch)
    rng = np.random.default_rng(0)
    letters = list("abcdefghijklmnopqrstuvwxyz ")
    length = 60
    while True:  # as many letters as make about five seconds
        text = "".join(rng.choice(letters, length)).strip().replace("  ", "a ")
        if len(voice.speak(text).samples) / 16_000 >= SECONDS - 0.5 or length > 180:
            break
        length += 5
    symbols = torch.tensor([voice.text.encode(text)], device=arguments.device)

    def ours() -> float:
        begun = time.perf_counter()
        audio = voice.speak(text)
        return len(audio.samples) / 16_000 / (time.perf_counter() - begun)

    def theirs() -> float:
        begun = time.perf_counter()
        with torch.no_grad():
            waveform = model(symbols).waveform.cpu()
        return waveform.shape[-1] / 16_000 / (time.perf_counter() - begun)

    print(f"jax {jax.__version__} on {jax.devices()[0].device_kind}; torch {torch.__version__} on {arguments.device}")
    report(f"end to end, {len(text)} letters, {len(voice.speak(text).samples) / 16_000:.1f} s", in_turn(
        arguments.rounds, transformers=theirs, mms_jax=ours,
    ))  # fmt: skip

    frames = 320
    latents = rng.normal(size=(1, frames, 192)).astype(np.float32)
    theirs_in = torch.from_numpy(latents.transpose(0, 2, 1).copy()).to(arguments.device)
    edges = np.asarray([0]), np.asarray([frames])

    def our_generator() -> float:
        begun = time.perf_counter()
        np.asarray(voice._generator(voice._params, latents, *edges, np.zeros(1, np.int32)))
        return frames * 256 / 16_000 / (time.perf_counter() - begun)

    def their_generator() -> float:
        begun = time.perf_counter()
        with torch.no_grad():
            model.decoder(theirs_in).cpu()
        return frames * 256 / 16_000 / (time.perf_counter() - begun)

    report(
        "generator alone, 5.1 s", in_turn(arguments.rounds, transformers=their_generator, mms_jax=our_generator)
    )  # fmt: skip


if __name__ == "__main__":
    main()
