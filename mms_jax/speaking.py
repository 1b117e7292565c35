"""The command `mms-jax speak`: texts from arguments, files and pipes, audio to files and pipes."""

import argparse
import itertools
import pathlib
import struct
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import soundfile
from tqdm import tqdm

from mms_jax.voice import Audio, SpeechError, Voice

_FORMATS = {
    ".wav": {"subtype": "PCM_16"},
    ".flac": {"subtype": "PCM_16"},
    ".ogg": {"format": "OGG", "subtype": "VORBIS"},
}
_ENDLESS = 0xFFFFFFFF  # the length in the header of a WAV whose end is not known yet
_OGG_BLOCK = 1 << 16  # libsndfile's Vorbis encoder overflows its stack on long blocks


def run(arguments: argparse.Namespace) -> int:
    """Runs `mms-jax speak`; returns the exit status."""
    import mms_jax

    text = _text(arguments)
    if arguments.out and arguments.out != "-":
        _check_format(pathlib.Path(arguments.out))
    voice = mms_jax.load_voice(arguments.model)
    manner = {
        "noise_scale": arguments.noise, "noise_scale_duration": arguments.noise_duration,
        "speaking_rate": arguments.speed, "speaker": arguments.speaker, "seed": arguments.seed,
    }  # fmt: skip
    given = {name: value for name, value in manner.items() if value is not None}
    if arguments.output_dir:
        return _speak_lines(voice, text, arguments.output_dir, given)
    if arguments.out == "-":
        _write_stream(sys.stdout.buffer, voice.stream(text, warn=_warn, **given), voice.config.rate)
        return 0
    audio = voice.speak(text, warn=_warn, **given)
    write_audio(pathlib.Path(arguments.out), audio)
    print(f"{arguments.out}\t{len(audio.samples) / audio.rate:.2f} s")
    return 0


def write_audio(path: pathlib.Path, audio: Audio) -> None:
    """Writes a WAV, FLAC or OGG file, whichever the name says.

    Raises:
      SpeechError: it says another.
    """
    _check_format(path)
    samples = np.clip(audio.samples, -1.0, 1.0)
    path.parent.mkdir(parents=True, exist_ok=True)
    with soundfile.SoundFile(path, "w", audio.rate, 1, **_FORMATS[path.suffix.lower()]) as file:
        for start in range(0, len(samples), _OGG_BLOCK):
            file.write(samples[start : start + _OGG_BLOCK])


def _check_format(path: pathlib.Path) -> None:
    if path.suffix.lower() not in _FORMATS:
        raise SpeechError(f"--out {path}: cannot write this format; name a file .wav, .flac or .ogg")


def _text(arguments: argparse.Namespace) -> str:
    if (arguments.text is None) == (arguments.file is None):
        raise SpeechError("say what to say: TEXT, - for standard input, or --file FILE (one of them)")
    if arguments.file:
        try:
            return arguments.file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise SpeechError(f"{arguments.file}: is no UTF-8 text ({error.reason}); save it as UTF-8") from error
    return sys.stdin.read() if arguments.text == "-" else arguments.text


def _speak_lines(voice: Voice, text: str, folder: pathlib.Path, manner: dict[str, Any]) -> int:
    """Every line to a file of its own, with a table of them; lines that cannot be said do not stop the others."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise SpeechError("the text is empty; give some words")
    folder.mkdir(parents=True, exist_ok=True)
    failed = False
    said = voice.speak_each(lines, warn=_warn, **manner)
    with (folder / "lines.tsv").open("w", encoding="utf-8") as table:
        table.write("path\ttext\n")
        for number, (line, audio) in enumerate(
            tqdm(zip(lines, said), total=len(lines), desc="speak", unit="line", disable=None, leave=False), start=1
        ):
            if isinstance(audio, SpeechError):
                failed = True
                tqdm.write(f"error: line {number}: {audio}", file=sys.stderr)
                continue
            write_audio(folder / f"{number:04d}.wav", audio)
            table.write(f"{number:04d}.wav\t{line}\n")
    print(folder)
    return 1 if failed else 0


def _write_stream(stream: Any, pieces: Iterator[np.ndarray], rate: int) -> None:
    """A WAV of unknown length, as players take it from a pipe."""
    first = next(pieces)  # so that a text that cannot be said leaves no empty file
    form = struct.pack("<IHHIIHH", 16, 1, 1, rate, 2 * rate, 2, 16)
    stream.write(b"RIFF" + struct.pack("<I", _ENDLESS) + b"WAVEfmt " + form + b"data" + struct.pack("<I", _ENDLESS))
    for piece in itertools.chain([first], pieces):
        stream.write((np.clip(piece, -1.0, 1.0) * 32767).astype("<i2").tobytes())
        stream.flush()


def _warn(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr)
