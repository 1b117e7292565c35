"""Reading of recordings of any format, sampling rate and length.

A `Recording` is read in blocks, so that hours of audio are never in memory at once. Any unusable file raises an
AudioError that names it.
"""

import os
import pathlib
import stat
from collections.abc import Iterator

import numpy as np
import soxr

from mms_jax.audio.decode import decoded_blocks
from mms_jax.audio.waveform import NORM_EPSILON, SAMPLE_RATE, SHORTEST_SAMPLES, resample, to_mono
from mms_jax.errors import AudioError

BLOCK_SECONDS = 30
KEPT_SECONDS = 300  # shorter recordings stay in memory after the first pass
SILENCE = 1e-4  # peak below which nothing was recorded (-80 dB)


class Recording:
    """A mono 16 kHz view of an audio file, or of a waveform in memory.

    Attributes:
      path: the path as given; the name of a waveform.
      samples: number of samples at 16 kHz.
      seconds: duration.
    """

    def __init__(self, source: str | os.PathLike | np.ndarray, *, rate: int = SAMPLE_RATE, name: str = "waveform"):
        """Reads the recording once, for its length and level.

        Args:
          source: the path of a file, or a waveform, float (samples,).
          rate: of a waveform in Hz; files state their own.
          name: of a waveform, for messages.

        Raises:
          AudioError: the file is missing, empty, not audio, truncated, silent, shorter than 25 ms, or holds NaN.
        """
        self._kept: list[np.ndarray] | None = []
        if isinstance(source, str | os.PathLike):
            self.path = str(source)
            blocks = _read_blocks(self.path)
        else:
            self.path = name
            blocks = iter([resample(np.asarray(source, np.float32), rate)])
        self.samples, total, squares, peak = 0, 0.0, 0.0, 0.0
        for block in blocks:
            if not np.isfinite(block).all():
                raise AudioError(f"{self.path}: holds NaN or infinite samples; export it again from the original")
            self.samples += len(block)
            total += float(block.sum(dtype=np.float64))
            squares += float(np.square(block, dtype=np.float64).sum())
            peak = max(peak, float(np.abs(block).max(initial=0.0)))
            if self._kept is not None:
                self._kept.append(block)
                if self.samples > KEPT_SECONDS * SAMPLE_RATE and isinstance(source, str | os.PathLike):
                    self._kept = None
        self.seconds = self.samples / SAMPLE_RATE
        if self.samples < SHORTEST_SAMPLES:
            raise AudioError(f"{self.path}: {1000 * self.seconds:.0f} ms long; recognition needs at least 25 ms")
        if peak < SILENCE:
            raise AudioError(f"{self.path}: is silent (peak {peak:.1e}); check the microphone or the export")
        self._mean = total / self.samples
        self._variance = max(squares / self.samples - self._mean**2, 0.0)

    def blocks(self) -> Iterator[np.ndarray]:
        """The waveform in consecutive float32 blocks, as recorded."""
        yield from self._kept if self._kept is not None else _read_blocks(self.path)

    def waveform(self) -> np.ndarray:
        """The whole waveform, float32 (samples,)."""
        return np.concatenate(list(self.blocks()))

    def normalized_blocks(self, epsilon: float | None = NORM_EPSILON) -> Iterator[np.ndarray]:
        """The blocks, normalized as by `normalize_waveform`: mean and variance are those of the whole recording."""
        if epsilon is None:
            yield from self.blocks()
            return
        scale = 1.0 / np.sqrt(self._variance + epsilon)
        for block in self.blocks():
            yield ((block - self._mean) * scale).astype(np.float32)


def read_audio(path: str | os.PathLike) -> np.ndarray:
    """Reads a whole file.

    Args:
      path: a file that libsndfile or FFmpeg can read: WAV, FLAC, Ogg, MP3, M4A, AMR, WMA, videos, ...

    Returns:
      float32 (samples,), mono, 16 kHz, not normalized.

    Raises:
      AudioError: see Recording.
    """
    return Recording(path).waveform()


def _read_blocks(path: str) -> Iterator[np.ndarray]:
    """Mono 16 kHz blocks of a file."""
    file = pathlib.Path(path)
    try:
        status = file.stat()
        if stat.S_ISFIFO(status.st_mode):
            raise AudioError(f"{path}: is a pipe; pipe into the command and write - for the recording")
        if file.is_dir():
            raise AudioError(f"{path}: is a folder; name the files in it, as in {path}/*.wav")
        with file.open("rb"):
            pass
    except FileNotFoundError as error:
        hint = f"check the path (it is relative to {os.getcwd()})" if not file.is_absolute() else "check the path"
        raise AudioError(f"{path}: no such file; {hint}") from error
    except OSError as error:
        raise AudioError(f"{path}: cannot be opened ({error.strerror}); check its permissions") from error
    if status.st_size == 0:
        raise AudioError(f"{path}: is empty (0 bytes); copy it again")
    resampler: soxr.ResampleStream | None = None
    for block, rate in decoded_blocks(path, BLOCK_SECONDS):
        mono = to_mono(block)
        if rate == SAMPLE_RATE:
            yield mono
            continue
        if resampler is None:
            resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
        yield resampler.resample_chunk(mono)
    if resampler is not None:
        yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)
