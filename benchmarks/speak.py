"""Synthesis beside transformers' VitsModel, at the published size with random weights: python -m benchmarks.speak

It needs pip install -e .[peers]. Both sides have the same weights and are timed in float32, end to end for a text of
about five seconds and for the generator alone, in turn, each in its own process with all cores; medians and ratios are
printed. --device cuda runs transformers on a GPU too.
"""

import argparse
import functools
import importlib.metadata
import pathlib
import tempfile
import time

import jax
import numpy as np

from benchmarks.turns import Call, in_turn

LETTERS = 140  # about 4.5 seconds of the voice that is made here
RATE, HOP = 16_000, 256  # of the published voices


def make_voice(folder: pathlib.Path) -> None:
    """Saves transformers' VitsModel with weights that give a usual speaking rate, and its symbols."""
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


def report(title: str, median: dict[str, float]) -> None:
    """Prints seconds of audio a second, and ratios to transformers."""
    print(title)
    for name, value in median.items():
        print(f"  {name:<14}{value:8.2f} s of audio a second ({value / median['transformers']:.2f} times transformers)")


def speech_of_transformers(folder: str, text: str, device: str) -> Call:
    """A call that returns the seconds of audio that VitsModel synthesizes from a text in a second."""
    import torch
    import transformers

    import mms_jax

    symbols = torch.tensor([mms_jax.load_voice(folder).tokenizer.encode(text)], device=device)
    model = transformers.VitsModel.from_pretrained(folder).eval().to(device)

    def call() -> float:
        begun = time.perf_counter()
        with torch.no_grad():
            waveform = model(symbols).waveform.cpu()
        return waveform.shape[-1] / RATE / (time.perf_counter() - begun)

    return call


def our_speech(folder: str, text: str) -> Call:
    """The same for mms_jax."""
    import mms_jax

    print(f"jax {jax.__version__} on {jax.devices()[0].device_kind}")
    voice = mms_jax.load_voice(folder)

    def call() -> float:
        begun = time.perf_counter()
        return len(voice.speak(text).samples) / RATE / (time.perf_counter() - begun)

    return call


def generator_of_transformers(folder: str, latents: np.ndarray, device: str) -> Call:
    """A call that returns the seconds of audio that VitsModel's generator makes in a second."""
    import torch
    import transformers

    model = transformers.VitsModel.from_pretrained(folder).eval().to(device)
    channels_first = torch.from_numpy(latents.transpose(0, 2, 1).copy()).to(device)

    def call() -> float:
        begun = time.perf_counter()
        with torch.no_grad():
            model.decoder(channels_first).cpu()
        return latents.shape[1] * HOP / RATE / (time.perf_counter() - begun)

    return call


def our_generator(folder: str, latents: np.ndarray) -> Call:
    """The same for mms_jax."""
    import mms_jax

    voice = mms_jax.load_voice(folder)
    begin, end, speaker = np.asarray([0]), np.asarray([latents.shape[1]]), np.zeros(1, np.int32)

    def call() -> float:
        begun = time.perf_counter()
        np.asarray(voice._generator(voice._params, latents, begin, end, speaker))
        return latents.shape[1] * HOP / RATE / (time.perf_counter() - begun)

    return call


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu", help="of transformers: cpu or cuda")
    arguments = parser.parse_args()
    rounds, device = arguments.rounds, arguments.device
    print(f"torch {importlib.metadata.version('torch')} on {device}")
    rng = np.random.default_rng(0)
    text = "".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz "), LETTERS)).strip().replace("  ", "a ")
    with tempfile.TemporaryDirectory() as folder:
        make_voice(pathlib.Path(folder))
        speech = in_turn(
            rounds,
            transformers=functools.partial(speech_of_transformers, folder, text, device),
            mms_jax=functools.partial(our_speech, folder, text),
        )
        report(f"end to end, {len(text)} letters", speech)
        latents = rng.normal(size=(1, 320, 192)).astype(np.float32)
        generators = in_turn(
            rounds,
            transformers=functools.partial(generator_of_transformers, folder, latents, device),
            mms_jax=functools.partial(our_generator, folder, latents),
        )
        report("generator alone, 5.1 s", generators)


if __name__ == "__main__":
    main()
