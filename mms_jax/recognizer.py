"""Recognition with a restored model: files or waveforms in, text with word times out."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from mms_jax.audio.errors import AudioError
from mms_jax.decoding.greedy import collapse
from mms_jax.decoding.timestamps import Word, words_of_path
from mms_jax.models.functional import FunctionalModel, Params
from mms_jax.models.wav2vec2.config import Wav2Vec2Config
from mms_jax.models.wav2vec2.heads import Wav2Vec2ForCTC
from mms_jax.tasks.asr.step import restrict_to_language
from mms_jax.text.vocabulary import Vocabulary, VocabularyBank, spell
from mms_jax.windowed import WindowedModel


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


class Recognizer:
    """A CTC recogniser, jitted once for each bucket of lengths.

    Attributes:
      vocabulary: its symbols and languages.
    """

    def __init__(
        self, config: Wav2Vec2Config, vocabulary: Vocabulary | VocabularyBank, params: Params, dtype: Any = jnp.float32
    ):
        """Makes a recogniser of restored parameters.

        Args:
          config: the geometry.
          vocabulary: symbols and languages.
          params: as `checkpoint.load_model` gives them.
          dtype: in which the encoder computes.
        """
        self.vocabulary = vocabulary
        model = FunctionalModel.abstract(
            lambda key: Wav2Vec2ForCTC(config, len(vocabulary), dtype=dtype, rngs=nnx.Rngs(params=key))
        )

        def forward(params: Params, waveforms: jax.Array, lengths: jax.Array, language: jax.Array) -> jax.Array:
            logits, _ = model.bind(params)(waveforms, lengths, language=language)
            return restrict_to_language(logits, language, vocabulary)

        self._model = WindowedModel(config, params, forward)

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

        def finish(number: int, path: list[tuple[np.ndarray, np.ndarray]], seconds: float) -> Transcript:
            return self._finish(path, languages[number], seconds)

        yield from self._model.on_files(files, _best_path, finish, languages)

    def logits(self, waveforms: Sequence[np.ndarray], *, language: str | Sequence[str]) -> list[np.ndarray]:
        """Scores of every symbol at every frame.

        Args:
          waveforms: float (samples,), mono, 16 kHz, not normalised, any length from 400 samples on.
          language: ISO 639-3, one for all or one a waveform.

        Returns:
          float32 (frames, vocabulary) for each; symbols that the language does not write hold -1e9.
        """
        return self._model.on_waveforms(waveforms, self._languages(language, len(waveforms)))

    def _languages(self, language: str | Sequence[str], count: int) -> list[int]:
        names = [language] * count if isinstance(language, str) else list(language)
        if len(names) != count:
            raise ValueError(f"{len(names)} languages for {count} recordings; give one, or one for each")
        return [self.vocabulary.language_index(name) for name in names]

    def _finish(self, path: list[tuple[np.ndarray, np.ndarray]], language: int, seconds: float) -> Transcript:
        symbols = np.concatenate([part for part, _ in path])
        probabilities = np.concatenate([part for _, part in path])
        tokens = self.vocabulary.tokens_of(self.languages[language])
        return Transcript(
            text=spell(collapse(symbols).tolist(), tokens),
            language=self.languages[language],
            seconds=seconds,
            words=words_of_path(symbols, probabilities, tokens),
        )


def _best_path(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The best symbol of each frame and its probability: hours of logits would not fit."""
    return logits.argmax(axis=-1).astype(np.int32), np.exp(logits.max(axis=-1) - _logsumexp(logits))


def _logsumexp(logits: np.ndarray) -> np.ndarray:
    largest = logits.max(axis=-1)
    return largest + np.log(np.exp(logits - largest[..., None]).sum(axis=-1))
