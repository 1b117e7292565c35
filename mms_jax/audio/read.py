"""Reading of recordings of any format, sampling rate and length.

A `Recording` is read in blocks, so that hours of audio are never in memory at once. Any unusable file raises an
AudioError that names it.
"""

import os
import pathlib
from collections.abc import Iterator

import numpy as np
import soundfile
import soxr

from mms_jax.audio.truncation import check_complete
from mms_jax.audio.waveform import NORM_EPSILON, SAMPLE_RATE, SHORTEST_SAMPLES
from mms_jax.errors import AudioError

BLOCK_SECONDS = 30
KEPT_SECONDS = 300  # shorter recordings stay in memory after the first pass
SILENCE = 1e-4  # peak below which nothing was recorded (-80 dB)


class Recording:
    """A mono 16 kHz view of an audio file.

    Attributes:
      path: the path as given.
      samples: number of samples at 16 kHz.
      seconds: duration.
    """

    def __init__(self, path: str | os.PathLike):
        """Reads the file once, for its length and level.

        Raises:
          AudioError: the file is missing, empty, not audio, truncated, silent, shorter than 25 ms, or holds NaN.
        """
        self.path = str(path)
        self._kept: list[np.ndarray] | None = []
        self.samples, total, squares, peak = 0, 0.0, 0.0, 0.0
        for block in _read_blocks(self.path):
            if not np.isfinite(block).all():
                raise AudioError(f"{self.path}: holds NaN or infinite samples; export it again from the original")
            self.samples += len(block)
            total += float(block.sum(dtype=np.float64))
            squares += float(np.square(block, dtype=np.float64).sum())
            peak = max(peak, float(np.abs(block).max(initial=0.0)))
            if self._kept is not None:
                self._kept.append(block)
                if self.samples > KEPT_SECONDS * SAMPLE_RATE:
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
      path: a file that libsndfile can read (WAV, FLAC, Ogg, MP3, ...) or, if ffmpeg is installed, that ffmpeg can read.

    Returns:
      float32 (samples,), mono, 16 kHz, not normalized.

    Raises:
      AudioError: see Recording.
    """
    return Recording(path).waveform()


def _read_blocks(path: str) -> Iterator[np.ndarray]:
    """Mono 16 kHz blocks of a file."""
    file = pathlib.Path(path)
    if not file.exists():
        raise AudioError(f"{path}: no such file; check the path (it is relative to {os.getcwd()})")
    if file.is_dir():
        raise AudioError(f"{path}: is a folder; name the files in it, as in {path}/*.wav")
    if file.stat().st_size == 0:
        raise AudioError(f"{path}: is empty (0 bytes); copy it again")
    try:
        opened = soundfile.SoundFile(path)
    except (soundfile.LibsndfileError, RuntimeError, TypeError) as error:
        yield _read_with_ffmpeg(path, error)
        return
    with opened:
        check_complete(file)
        yield from _resampled(path, opened)


def _resampled(path: str, opened: soundfile.SoundFile) -> Iterator[np.ndarray]:
    claimed, read = opened.frames, 0
    resampler = soxr.ResampleStream(opened.samplerate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
    same_rate = opened.samplerate == SAMPLE_RATE
    while True:
        try:
            block = opened.read(BLOCK_SECONDS * opened.samplerate, dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, RuntimeError) as error:
            raise AudioError(f"{path}: cannot be decoded beyond {read / opened.samplerate:.2f} s ({error}); "
                             "it is truncated or damaged, copy it again") from error  # fmt: skip
        read += len(block)
        last = len(block) < BLOCK_SECONDS * opened.samplerate
        mono = np.ascontiguousarray(block.mean(axis=1, dtype=np.float32)) if len(block) else np.zeros(0, np.float32)
        yield mono if same_rate else resampler.resample_chunk(mono, last=last)
        if last:
            break
    if read < claimed:
        raise AudioError(
            f"{path}: is truncated: its header promises {claimed / opened.samplerate:.2f} s and "
            f"{read / opened.samplerate:.2f} s are there; copy it again"
        )


def _read_with_ffmpeg(path: str, reason: Exception) -> np.ndarray:
    """Reads formats that libsndfile does not support (M4A, WMA, video) through librosa, which calls ffmpeg."""
    import warnings

    import librosa

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            waveform, _ = librosa.load(path, sr=SAMPLE_RATE, mono=True)
    except Exception as error:
        raise AudioError(
            f"{path}: is not audio that can be read here ({str(reason).strip()}); convert it to WAV or FLAC, or install "
            "ffmpeg if it is M4A, WMA or a video"
        ) from error
    return waveform
