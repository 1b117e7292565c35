"""FLAC encoding and decoding in memory; corpora store their audio as FLAC."""

import io

import numpy as np
import soundfile

from mms_jax.audio.waveform import to_mono
from mms_jax.errors import AudioError


def encode_flac(waveform: np.ndarray, rate: int) -> bytes:
    """Encodes a mono waveform as 16-bit FLAC.

    Args:
      waveform: float (samples,), in [-1, 1]; larger values are clipped.
      rate: sampling rate in Hz.

    Returns:
      A complete FLAC file.
    """
    buffer = io.BytesIO()
    # libsndfile wraps around on overflow unless the samples are clipped first.
    soundfile.write(buffer, np.clip(waveform, -1.0, 1.0), rate, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def decode_flac(data: bytes, name: str, start: float = 0.0, seconds: float | None = None) -> tuple[np.ndarray, int]:
    """Decodes a FLAC (or any libsndfile) file held in memory, or a part, for which the rest is not decoded.

    Args:
      data: the file's bytes.
      name: of the recording, for errors.
      start, seconds: of the part; by default all. It ends with the recording where that is shorter.

    Returns:
      The waveform, float32 (samples,), see `to_mono`; and its rate.

    Raises:
      AudioError: the bytes are no recording, or hold no samples.
    """
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            rate = file.samplerate
            if start:
                file.seek(round(start * rate))
            waveform = file.read(-1 if seconds is None else round(seconds * rate), dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise AudioError(f"{name}: cannot be decoded ({error}); rebuild the corpus without it") from error
    if waveform.shape[0] == 0:
        raise AudioError(f"{name}: holds no samples; rebuild the corpus without it")
    return to_mono(waveform), rate
