"""Transcription beside transformers on PyTorch: python -m benchmarks.transcribe [--files 30] [--rounds 3]

Both sides use the same random weights (300M parameters, an adapter and a head for each of 16 languages), the same
recordings of 2 to 30 s, float32 and the same machine. They run in turn in processes of their own; medians are printed.
The benchmark needs `pip install -e .[peers]`.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import soundfile

from benchmarks.turns import peak_memory

LANGUAGES = [f"l{number:02d}" for number in range(16)]
LETTERS = "abcdefghijklmnopqrstuvwxyz'"
RATE = 16_000
PROGRAM = (sys.executable, "-m", "benchmarks.transcribe")
GEOMETRY = {
    "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096,
    "conv_bias": True, "feat_extract_norm": "layer", "do_stable_layer_norm": True, "adapter_attn_dim": 16,
    "hidden_dropout": 0.0, "layerdrop": 0.0,
}  # fmt: skip


def main() -> None:
    """Makes model and recordings, runs the sides in turn, and prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--peer_batch", type=int, default=1, help="transformers' batch size; files of similar length share a batch"
    )
    parser.add_argument("--side", choices=("make", "mms_jax", "transformers"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=pathlib.Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    match arguments.side:
        case "make":
            return make_model(arguments.folder)
        case "mms_jax":
            return serve(mms_jax_side(arguments.folder))
        case "transformers":
            return serve(transformers_side(arguments.folder, arguments.peer_batch))
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        subprocess.run([*PROGRAM, "--side", "make", "--folder", name], check=True)
        seconds = make_recordings(folder, arguments.files)
        print(f"{arguments.files} recordings, {seconds:.0f} s of audio, {os.cpu_count()} cores", flush=True)
        sides = {side: Side(side, folder, arguments.peer_batch) for side in ("transformers", "mms_jax")}
        compare(sides, seconds, arguments.rounds)
        compare_languages(sides, arguments.rounds)
        peaks = {side: process.ask("memory") for side, process in sides.items()}
        print(f"peak memory    {peaks['transformers']:.2f} GB  {peaks['mms_jax']:.2f} GB  "
              f"ratio {peaks['mms_jax'] / peaks['transformers']:.2f}")  # fmt: skip
        for process in sides.values():
            process.ask("stop")


def compare(sides: dict[str, "Side"], seconds: float, rounds: int) -> None:
    """Compares the sides on every recording, in one language."""
    first = {side: process.ask("one language") for side, process in sides.items()}
    times: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side, process in sides.items():
            times[side].append(process.ask("one language"))
    theirs, ours = (statistics.median(times[side]) for side in sides)
    ratio = statistics.median(their / our for their, our in zip(*times.values()))
    print("               transformers  mms_jax")
    print(f"audio s a s    {seconds / theirs:.2f}          {seconds / ours:.2f}     ratio {ratio:.2f}")
    print(
        f"first run adds {first['transformers'] - theirs:.1f} s         {first['mms_jax'] - ours:.1f} s (compilation)"
    )


def compare_languages(sides: dict[str, "Side"], rounds: int) -> None:
    """Compares sixteen recordings of 5 s in one language, in sixteen, and in sixteen with adapters loaded for each."""
    for process in sides.values():
        process.ask("short, one language")
        process.ask("short, all languages")
    one, every, swapped = [], [], []
    for _ in range(rounds):
        one.append(sides["mms_jax"].ask("short, one language"))
        every.append(sides["mms_jax"].ask("short, all languages"))
        swapped.append(sides["transformers"].ask("short, all languages"))
    share = statistics.median(alone / mixed for alone, mixed in zip(one, every))
    factor = statistics.median(their / mixed for their, mixed in zip(swapped, every))
    print(f"16 languages in one batch: {share:.0%} of the speed of one, {factor:.2f} times that of swapping adapters")


class Side:
    """One side's process."""

    def __init__(self, side: str, folder: pathlib.Path, peer_batch: int):
        command = [*PROGRAM, "--side", side, "--folder", str(folder), "--peer_batch", str(peer_batch)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, what: str) -> float:
        """Runs a job; returns its seconds, or gigabytes for the job "memory"."""
        assert self._process.stdin and self._process.stdout
        print(what, file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline())


def serve(jobs) -> None:
    """Runs the jobs whose names come on stdin; `jobs` maps names to functions."""
    for line in sys.stdin:
        what = line.strip()
        if what == "memory":
            print(peak_memory(), flush=True)
        elif what == "stop":
            print(0, flush=True)
            return
        else:
            begun = time.perf_counter()
            jobs[what]()
            print(time.perf_counter() - begun, flush=True)


def make_recordings(folder: pathlib.Path, files: int) -> float:
    """Writes recordings of noise, `files` of 2 to 30 s and sixteen of 5 s; returns the seconds of the former."""
    rng = np.random.default_rng(0)
    lengths = rng.permutation(np.linspace(2, 30, files))
    for kind, seconds in (("long", lengths), ("short", [5.0] * len(LANGUAGES))):
        for number, length in enumerate(seconds):
            waveform = 0.1 * rng.standard_normal(int(length * RATE), dtype=np.float32)
            soundfile.write(folder / f"{kind}{number:02d}.wav", waveform, RATE)
    return float(lengths.sum())


def make_model(folder: pathlib.Path) -> None:
    """Writes a random recognizer with sixteen adapters, in the form of transformers."""
    import torch
    import transformers
    from safetensors.torch import save_file

    torch.manual_seed(0)
    table = {token: number for number, token in enumerate(["<pad>", "<s>", "</s>", "<unk>", "|", *LETTERS])}
    config = transformers.Wav2Vec2Config(**GEOMETRY, vocab_size=len(table))
    model = transformers.Wav2Vec2ForCTC(config)
    model.save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps(dict.fromkeys(LANGUAGES, table)))
    tokenizer = transformers.Wav2Vec2CTCTokenizer(folder / "vocab.json", target_lang=LANGUAGES[0])
    extractor = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True)
    transformers.Wav2Vec2Processor(extractor, tokenizer).save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps(dict.fromkeys(LANGUAGES, table)))
    own = {name: tensor.clone() for name, tensor in model._get_adapters().items()}
    for language in LANGUAGES:
        save_file(own, folder / f"adapter.{language}.safetensors")


