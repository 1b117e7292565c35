"""Writing of audio files."""

import pathlib

import numpy as np
import soundfile

from mms_jax.errors import AudioError

FORMATS = {
    ".wav": {"subtype": "PCM_16"},
    ".flac": {"subtype": "PCM_16"},
    ".ogg": {"format": "OGG", "subtype": "VORBIS"},
}
_OGG_BLOCK = 1 << 16  # libsndfile's Vorbis encoder overflows its stack on long blocks


def write_audio(path: pathlib.Path, samples: np.ndarray, rate: int) -> None:
    """Writes a mono WAV, FLAC or OGG file, by the suffix of its name; its folder is made.

    Args:
      path: of the file.
      samples: float (samples,); values beyond [-1, 1] are clipped.
      rate: sampling rate in Hz.

    Raises:
      AudioError: the file cannot be written. OSError: its folder cannot be made.
    """
    samples = np.clip(samples, -1.0, 1.0)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with soundfile.SoundFile(path, "w", rate, 1, **FORMATS[path.suffix.lower()]) as file:
            for start in range(0, len(samples), _OGG_BLOCK):
                file.write(samples[start : start + _OGG_BLOCK])
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{path}: cannot be written ({error}); choose another folder or name") from error
