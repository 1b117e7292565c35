"""`mms-jax speak`: texts from arguments, files and pipes; audio to files and pipes."""

import argparse
import itertools
import pathlib
import struct
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from tqdm import tqdm

from mms_jax.audio.write import FORMATS, write_audio
from mms_jax.cli.outputs import check_folder
from mms_jax.errors import InputError, SpeechError
from mms_jax.files import read_text
from mms_jax.inference.load import load_voice
from mms_jax.inference.synthesizer import Synthesizer

TABLE = "lines.tsv"  # which line each file is of
_ENDLESS = 0xFFFFFFFF  # the length in the header of a WAV file of unknown length


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds its arguments."""
    parser.add_argument("text", nargs="?", metavar="TEXT", help="the text; - for standard input")
    parser.add_argument("--file", type=pathlib.Path, metavar="FILE", help="a text file in place of TEXT")
    parser.add_argument(
        "--model", required=True,
        help="a voice: a run's folder, a Hugging Face folder or repository (OWNER/NAME), or G_STEPS.pth with its files",
    )  # fmt: skip
    output = parser.add_mutually_exclusive_group(required=True)
    output.add_argument("--out", metavar="FILE", help="NAME.wav, .flac or .ogg; - streams WAV to standard output")
    output.add_argument("--output-dir", type=pathlib.Path, help="folder for one file per line: 0001.wav, 0002.wav, ...")
    parser.add_argument("--seed", type=int, default=0, help="seed of all random draws (default: 0)")
    parser.add_argument("--speed", type=float, help="2 is twice as fast (default: the voice's)")
    parser.add_argument("--noise", type=float, help="variation of the sound, 0 for none (default: the voice's)")
    parser.add_argument(
        "--noise-duration", type=float, help="variation of the rhythm, 0 for none (default: the voice's)"
    )
    parser.add_argument(
        "--speaker", default="0", help="name or number of the speaker, for voices with several (default: 0)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Speaks; returns the exit status."""
    text = _text(arguments)
    if arguments.out and arguments.out != "-":
        _check_format(pathlib.Path(arguments.out))
    voice = load_voice(arguments.model)
    settings = {
        "noise_scale": arguments.noise, "noise_scale_duration": arguments.noise_duration,
        "speaking_rate": arguments.speed, "speaker": arguments.speaker, "seed": arguments.seed,
    }  # fmt: skip
    given = {name: value for name, value in settings.items() if value is not None}
    if arguments.output_dir:
        return _speak_lines(voice, text, arguments.output_dir, given)
    if arguments.out == "-":
        _write_stream(sys.stdout.buffer, voice.stream(text, warn=_warn, **given), voice.config.rate)
        return 0
    audio = voice.speak(text, warn=_warn, **given)
    there = " (replaced)" if pathlib.Path(arguments.out).exists() else ""
    write_audio(pathlib.Path(arguments.out), audio.samples, audio.rate)
    print(f"{arguments.out}\t{len(audio.samples) / audio.rate:.2f} s{there}")
    return 0


def _check_format(path: pathlib.Path) -> None:
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"--out {path}: cannot write this format; name a file .wav, .flac or .ogg")


def _text(arguments: argparse.Namespace) -> str:
    if (arguments.text is None) == (arguments.file is None):
        raise InputError("give one text: TEXT, - for standard input, or --file FILE")
    if arguments.file:
        return read_text(arguments.file, InputError)
    return sys.stdin.read() if arguments.text == "-" else arguments.text


def _speak_lines(voice: Synthesizer, text: str, folder: pathlib.Path, settings: dict[str, Any]) -> int:
    """Synthesizes each line to its own file, with a table of them; lines without a symbol do not stop the others."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise InputError("the text is empty; give some words")
    check_folder(folder)
    replaced, others = _check_lines(folder, lines)
    folder.mkdir(parents=True, exist_ok=True)
    failed = False
    spoken = voice.speak_each(lines, warn=_warn, **settings)
    with (folder / TABLE).open("w", encoding="utf-8") as table:
        table.write("path\ttext\n" + "".join(f"{path}\t{text}\n" for path, text in others.items()))
        for number, (line, audio) in enumerate(
            tqdm(zip(lines, spoken), total=len(lines), desc="speak", unit="line", disable=None, leave=False), start=1
        ):
            if isinstance(audio, SpeechError):
                failed = True
                tqdm.write(f"error: line {number}: {audio}", file=sys.stderr)
                continue
            write_audio(folder / f"{number:04d}.wav", audio.samples, audio.rate)
            table.write(f"{number:04d}.wav\t{line}\n")
    if replaced:
        print(f"replaced {replaced} older results in {folder}", file=sys.stderr)
    print(folder)
    return 1 if failed else 0


def _check_lines(folder: pathlib.Path, lines: list[str]) -> tuple[int, dict[str, str]]:
    """The number of files that hold these lines already, and the files and lines of a longer text, which stay.

    Raises:
      InputError: a file holds another text.
    """
    table = folder / TABLE
    rows = read_text(table, InputError).split("\n")[1:] if table.exists() else []
    texts = dict(row.split("\t", 1) for row in rows if "\t" in row)
    there = [(number, line) for number, line in enumerate(lines, start=1) if (folder / f"{number:04d}.wav").exists()]
    for number, line in there:
        if texts.get(f"{number:04d}.wav") != line:
            raise InputError(f"{folder / f'{number:04d}.wav'} is of another text; choose another --output-dir")
    names = {f"{number:04d}.wav" for number in range(1, len(lines) + 1)}
    return len(there), {path: text for path, text in texts.items() if path not in names and (folder / path).exists()}


def _write_stream(stream: Any, pieces: Iterator[np.ndarray], rate: int) -> None:
    """Writes a WAV of unknown length, which players accept from a pipe."""
    first = next(pieces)  # a text without a symbol then leaves no empty file
    form = struct.pack("<IHHIIHH", 16, 1, 1, rate, 2 * rate, 2, 16)
    stream.write(b"RIFF" + struct.pack("<I", _ENDLESS) + b"WAVEfmt " + form + b"data" + struct.pack("<I", _ENDLESS))
    for piece in itertools.chain([first], pieces):
        stream.write((np.clip(piece, -1.0, 1.0) * 32767).astype("<i2").tobytes())
        stream.flush()


def _warn(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr)
