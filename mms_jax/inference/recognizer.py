"""Recognition with a restored model: files or waveforms in, text with word times out."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mms_jax.audio.inputs import check_recordings, check_waveforms
from mms_jax.audio.read import SILENCE
from mms_jax.audio.waveform import SAMPLE_RATE, SHORTEST_SAMPLES
from mms_jax.decoding.beam import BeamDecoder, BeamSettings
from mms_jax.decoding.greedy import collapse
from mms_jax.decoding.timestamps import Word, words_of_path
from mms_jax.decoding.zero_shot import ZeroShotDecoder, ZeroShotSettings
from mms_jax.errors import AudioError, InputError, LanguageModelError
from mms_jax.inference.windows import Forward, Progress, Recordings, Waveforms, WindowedModel, all_or_raise
from mms_jax.models.functional import Params
from mms_jax.models.wav2vec2.config import Wav2Vec2Config
from mms_jax.text.languages import ANY_LANGUAGE
from mms_jax.text.roman_labels import is_romanized
from mms_jax.text.vocabulary import AnyVocabulary, spell


@dataclasses.dataclass(frozen=True)
class Transcript:
    """The text of one recording.

    Attributes:
      text: normalized text.
      language: ISO 639-3, as given.
      seconds: the recording's length.
      words: with times and scores.
    """

    text: str
    language: str
    seconds: float
    words: list[Word]

    def __repr__(self) -> str:
        return f"Transcript({self.text!r}, language={self.language!r}, seconds={self.seconds:.2f}, {len(self.words)} words)"


class Recognizer:
    """A CTC recognizer, jitted once for each bucket of lengths.

    Attributes:
      vocabulary: its symbols and languages.
      origin: what it has learned from, and its error rates, where that is known; see `mms_jax.models.description`.
    """

    def __init__(
        self,
        config: Wav2Vec2Config,
        vocabulary: AnyVocabulary,
        params: Params,
        forward: Forward,
        origin: Mapping[str, Any] | None = None,
    ):
        """Makes a recognizer from restored parameters.

        Args:
          config: the geometry.
          vocabulary: symbols and languages.
          params: as `find_model` gives them.
          forward: scores a batch, see `mms_jax.inference.forward`.
          origin: "history" and "evaluation" of its description.
        """
        self.vocabulary = vocabulary
        self.origin = dict(origin or {})
        self._model = WindowedModel(config, params, forward)

    def __repr__(self) -> str:
        return f"Recognizer({len(self.languages)} languages, {len(self.vocabulary)} symbols)"

    @property
    def languages(self) -> tuple[str, ...]:
        """The supported languages, ISO 639-3."""
        return self.vocabulary.languages

    def own_name(self, language: str) -> str:
        """The recognizer's name for a language: "und" for every language if the recognizer is language-independent."""
        return ANY_LANGUAGE if self.languages == (ANY_LANGUAGE,) else language

    def transcribe(
        self,
        recordings: Recordings,
        *,
        language: str | Sequence[str],
        beam: BeamSettings | ZeroShotSettings | None = None,
        rate: int = SAMPLE_RATE,
    ) -> list[Transcript]:
        """Transcribes recordings of any format, rate and length.

        Args:
          recordings: paths of files; or waveforms, float (samples,), mono, not normalized.
          language: ISO 639-3, one for all recordings or one for each.
          beam: searches with a language model, a lexicon or hot words; or for the words of a language that was never
            learned, in a recognizer of romanized text; None for the most probable symbol of each frame.
          rate: samples per second of the waveforms; files state their own.

        Raises:
          AudioError: a recording cannot be used; the message names it. `transcribe_each` continues with the others.
          LanguageError: an unknown language. LanguageModelError: settings that cannot be used.
          InputError: a single path or array in place of a list, or an array of another form.
        """
        return all_or_raise(self.transcribe_each(recordings, language=language, beam=beam, rate=rate))

    def transcribe_each(
        self,
        recordings: Recordings,
        *,
        language: str | Sequence[str],
        beam: BeamSettings | ZeroShotSettings | None = None,
        rate: int = SAMPLE_RATE,
        progress: Progress | None = None,
    ) -> Iterator[Transcript | AudioError]:
        """Like `transcribe`, but yields an AudioError in place of the transcript of a recording that cannot be used.

        Args:
          recordings, language, beam, rate: as for `transcribe`.
          progress: called with the seconds of audio of each piece that is done.
        """
        check_recordings(recordings, rate)
        languages = self._languages(language, len(recordings))
        if beam is None:

            def finish(number: int, path: list[tuple[np.ndarray, np.ndarray]], seconds: float) -> Transcript:
                return self._finish(path, languages[number], seconds)

            return self._model.on_recordings(recordings, _best_path, finish, languages, rate=rate, progress=progress)

        # Language models are loaded before any recording, so that an unusable one is reported at once.
        decoders = {index: self._decoder(index, beam) for index in sorted(set(languages))}

        def search(number: int, pieces: list[np.ndarray], seconds: float) -> Transcript:
            text, words = decoders[languages[number]].decode(np.concatenate(pieces))
            return Transcript(text, self.languages[languages[number]], seconds, words)

        return self._model.on_recordings(
            recordings, lambda _, logits: log_softmax(logits), search, languages, rate=rate, progress=progress
        )

    def score_recordings(
        self,
        recordings: Recordings,
        language: str | Sequence[str],
        reduce: Callable[[int, np.ndarray], Any],
        finish: Callable[[int, list[Any], float], Any],
        on_block: Callable[[int, np.ndarray], None],
        rate: int = SAMPLE_RATE,
        progress: Progress | None = None,
    ) -> Iterator[Any]:
        """`WindowedModel.on_recordings` by languages; `reduce` is given logits (frames, vocabulary)."""
        languages = self._languages(language, len(recordings))
        return self._model.on_recordings(recordings, reduce, finish, languages, on_block, rate, progress)

    def logits(
        self, waveforms: Waveforms, *, language: str | Sequence[str], rate: int = SAMPLE_RATE
    ) -> list[np.ndarray]:
        """Scores of every symbol at every frame.

        Args:
          waveforms: float (samples,), mono, not normalized, of at least 25 ms.
          language: ISO 639-3, one for all waveforms or one per waveform.
          rate: samples per second; models work at 16,000, other rates are resampled.

        Returns:
          float32 (frames, vocabulary) for each; symbols that the language does not use hold -1e9.

        Raises:
          InputError: an array of another form; the message names it. LanguageError: an unknown language.
        """
        check_waveforms(waveforms, rate)
        return self._model.on_waveforms(waveforms, self._languages(language, len(waveforms)), rate)

    def transcribe_waveforms(self, waveforms: Waveforms, *, language: str) -> list[str]:
        """Greedy transcripts of 16 kHz waveforms, see `logits`; "" for those that are too short, silent or not finite."""
        name = self.own_name(language)
        tokens = self.vocabulary.tokens_of(name)
        texts = [""] * len(waveforms)
        usable = [number for number, waveform in enumerate(waveforms) if _is_audible(np.asarray(waveform))]
        scores = self.logits([waveforms[number] for number in usable], language=name)
        for number, logits in zip(usable, scores):
            texts[number] = spell(collapse(logits.argmax(axis=-1)).tolist(), tokens)
        return texts

    def _languages(self, language: str | Sequence[str], count: int) -> list[int]:
        if not isinstance(language, str | Sequence):
            raise InputError(
                f"{type(language).__name__} where a language is expected, ISO 639-3, or one for each recording"
            )
        names = [language] * count if isinstance(language, str) else list(language)
        if len(names) != count:
            raise InputError(f"{len(names)} languages for {count} recordings; give one, or one for each")
        return [self.vocabulary.language_index(name) for name in names]

    def _decoder(self, language: int, settings: BeamSettings | ZeroShotSettings) -> BeamDecoder | ZeroShotDecoder:
        if isinstance(settings, BeamSettings):
            return BeamDecoder(self._tokens(language), settings)
        if not is_romanized(self.vocabulary):
            raise LanguageModelError(
                "zero-shot recognition needs a recognizer of romanized text, trained with config.labels.romanized=True"
            )
        return ZeroShotDecoder(self._tokens(language), settings)

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


def _is_audible(waveform: np.ndarray) -> bool:
    """Whether a waveform would be accepted as a recording."""
    if len(waveform) < SHORTEST_SAMPLES or not np.isfinite(waveform).all():
        return False
    return float(np.abs(waveform).max()) >= SILENCE


def _best_path(_: int, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The best symbol of each frame and its probability: the logits of hours of audio would not fit into memory."""
    return logits.argmax(axis=-1).astype(np.int32), np.exp(log_softmax(logits).max(axis=-1))


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log probabilities, over the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
