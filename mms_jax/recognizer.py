"""Recognition with a restored model: files or waveforms in, text with word times out."""

import collections
import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from mms_jax.audio.errors import AudioError
from mms_jax.audio.read import Recording
from mms_jax.audio.waveform import SAMPLE_RATE, normalize_waveform
from mms_jax.decoding.greedy import collapse
from mms_jax.decoding.long_audio import Windows
from mms_jax.decoding.timestamps import Word, words_of_path
from mms_jax.models.functional import FunctionalModel, Params
from mms_jax.models.wav2vec2.config import Wav2Vec2Config
from mms_jax.models.wav2vec2.heads import Wav2Vec2ForCTC
from mms_jax.tasks.asr.step import restrict_to_language
from mms_jax.text.vocabulary import Vocabulary

BUCKET_SECONDS = (2, 4, 8, 16, 24)  # every waveform is padded to one of these, so that few shapes are compiled
CONTEXT_SECONDS = 2
MOST_ROWS = 8


@dataclasses.dataclass(frozen=True)
class Transcript:
    """What was recognised in one recording.

    Attributes:
      text: normalised text.
      language: ISO 639-3, as asked for.
      seconds: the recording's length.
      words: with times and scores.
    """

    text: str
    language: str
    seconds: float
    words: list[Word]


@dataclasses.dataclass(frozen=True)
class _Window:
    """One row of work: a normalised waveform, and whose it is."""

    recording: int
    number: int
    last: bool
    waveform: np.ndarray
    language: int


