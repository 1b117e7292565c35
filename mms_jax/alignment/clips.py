"""Aligned verses as audio files."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from mms_jax.audio.clips import Cut, cut_recording
from mms_jax.audio.waveform import SAMPLE_RATE
from mms_jax.audio.write import write_audio
from mms_jax.errors import AlignmentError
from mms_jax.files import read_text, write_text


def write_clips(record: Mapping[str, Any], folder: pathlib.Path) -> int:
    """Writes every verse with words as a FLAC file, and a manifest of JSON lines as MMS's data preparation does.

    Args:
      record: an aligned chapter as JSON, with its "file".
      folder: created if it does not exist.

    Returns:
      The number of clips.

    Raises:
      AlignmentError: the folder holds another recording's clips. AudioError: the recording cannot be used.
    """
    manifest = folder / "manifest.json"
    recording = str(pathlib.Path(record["file"]).resolve())
    if manifest.exists() and (owner := _owner(manifest)) != recording:
        raise AlignmentError(f"{folder} holds clips of {owner}; choose another folder for the clips")
    folder.mkdir(parents=True, exist_ok=True)
    numbered = [(number, verse) for number, verse in enumerate(record["verses"], start=1) if verse["normalized"]]
    cuts = [Cut(verse["cut_start"], verse["cut_end"]) for _, verse in numbered]
    lines = []
    for (number, verse), waveform in zip(numbered, cut_recording(record["file"], cuts), strict=True):
        path = folder / f"{folder.name}_{number:04d}.flac"
        write_audio(path, waveform, SAMPLE_RATE)
        fields = {
            "recording": recording,
            "audio_start_sec": verse["cut_start"],
            "audio_filepath": str(path.resolve()),
            "duration": round(len(waveform) / SAMPLE_RATE, 4),
            "text": verse["text"],
            "normalized_text": verse["normalized"],
            "score": verse["score"],
        }
        lines.append(json.dumps(fields, ensure_ascii=False))
    write_text(manifest, "".join(f"{line}\n" for line in lines))
    return len(lines)


def _owner(manifest: pathlib.Path) -> str:
    """The recording whose clips a manifest lists."""
    try:
        return json.loads(read_text(manifest, AlignmentError).partition("\n")[0])["recording"]
    except (ValueError, KeyError):
        return "an unknown recording"
