"""Verses cut out of their recordings."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import soundfile

from mms_jax.audio.read import Recording
from mms_jax.audio.waveform import SAMPLE_RATE


@dataclasses.dataclass(frozen=True)
class Cut:
    """A piece of a recording: seconds."""

    start: float
    end: float


def cut_recording(path: str | os.PathLike, cuts: Sequence[Cut]) -> Iterator[np.ndarray]:
    """Cuts pieces out of a recording that need not fit in memory.

    Args:
      path: of any format, rate and length.
      cuts: in the order of their starts; they may overlap.

    Yields:
      float32 (samples,) for each, mono, 16 kHz; shorter where the recording ends before.

    Raises:
      AudioError: the recording cannot be used.
    """
    recording = Recording(path)
    blocks = recording.blocks()
    held, first = np.zeros(0, np.float32), 0
    for cut in cuts:
        start, end = round(cut.start * SAMPLE_RATE), min(round(cut.end * SAMPLE_RATE), recording.samples)
        while True:
            passed = min(max(start - first, 0), len(held))  # what lies before is not asked for again
            held, first = held[passed:], first + passed
            if first + len(held) >= end:
                break
            held = np.concatenate([held, next(blocks)])
        yield held[: max(end - first, 0)].copy()


def write_clips(record: Mapping[str, Any], folder: pathlib.Path) -> int:
    """Writes every verse with words as a FLAC file, and a manifest of JSON lines as MMS's data preparation does.

    Args:
      record: an aligned chapter as JSON, with its "file".
      folder: made if it is not there.

    Returns:
      How many clips there are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    numbered = [(number, verse) for number, verse in enumerate(record["verses"], start=1) if verse["normalized"]]
    cuts = [Cut(verse["cut_start"], verse["cut_end"]) for _, verse in numbered]
    lines = []
    for (number, verse), waveform in zip(numbered, cut_recording(record["file"], cuts), strict=True):
        path = folder / f"{folder.name}_{number:04d}.flac"
        soundfile.write(path, np.clip(waveform, -1, 1), SAMPLE_RATE, subtype="PCM_16")
        fields = {
            "audio_start_sec": verse["cut_start"],
            "audio_filepath": str(path.resolve()),
            "duration": round(len(waveform) / SAMPLE_RATE, 4),
            "text": verse["text"],
            "normalized_text": verse["normalized"],
            "score": verse["score"],
        }
        lines.append(json.dumps(fields, ensure_ascii=False))
    (folder / "manifest.json").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return len(lines)
