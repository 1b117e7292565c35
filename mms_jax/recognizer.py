"""Recognition with a restored model: files or waveforms in, text with word times out."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from mms_jax.audio.errors import AudioError, all_or_raise
from mms_jax.decoding.beam import BeamDecoder, BeamSettings
from mms_jax.decoding.greedy import collapse
from mms_jax.decoding.timestamps import Word, words_of_path
from mms_jax.models.functional import FunctionalModel, Params
from mms_jax.models.wav2vec2.config import Wav2Vec2Config
from mms_jax.text.languages import ANY_LANGUAGE
from mms_jax.text.vocabulary import AnyVocabulary, spell
from mms_jax.windowed import Forward, WindowedModel


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


def scorer(config: Wav2Vec2Config, vocabulary: AnyVocabulary, dtype: Any = jnp.float32) -> Forward:
    """The function (params, waveforms, lengths, language) -> float32 (batch, frames, vocabulary) of a geometry.

    Args:
      config: the geometry.
      vocabulary: symbols that a row's language does not write get -1e9.
      dtype: in which the encoder computes.
    """
    # Imported here: an exported recogniser brings its own function and needs none of this.
    from mms_jax.models.wav2vec2.heads import Wav2Vec2ForCTC
    from mms_jax.tasks.asr.step import restrict_to_language

    model = FunctionalModel.abstract(
        lambda key: Wav2Vec2ForCTC(config, len(vocabulary), dtype=dtype, rngs=nnx.Rngs(params=key))
    )

    def forward(params: Params, waveforms: jax.Array, lengths: jax.Array, language: jax.Array) -> jax.Array:
        logits, _ = model.bind(params)(waveforms, lengths, language=language)
        return restrict_to_language(logits, language, vocabulary)

    return forward


class Recognizer:
    """A CTC recogniser, jitted once for each bucket of lengths.

    Attributes:
      vocabulary: its symbols and languages.
    """

    def __init__(self, config: Wav2Vec2Config, vocabulary: AnyVocabulary, params: Params, forward: Forward):
        """Makes a recogniser of restored parameters.

        Args:
          config: the geometry.
          vocabulary: symbols and languages.
          params: as `find_model` gives them.
          forward: scores a batch, see `scorer`.
        """
        self.vocabulary = vocabulary
        self._model = WindowedModel(config, params, forward)

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages it can be asked for, ISO 639-3."""
        return self.vocabulary.languages

    def own_name(self, language: str) -> str:
        """What the recogniser calls a language: "und" where that is all it knows, whatever was spoken to it."""
        return ANY_LANGUAGE if self.languages == (ANY_LANGUAGE,) else language

    def transcribe(
        self, files: Sequence[str], *, language: str | Sequence[str], beam: BeamSettings | None = None
    ) -> list[Transcript]:
        """Transcribes recordings of any format, rate and length.

        Args:
          files: paths.
          language: ISO 639-3, one for all or one a file.
          beam: searches with a language model, a lexicon or hot words; None for the most probable symbol of each frame.

        Raises:
          AudioError: a file cannot be used; the message names it. `transcribe_each` goes on with the others.
          ValueError: an unknown language. LanguageModelError: settings that cannot be used.
        """
        return all_or_raise(self.transcribe_each(files, language=language, beam=beam))

    def transcribe_each(
        self, files: Sequence[str], *, language: str | Sequence[str], beam: BeamSettings | None = None
    ) -> Iterator[Transcript | AudioError]:
        """Like `transcribe`, but yields an AudioError in place of the transcript of a file that cannot be used."""
        languages = self._languages(language, len(files))
        if beam is None:

            def finish(number: int, path: list[tuple[np.ndarray, np.ndarray]], seconds: float) -> Transcript:
                return self._finish(path, languages[number], seconds)

            return self._model.on_files(files, _best_path, finish, languages)

        # Loaded before any recording is: a language model that cannot be used should cost no time.
        decoders = {index: BeamDecoder(self._tokens(index), beam) for index in sorted(set(languages))}

        def search(number: int, pieces: list[np.ndarray], seconds: float) -> Transcript:
            text, words = decoders[languages[number]].decode(np.concatenate(pieces))
            return Transcript(text, self.languages[languages[number]], seconds, words)

        return self._model.on_files(files, lambda _, logits: log_softmax(logits), search, languages)

    def score_files(
        self,
        files: Sequence[str],
        language: str | Sequence[str],
        reduce: Callable[[int, np.ndarray], Any],
        finish: Callable[[int, list[Any], float], Any],
        listen: Callable[[int, np.ndarray], None],
    ) -> Iterator[Any]:
        """Runs recordings, see `WindowedModel.on_files`; `reduce` is given logits (frames, vocabulary)."""
        return self._model.on_files(files, reduce, finish, self._languages(language, len(files)), listen)

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

    def _tokens(self, language: int) -> tuple[str, ...]:
        return self.vocabulary.tokens_of(self.languages[language])

    def _finish(self, path: list[tuple[np.ndarray, np.ndarray]], language: int, seconds: float) -> Transcript:
        symbols = np.concatenate([part for part, _ in path])
        probabilities = np.concatenate([part for _, part in path])
        tokens = self._tokens(language)
        return Transcript(
            text=spell(collapse(symbols).tolist(), tokens),
            language=self.languages[language],
            seconds=seconds,
            words=words_of_path(symbols, probabilities, tokens),
        )


def _best_path(_: int, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The best symbol of each frame and its probability: hours of logits would not fit."""
    return logits.argmax(axis=-1).astype(np.int32), np.exp(log_softmax(logits).max(axis=-1))


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log probabilities, over the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
