"""Decoding of files, block by block: libsndfile for PCM formats and FLAC, FFmpeg (through PyAV) for all others.

libsndfile is exact where a file states its length in samples. It misjudges length and seeking in some Ogg files, and lacks
the formats of phones and videos; FFmpeg plays what players play.
"""

import os
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import soundfile

from mms_jax.audio.truncation import check_complete, keeps_time, states_duration
from mms_jax.errors import AudioError

# The first four bytes of WAV (three byte orders and sizes), W64, AIFF, FLAC, AU and CAF files.
_EXACT = (b"RIFF", b"RIFX", b"RF64", b"riff", b"FORM", b"fLaC", b".snd", b"caff")
_UNKNOWN_FRAMES = 1 << 60  # libsndfile's length of streams that state none is above this
_SPOILED_PACKETS = 5  # undecodable packets that are passed over, as where an MP3 was cut
_SHORT_SECONDS = 0.5  # a stream this much shorter than its header says is truncated
_JUMP_SECONDS = 1.0  # the longest pause in containers whose times may jump
_GAP_SECONDS = 0.05  # missing stretches longer than this are filled with silence, so that later times are right

Blocks = Iterator[tuple[np.ndarray, int]]


def decoded_blocks(path: str, seconds: float) -> Blocks:
    """Decodes a file.

    Args:
      path: the file, not empty.
      seconds: length of a block; the last one is shorter.

    Yields:
      float32 (samples, channels), and the sampling rate, the same for all blocks of the file.

    Raises:
      AudioError: the file is not audio, truncated or damaged.
    """
    with open(path, "rb") as stream:
        magic = stream.read(12)
    if magic[:4] in _EXACT:
        try:
            opened = soundfile.SoundFile(os.fsencode(path))
        except (soundfile.LibsndfileError, RuntimeError, TypeError):
            yield from _by_ffmpeg(path, seconds)
            return
        with opened:
            # Recorders that write into a pipe may leave 0 as the length.
            yield from _by_libsndfile(path, opened, seconds) if opened.frames else _by_ffmpeg(path, seconds)
        return
    yield from _by_ffmpeg(path, seconds)


def seconds_of(path: str) -> float | None:
    """The length that a file's header states, for progress; None where it states none or cannot be read."""
    try:
        with open(path, "rb") as stream:
            if stream.read(4) in _EXACT:
                found = soundfile.info(os.fsencode(path))
                return found.duration if found.frames < _UNKNOWN_FRAMES else None
            import av

            stream.seek(0)
            container: Any = av.open(stream, metadata_errors="ignore")
            with container:
                return container.duration / av.time_base if container.duration else None
    except Exception:  # the reader names the fault when it gets there
        return None


def _by_libsndfile(path: str, opened: soundfile.SoundFile, seconds: float) -> Blocks:
    check_complete(pathlib.Path(path))
    rate, claimed, read = opened.samplerate, opened.frames, 0
    size = int(seconds * rate)
    while True:
        try:
            block = opened.read(size, dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, RuntimeError) as error:
            if not read:  # FLAC written into a pipe states no length, and libsndfile cannot seek in it
                yield from _by_ffmpeg(path, seconds)
                return
            raise AudioError(f"{path}: cannot be decoded beyond {read / rate:.2f} s ({str(error).strip()}); "
                             "it is truncated or damaged, copy it again") from error  # fmt: skip
        read += len(block)
        yield block, rate
        if len(block) < size:
            break
    if read < claimed < _UNKNOWN_FRAMES:
        raise _truncated(path, claimed / rate, read / rate)


def _by_ffmpeg(path: str, seconds: float) -> Blocks:
    import av

    check_complete(pathlib.Path(path))
    av.logging.set_level(None)  # its notes name no file
    try:
        # A file object, since FFmpeg takes the name "09:30.m4a" for an address.
        with open(path, "rb") as stream, av.open(stream, metadata_errors="ignore") as container:
            track = container.streams.best("audio")
            if track is None:
                raise AudioError(f"{path}: holds no audio track; it is a picture, subtitles or a silent video")
            yield from _in_blocks(_frames(path, container, track), seconds)
    except av.error.FFmpegError as error:
        raise AudioError(_unreadable(path, error)) from error


