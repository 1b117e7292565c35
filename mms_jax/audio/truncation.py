"""Detection of truncated files that libsndfile would read up to their early end without an error.

FLAC and MP3 (with its usual Xing header) state their number of samples, which the reader checks; this module checks WAV
and Ogg.
"""

import os
import pathlib
import struct

from mms_jax.errors import AudioError

_OGG_PAGE_MOST = 65_307  # bytes: header, 255 segment sizes, 255 segments of 255
_OGG_LAST = 0x04  # header flag of the last page


def check_complete(file: pathlib.Path) -> None:
    """Raises AudioError if a WAV or Ogg file is truncated."""
    with file.open("rb") as stream:
        magic = stream.read(12)
    if magic[:4] == b"RIFF" and magic[8:] == b"WAVE":
        _check_wave(file)
    elif magic[:4] == b"OggS":
        _check_ogg(file)


def _check_wave(file: pathlib.Path) -> None:
    """Checks the length that the header of the data chunk states."""
    with file.open("rb") as stream:
        stream.seek(12)
        size = file.stat().st_size
        while len(header := stream.read(8)) == 8:
            name, length = header[:4], struct.unpack("<I", header[4:])[0]
            if name == b"data":
                # Streaming recorders write 0 or the largest number there.
                if length not in (0, 0xFFFFFFFF, 0x7FFFFFFF) and stream.tell() + length > size:
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