def mms_jax_side(folder: pathlib.Path):
    """This project, as `mms-jax transcribe` runs it."""
    import mms_jax

    model = mms_jax.load_recognizer(folder, LANGUAGES)
    long, short = sorted(map(str, folder.glob("long*.wav"))), sorted(map(str, folder.glob("short*.wav")))
    return {
        "one language": lambda: model.transcribe(long, language=LANGUAGES[0]),
        "short, one language": lambda: model.transcribe(short, language=LANGUAGES[0]),
        "short, all languages": lambda: model.transcribe(short, language=LANGUAGES),
    }


def transformers_side(folder: pathlib.Path, batch: int):
    """transformers, with files of similar length in a batch, and adapters swapped as in its documentation."""
    import torch
    import transformers

    processor = transformers.AutoProcessor.from_pretrained(folder)
    model = transformers.Wav2Vec2ForCTC.from_pretrained(folder, target_lang=LANGUAGES[0]).eval()
    long, short = sorted(folder.glob("long*.wav")), sorted(folder.glob("short*.wav"))

    def transcribe(files) -> None:
        waveforms = sorted((soundfile.read(file, dtype="float32")[0] for file in files), key=len)
        with torch.inference_mode():
            for start in range(0, len(waveforms), batch):
                rows = waveforms[start : start + batch]
                inputs = processor(rows, sampling_rate=RATE, return_tensors="pt", padding=True)
                processor.batch_decode(model(**inputs).logits.argmax(-1))

    def swapping() -> None:
        for file, language in zip(short, LANGUAGES):
            processor.tokenizer.set_target_lang(language)
            model.load_adapter(language)
            transcribe([file])

    return {
        "one language": lambda: transcribe(long),
        "short, one language": lambda: transcribe(short),
        "short, all languages": swapping,
    }


if __name__ == "__main__":
    main()