class Recognizer:
    """A CTC recogniser, jitted once for each bucket of lengths.

    Attributes:
      vocabulary: its symbols and languages.
    """

    def __init__(self, config: Wav2Vec2Config, vocabulary: Vocabulary, params: Params, dtype: Any = jnp.float32):
        """Makes a recogniser of restored parameters.

        Args:
          config: the geometry.
          vocabulary: symbols and languages.
          params: as `checkpoint.load_model` gives them.
          dtype: in which the encoder computes.
        """
        self.vocabulary = vocabulary
        self._config = config
        self._params = params
        self._windows = Windows(BUCKET_SECONDS[-1] * SAMPLE_RATE, CONTEXT_SECONDS * SAMPLE_RATE, config.stride)
        model = FunctionalModel.abstract(
            lambda key: Wav2Vec2ForCTC(config, len(vocabulary), dtype=dtype, rngs=nnx.Rngs(params=key))
        )

        def forward(params: Params, waveforms: jax.Array, lengths: jax.Array, language: jax.Array) -> jax.Array:
            logits, _ = model.bind(params)(waveforms, lengths)
            return restrict_to_language(logits, language, vocabulary)

        self._forward = jax.jit(forward)

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages it can be asked for, ISO 639-3."""
        return self.vocabulary.languages

    def transcribe(self, files: Sequence[str], *, language: str | Sequence[str]) -> list[Transcript]:
        """Transcribes recordings of any format, rate and length.

        Args:
          files: paths.
          language: ISO 639-3, one for all or one a file.

        Raises:
          AudioError: a file cannot be used; the message names it. `transcribe_each` goes on with the others.
          ValueError: an unknown language.
        """
        transcripts = []
        for result in self.transcribe_each(files, language=language):
            if isinstance(result, AudioError):
                raise result
            transcripts.append(result)
        return transcripts

    def transcribe_each(
        self, files: Sequence[str], *, language: str | Sequence[str]
    ) -> Iterator[Transcript | AudioError]:
        """Like `transcribe`, but yields an AudioError in place of the transcript of a file that cannot be used."""
        languages = self._languages(language, len(files))
        results: dict[int, Transcript | AudioError] = {}
        paths: dict[int, list[tuple[np.ndarray, np.ndarray]]] = collections.defaultdict(list)
        seconds: dict[int, float] = {}

        def windows() -> Iterator[_Window]:
            for number, file in enumerate(files):
                try:
                    recording = Recording(file)
                    seconds[number] = recording.seconds
                    cut = self._windows.cut(recording.normalized_blocks(), recording.samples)
                    yield from _numbered(number, cut, languages[number])
                except AudioError as error:
                    results[number] = error

        following = 0
        for window, logits in self._run(windows()):
            # Hours of logits would not fit; the best symbol of each frame and its probability do.
            probabilities = np.exp(logits.max(axis=-1) - _logsumexp(logits))
            paths[window.recording].append((logits.argmax(axis=-1).astype(np.int32), probabilities))
            if window.last:
                results[window.recording] = self._finish(
                    paths.pop(window.recording), languages[window.recording], seconds[window.recording]
                )
            while following in results:
                yield results.pop(following)
                following += 1
        while following in results:
            yield results.pop(following)
            following += 1

    def logits(self, waveforms: Sequence[np.ndarray], *, language: str | Sequence[str]) -> list[np.ndarray]:
        """Scores of every symbol at every frame.

        Args:
          waveforms: float (samples,), mono, 16 kHz, not normalised, any length from 400 samples on.
          language: ISO 639-3, one for all or one a waveform.

        Returns:
          float32 (frames, vocabulary) for each; symbols that the language does not write hold -1e9.
        """
        languages = self._languages(language, len(waveforms))
        pieces: dict[int, list[np.ndarray]] = collections.defaultdict(list)

        def windows() -> Iterator[_Window]:
            for number, waveform in enumerate(waveforms):
                normalized = normalize_waveform(np.asarray(waveform))
                yield from _numbered(number, self._windows.cut([normalized], len(normalized)), languages[number])

        for window, logits in self._run(windows()):
            pieces[window.recording].append(logits)
        return [np.concatenate(pieces[number]) for number in range(len(waveforms))]

    def _languages(self, language: str | Sequence[str], count: int) -> list[int]:
        names = [language] * count if isinstance(language, str) else list(language)
        if len(names) != count:
            raise ValueError(f"{len(names)} languages for {count} recordings; give one, or one for each")
        return [self.vocabulary.language_index(name) for name in names]

    def _run(self, windows: Iterable[_Window]) -> Iterator[tuple[_Window, np.ndarray]]:
        """Logits of every window, context trimmed, windows of one recording in their order."""
        waiting: list[_Window] = []
        bucket = 0
        for window in windows:
            size = self._bucket(len(window.waveform))
            if waiting and (size != bucket or len(waiting) == MOST_ROWS):
                yield from self._run_batch(waiting, bucket)
                waiting = []
            bucket = size
            waiting.append(window)
        if waiting:
            yield from self._run_batch(waiting, bucket)

    def _run_batch(self, windows: list[_Window], bucket: int) -> Iterator[tuple[_Window, np.ndarray]]:
        rows = next(rows for rows in (1, 2, 4, MOST_ROWS) if rows >= len(windows))
        waveforms = np.zeros((rows, bucket), np.float32)
        lengths, language = np.zeros(rows, np.int32), np.zeros(rows, np.int32)
        for row, window in enumerate(windows):
            waveforms[row, : len(window.waveform)] = window.waveform
            lengths[row], language[row] = len(window.waveform), window.language
        logits = np.asarray(self._forward(self._params, waveforms, lengths, language))
        for row, window in enumerate(windows):
            frames = int(self._config.frames(lengths[row]))
            yield window, logits[row][self._windows.kept(window.number, frames, window.last)]

    def _bucket(self, samples: int) -> int:
        return next(size * SAMPLE_RATE for size in BUCKET_SECONDS if samples <= size * SAMPLE_RATE)

    def _finish(self, path: list[tuple[np.ndarray, np.ndarray]], language: int, seconds: float) -> Transcript:
        symbols = np.concatenate([part for part, _ in path])
        probabilities = np.concatenate([part for _, part in path])
        return Transcript(
            text=self.vocabulary.decode(collapse(symbols).tolist()),
            language=self.languages[language],
            seconds=seconds,
            words=words_of_path(symbols, probabilities, self.vocabulary),
        )


def _numbered(recording: int, waveforms: Iterable[np.ndarray], language: int) -> Iterator[_Window]:
    """The windows of one recording; the last of them knows that it is."""
    held: _Window | None = None
    for number, waveform in enumerate(waveforms):
        if held is not None:
            yield held
        held = _Window(recording, number, False, waveform, language)
    if held is not None:
        yield dataclasses.replace(held, last=True)


def _logsumexp(logits: np.ndarray) -> np.ndarray:
    largest = logits.max(axis=-1)
    return largest + np.log(np.exp(logits - largest[..., None]).sum(axis=-1))