def _frames(path: str, container: Any, track: Any) -> Blocks:
    """The frames of a track at their times: before the container's start they are cut, gaps are filled with silence."""
    import av

    origin = (container.start_time or 0) / av.time_base
    # Beyond the stated length a time is no pause, but another clock, as where two streams were joined.
    longest = container.duration / av.time_base if container.duration and keeps_time(container) else _JUMP_SECONDS
    done, rate, spoiled, started, reached = 0, track.rate, 0, False, 0.0
    planar: Any = None
    form: tuple[str, int] | None = None
    for packet in container.demux():
        if packet.pts is not None:
            reached = max(reached, float((packet.pts + (packet.duration or 0)) * packet.time_base) - origin)
        if packet.stream is not track:
            continue
        try:
            frames = packet.decode()
        except av.error.InvalidDataError as error:
            spoiled += 1
            if spoiled > _SPOILED_PACKETS:
                raise AudioError(
                    f"{path}: cannot be decoded beyond {done / rate:.2f} s ({error.strerror}); it is damaged, copy it again"
                ) from error
            continue
        for raw in frames:
            now = (raw.layout.name, raw.sample_rate)
            if form is None:
                rate = raw.sample_rate
            if now != form:  # a stream may change; its first form stays that of the samples
                planar, form = av.AudioResampler(format="fltp", layout="mono" if form else raw.layout, rate=rate), now
            time = raw.time
            for number, frame in enumerate(planar.resample(raw)):
                block = frame.to_ndarray().T
                if time is not None and number == 0:
                    position = round((time - origin) * rate)
                    if not started and position < 0:
                        block = block[-position:]
                    elif position - done > longest * rate:
                        origin += (position - done) / rate
                    else:
                        for count in _silences(position - done, rate):
                            yield np.zeros((count, block.shape[1]), np.float32), rate
                            done += count
                started = True
                done += len(block)
                yield block, rate
    stated = states_duration(pathlib.Path(path), container, track)
    there = max(done / rate, reached)
    if stated is not None and there < stated - max(_SHORT_SECONDS, 0.01 * stated):
        raise _truncated(path, stated, there)


def _silences(missing: int, rate: int) -> Iterator[int]:
    """The lengths, at most a second each, of the pieces of a pause."""
    while missing > _GAP_SECONDS * rate:
        piece = min(missing, rate)
        yield piece
        missing -= piece


def _in_blocks(frames: Blocks, seconds: float) -> Blocks:
    """The same samples in blocks of equal length."""
    held: list[np.ndarray] = []
    count, rate = 0, 0
    for frame, rate in frames:
        if held and frame.shape[1] != held[0].shape[1]:  # a stream that changes from stereo to mono
            frame = np.repeat(frame.mean(axis=1, keepdims=True), held[0].shape[1], axis=1)
        held.append(frame)
        count += len(frame)
        size = int(seconds * rate)
        while count >= size:
            whole = np.concatenate(held)
            yield np.ascontiguousarray(whole[:size]), rate
            held, count = [whole[size:]], count - size
    if held and rate:
        yield np.ascontiguousarray(np.concatenate(held)), rate


def _truncated(path: str, stated: float, there: float) -> AudioError:
    return AudioError(
        f"{path}: is truncated: its header promises {stated:.2f} s and {there:.2f} s are there; copy it again"
    )


def _unreadable(path: str, error: Exception) -> str:
    with open(path, "rb") as stream:
        begin = stream.read(1024)
    try:
        is_text = all(character.isprintable() or character in "\r\n\t\ufeff" for character in begin.decode("utf-8"))
    except UnicodeDecodeError as problem:
        is_text = problem.start > 900  # the block ends within a character
    if is_text:
        return f"{path}: is text, not audio; name the recording"
    reason = getattr(error, "strerror", None) or str(error)
    return f"{path}: is not audio, or is damaged (FFmpeg: {reason}); copy it again, or export it as WAV or FLAC"
