"""Detection of truncated files that decoders would read up to their early end without an error.

FLAC states its number of samples, which the reader checks; this module knows what WAV and Ogg files say of their end, and
which of FFmpeg's durations were stated and which were guessed.
"""

import os
import pathlib
import struct
from typing import Any

from mms_jax.errors import AudioError

# Recorders that write into a pipe cannot go back to fill in the length. They leave 0, or a number near one of these:
# 0x7FFFF000 (SoX), 0x7FFFFFFF, 0x80000000 (arecord), 0xFFFFFFFF less the header (FFmpeg and others).
_ENDLESS = (1 << 31, 1 << 32)
_ENDLESS_DISTANCE = 1 << 16  # bytes
_OGG_PAGE_MOST = 65_307  # bytes: header, 255 segment sizes, 255 segments of 255
_OGG_LAST = 0x04  # header flag of the last page
_MP3_START = 1 << 16  # bytes behind the ID3 tag in which the first frame lies


def check_complete(file: pathlib.Path) -> None:
    """Raises AudioError if a WAV or Ogg file is truncated."""
    with file.open("rb") as stream:
        magic = stream.read(12)
    if magic[:4] == b"RIFF" and magic[8:] == b"WAVE":
        _check_wave(file)
    elif magic[:4] == b"OggS":
        _check_ogg(file)


def is_endless(length: int) -> bool:
    """Whether a chunk's length is one that recorders write where they do not know it."""
    return length == 0 or any(abs(length - limit) <= _ENDLESS_DISTANCE for limit in _ENDLESS)


def _check_wave(file: pathlib.Path) -> None:
    """Checks the length that the header of the data chunk states."""
    with file.open("rb") as stream:
        stream.seek(12)
        size = file.stat().st_size
        while len(header := stream.read(8)) == 8:
            name, length = header[:4], struct.unpack("<I", header[4:])[0]
            if name == b"data":
                if not is_endless(length) and stream.tell() + length > size:
                    raise AudioError(
                        f"{file}: is truncated: its header promises {length} bytes of audio and "
                        f"{size - stream.tell()} are there; copy it again"
                    )
                return
            stream.seek(length + length % 2, 1)


def _check_ogg(file: pathlib.Path) -> None:
    """Checks for the flag on the last page of an Ogg stream (RFC 3533, section 6)."""
    with file.open("rb") as stream:
        stream.seek(-min(file.stat().st_size, _OGG_PAGE_MOST), os.SEEK_END)
        end = stream.read()
    last = end.rfind(b"OggS")
    if last < 0 or len(end) < last + 6 or not end[last + 5] & _OGG_LAST:
        raise AudioError(
            f"{file}: is truncated: its last Ogg page is missing; copy it again, or, if a live recording "
            "really ends here, convert it to FLAC"
        )


def states_duration(file: pathlib.Path, container: Any, track: Any) -> float | None:
    """The seconds that a container promises for a track; None where FFmpeg only guesses them from the bit rate."""
    import av

    form = container.format.name
    if form == "mp3" and not _has_xing_header(file):
        return None
    if not any(known in form for known in ("mp3", "mp4", "matroska", "ogg", "flac", "wav")):
        return None
    if track.duration is not None:
        return float(track.duration * track.time_base)
    if container.duration and len(container.streams) == 1:
        return container.duration / av.time_base
    return None


def _has_xing_header(file: pathlib.Path) -> bool:
    """Whether an MP3 states its number of frames."""
    with file.open("rb") as stream:
        header = stream.read(10)
        if header[:3] == b"ID3" and len(header) == 10:  # four bytes of seven bits each
            stream.seek(sum(byte << shift for byte, shift in zip(header[6:], (21, 14, 7, 0))), 1)
        else:
            stream.seek(0)
        begin = stream.read(_MP3_START)
    return any(name in begin for name in (b"Xing", b"Info", b"VBRI"))
