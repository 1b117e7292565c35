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
_ENDLESS_SIZE = 1 << 62  # bytes; larger sizes stand for none
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
    else:
        _check_size(file)


def _check_size(file: pathlib.Path) -> None:
    """Checks the size that AVI, RF64, W64, AIFF and AU files state: decoders read to an early end in silence."""
    with file.open("rb") as stream:
        begin = stream.read(32)
    if len(begin) < 32:
        return
    match begin[:4]:
        case b"RF64" if begin[12:16] == b"ds64":
            stated, known = 8 + struct.unpack("<Q", begin[20:28])[0], True
        case b"RIFF":  # AVI; WAV was checked by its data chunk
            length = struct.unpack("<I", begin[4:8])[0]
            stated, known = 8 + length, not is_endless(length)
        case b"riff":
            stated, known = struct.unpack("<Q", begin[16:24])[0], True
        case b"FORM":
            length = struct.unpack(">I", begin[4:8])[0]
            stated, known = 8 + length, not is_endless(length)
        case b".snd":
            offset, length = struct.unpack(">II", begin[4:12])
            stated, known = offset + length, not is_endless(length)
        case _:
            return
    size = file.stat().st_size
    if known and 8 < stated < _ENDLESS_SIZE and stated > size + 1:
        raise AudioError(
            f"{file}: is truncated: its header promises {stated} bytes and {size} are there; copy it again"
        )


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
    if form == "mp3":
        return _xing_seconds(file, track.rate)
    if not keeps_time(container) and form not in ("ogg", "flac", "wav", "tta"):
        return None
    if track.duration is not None:
        return float(track.duration * track.time_base)
    return container.duration / av.time_base if container.duration else None


def keeps_time(container: Any) -> bool:
    """Whether a container states the time of every packet from its own beginning, and its length."""
    return any(form in container.format.name for form in ("mp4", "matroska", "asf", "avi", "flv"))


def _xing_seconds(file: pathlib.Path, rate: int) -> float | None:
    """The length that an MP3's Xing header states, in frames; None where there is none."""
    with file.open("rb") as stream:
        header = stream.read(10)
        if header[:3] == b"ID3" and len(header) == 10:  # four bytes of seven bits each
            stream.seek(sum(byte << shift for byte, shift in zip(header[6:], (21, 14, 7, 0))), 1)
        else:
            stream.seek(0)
        begin = stream.read(_MP3_START)
    places = [place for name in (b"Xing", b"Info") if (place := begin.find(name)) >= 0]
    if not places or len(begin) < min(places) + 12:
        return None
    flags, frames = struct.unpack(">II", begin[min(places) + 4 : min(places) + 12])
    samples = 1152 if rate >= 32_000 else 576  # of a frame, MPEG 1 and 2
    return frames * samples / rate if flags & 1 else None
