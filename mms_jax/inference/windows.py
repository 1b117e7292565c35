"""Runs a jitted model on recordings of any length: cuts windows, batches them by length, merges their frames."""

import collections
import dataclasses
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import jax
import numpy as np

from mms_jax.audio.inputs import check_recordings
from mms_jax.audio.read import Recording
from mms_jax.audio.waveform import SAMPLE_RATE, normalize_waveform, resample
from mms_jax.decoding.long_audio import Windows
from mms_jax.errors import AudioError
from mms_jax.models.functional import Params
from mms_jax.models.wav2vec2.config import Wav2Vec2Config

WINDOW_SECONDS, CONTEXT_SECONDS = 32, 2
PATIENCE = 32  # later windows that may arrive before a window is run in a batch that is not full

Result = TypeVar("Result")
Waveforms = Sequence[np.ndarray]
Recordings = Sequence[str | os.PathLike | np.ndarray]  # paths of files, or waveforms
Progress = Callable[[float], None]
Forward = Callable[[Params, jax.Array, jax.Array, jax.Array], jax.Array]


def all_or_raise(results: Iterable[Result | AudioError]) -> list[Result]:
    """The results, if none of them is an AudioError; otherwise raises the first."""
    kept = []
    for result in results:
        if isinstance(result, AudioError):
            raise result
        kept.append(result)
    return kept


@dataclasses.dataclass(frozen=True)
class Buckets:
    """The shapes that are compiled.

    Attributes:
      seconds: every window is padded to one of these lengths; the last is the longest window.
      batch_seconds: rows are added to a batch up to this many seconds.
    """

    seconds: tuple[float, ...]
    batch_seconds: float

    def samples(self, samples: int) -> int:
        """The bucket of a window, in samples."""
        return next(int(size * SAMPLE_RATE) for size in self.seconds if samples <= size * SAMPLE_RATE)

    def rows(self, samples: int) -> int:
        """The rows of a full batch of a bucket: a power of two."""
        return 2 ** int(math.log2(max(1.0, self.batch_seconds * SAMPLE_RATE / samples)))


# CPUs gain nothing from more rows once a matrix has some hundred frames, and lose most by padding: they get many
# lengths, each compiled in a second or two. Accelerators need large batches, and compile longer.
CPU_BUCKETS = Buckets((2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 9, 10, *range(12, WINDOW_SECONDS + 1, 2)), batch_seconds=8)
ACCELERATOR_BUCKETS = Buckets((2, 3, 4, 6, 8, 12, 16, 24, WINDOW_SECONDS), batch_seconds=256)


def for_inference(config: Wav2Vec2Config) -> Wav2Vec2Config:
    """The same model; on CPUs it works in pieces that fit the cache: two seconds of features, two attention heads."""
    if jax.default_backend() != "cpu":
        return config
    return dataclasses.replace(config, extractor_chunk=100, attention_chunk=2)


@dataclasses.dataclass(frozen=True)
class Window:
    """One row of a batch: a normalized waveform and its origin.

    Attributes:
      recording: number of the recording.
      number: of the window in the recording.
      last: whether the window reaches the recording's end.
      waveform: float32 (samples,), normalized.
      language: position of the recording's language; 0 where the model has no languages.
    """

    recording: int
    number: int
    last: bool
    waveform: np.ndarray
    language: int


class WindowedModel:
    """A function of (params, waveforms, lengths, language) -> (batch, frames, ...), jitted once a bucket of lengths."""

    def __init__(self, config: Wav2Vec2Config, params: Params, forward: Forward):
        self._config, self._forward = config, jax.jit(forward)
        self._params = jax.device_put(params)
        self._buckets = CPU_BUCKETS if jax.default_backend() == "cpu" else ACCELERATOR_BUCKETS
        self._windows = Windows(WINDOW_SECONDS * SAMPLE_RATE, CONTEXT_SECONDS * SAMPLE_RATE, config.stride)

    def cut(self, recording: int, blocks: Iterable[np.ndarray], samples: int, language: int = 0) -> Iterator[Window]:
        """The windows of one recording, whose normalized waveform comes in blocks; the last one is marked as such."""
        held: Window | None = None
        for number, waveform in enumerate(self._windows.cut(blocks, samples)):
            if held is not None:
                yield held
            held = Window(recording, number, False, waveform, language)
        if held is not None:
            yield dataclasses.replace(held, last=True)

    def on_waveforms(
        self, waveforms: Waveforms, languages: Sequence[int] | None = None, rate: int = SAMPLE_RATE
    ) -> list[np.ndarray]:
        """The outputs (frames, ...) of whole waveforms; see `reduced`."""
        pieces = self.reduced(waveforms, lambda _, output: output, languages, rate)
        return [np.concatenate(own) for own in pieces]

    def reduced(
        self,
        waveforms: Waveforms,
        reduce: Callable[[int, np.ndarray], Any],
        languages: Sequence[int] | None = None,
        rate: int = SAMPLE_RATE,
    ) -> list[list[Any]]:
        """Runs the model on whole waveforms.

        Args:
          waveforms: float (samples,), mono, not normalized, of at least 25 ms.
          reduce: see `run`.
          languages: position of the language of each.
          rate: samples per second.

        Returns:
          For each, the reduced outputs of its windows.
        """

        def windows() -> Iterator[Window]:
            for number, waveform in enumerate(waveforms):
                normalized = normalize_waveform(resample(np.asarray(waveform), rate), self._config.waveform_epsilon)
                yield from self.cut(number, [normalized], len(normalized), languages[number] if languages else 0)

        outputs = dict(self.run(windows(), reduce))
        return [outputs[number] for number in range(len(waveforms))]

    def on_recordings(
        self,
        recordings: Recordings,
        reduce: Callable[[int, np.ndarray], Any],
        finish: Callable[[int, list[Any], float], Result],
        languages: Sequence[int] | None = None,
        on_block: Callable[[int, np.ndarray], None] = lambda number, block: None,
        rate: int = SAMPLE_RATE,
        progress: Progress | None = None,
    ) -> Iterator[Result | AudioError]:
        """Runs the model on recordings of any format, rate and length. Files are never held in memory as a whole.

        Args:
          recordings: paths of files, or waveforms.
          reduce: see `run`.
          finish: (number of the recording, reduced outputs of its windows, its seconds) -> its result.
          languages: position of the language of each.
          on_block: called with the number of the recording and each block of its waveform, in order, as it is read.
          rate: samples per second of the waveforms.
          progress: called with the seconds of audio of each piece that is done.

        Yields:
          A result for each recording in order; an AudioError for one that cannot be used.
        """
        check_recordings(recordings, rate)
        if progress is not None:
            reduce = _reporting(reduce, progress, self._config.stride / SAMPLE_RATE)
        return self._on_recordings(recordings, reduce, finish, languages, on_block, rate)

    def _on_recordings(
        self,
        recordings: Recordings,
        reduce: Callable[[int, np.ndarray], Any],
        finish: Callable[[int, list[Any], float], Result],
        languages: Sequence[int] | None,
        on_block: Callable[[int, np.ndarray], None],
        rate: int,
    ) -> Iterator[Result | AudioError]:
        results: dict[int, Result | AudioError] = {}
        seconds: dict[int, float] = {}

        def observed(number: int, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
            for block in blocks:
                on_block(number, block)
                yield block

        def windows() -> Iterator[Window]:
            for number, source in enumerate(recordings):
                try:
                    recording = Recording(source, rate=rate, name=f"waveform {number}")
                    seconds[number] = recording.seconds
                    language = languages[number] if languages else 0
                    blocks = recording.normalized_blocks(self._config.waveform_epsilon)
                    yield from self.cut(number, observed(number, blocks), recording.samples, language)
                except AudioError as error:
                    results[number] = error

        following = 0
        for number, pieces in self.run(windows(), reduce):
            results[number] = finish(number, pieces, seconds[number])
            while following in results:
                yield results.pop(following)
                following += 1
        while following in results:
            yield results.pop(following)
            following += 1

    def run(
        self, windows: Iterable[Window], reduce: Callable[[int, np.ndarray], Any] = lambda recording, output: output
    ) -> Iterator[tuple[int, list[Any]]]:
        """Runs the model on windows; those of similar length share a batch, even across recordings.

        Args:
          windows: of recordings one after another, as `cut` yields them.
          reduce: applied to the number of a window's recording and its output (frames, ...), context trimmed, before it
            is kept.

        Yields:
          A recording's number and the reduced outputs of its windows in order, as soon as the recording is complete.
        """
        pieces: dict[int, dict[int, Any]] = collections.defaultdict(dict)
        counts: dict[int, int] = {}
        for window, output in self._batches(windows):
            recording = window.recording
            pieces[recording][window.number] = reduce(recording, output)
            if window.last:
                counts[recording] = window.number + 1
            if len(pieces[recording]) == counts.get(recording):
                own = pieces.pop(recording)
                yield recording, [own[number] for number in sorted(own)]

    def _batches(self, windows: Iterable[Window]) -> Iterator[tuple[Window, np.ndarray]]:
        """The outputs of windows, batched by bucket; none waits for more than PATIENCE others."""
        waiting: dict[int, list[Window]] = collections.defaultdict(list)
        since: dict[int, int] = {}
        for number, window in enumerate(windows):
            bucket = self._buckets.samples(len(window.waveform))
            waiting[bucket].append(window)
            since.setdefault(bucket, number)
            ready = [
                size
                for size in waiting
                if len(waiting[size]) == self._buckets.rows(size) or number - since[size] >= PATIENCE
            ]
            for size in ready:
                yield from self._run_batch(waiting.pop(size), size)
                del since[size]
        for size, left in waiting.items():
            yield from self._run_batch(left, size)

    def _run_batch(self, windows: list[Window], bucket: int) -> Iterator[tuple[Window, np.ndarray]]:
        rows = 2 ** math.ceil(math.log2(len(windows)))
        waveforms = np.zeros((rows, bucket), np.float32)
        lengths, language = np.zeros(rows, np.int32), np.zeros(rows, np.int32)
        for row, window in enumerate(windows):
            waveforms[row, : len(window.waveform)] = window.waveform
            lengths[row], language[row] = len(window.waveform), window.language
        output = np.asarray(self._forward(self._params, waveforms, lengths, language))
        for row, window in enumerate(windows):
            frames = int(self._config.frames(lengths[row]))
            yield window, output[row][self._windows.kept(window.number, frames, window.last)]


def _reporting(
    reduce: Callable[[int, np.ndarray], Any], progress: Progress, frame_seconds: float
) -> Callable[[int, np.ndarray], Any]:
    """`reduce`, which also reports the seconds of each output."""

    def reduce_and_report(recording: int, output: np.ndarray) -> Any:
        progress(len(output) * frame_seconds)
        return reduce(recording, output)

    return reduce_and_report
