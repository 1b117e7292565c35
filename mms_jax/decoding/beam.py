"""Beam search with a KenLM language model, a lexicon and hot words, by C++ libraries.

Word models, lexicons and hot words use ctc-beam-decoder (pyctcdecode's search); character models use flashlight-text's
lexicon-free search, which MMS used for languages written without spaces (Pratap et al. 2023, section 4.2).
"""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from mms_jax.decoding.greedy import collapse
from mms_jax.decoding.timestamps import FRAME_SECONDS, Word, words_of_path
from mms_jax.errors import LanguageModelError
from mms_jax.files import read_text
from mms_jax.text.vocabulary import SILENT_TOKENS, WORD_TOKEN, spell

_UNREADABLE = "{}: is no KenLM model that can be read; give an .arpa file, or the output of KenLM's build_binary"
MOST_HYPOTHESES = 5000  # ten times those with which MMS decodes
_NEVER = -1e9  # the score of symbols without text, such as <s>


@dataclasses.dataclass(frozen=True)
class BeamSettings:
    """Settings of a beam search, for recordings of one language.

    Attributes:
      lm: path of a KenLM model, .arpa or binary; None to search without a language model.
      unit: unit of the language model: "word" or "character" (separated by spaces, with | as the word boundary).
      lexicon: file of known words, one per line, in which text after the first space is ignored. Other words are
        penalized, not excluded. None for the words of a plain .arpa file. Only for word models.
      hot_words: words that are preferred, such as names.
      lm_weight: factor on the language model's log probabilities.
      word_score: score added for each word; not used with a character model.
      hot_word_weight: weight of the preference for hot words.
      beam: number of hypotheses that are kept.
    """

    lm: str | None = None
    unit: str = "word"
    lexicon: str | None = None
    hot_words: tuple[str, ...] = ()
    lm_weight: float = 0.5
    word_score: float = 1.5
    hot_word_weight: float = 10.0
    beam: int = 100

    def __post_init__(self):
        if self.unit not in ("word", "character"):
            raise LanguageModelError(f"unit={self.unit!r}; choose word or character")
        if self.unit == "character" and (self.lm is None or self.lexicon or self.hot_words):
            raise LanguageModelError("unit=character needs a character model, and takes neither lexicon nor hot words")
        if self.lexicon and not self.lm:
            raise LanguageModelError("a lexicon needs a language model; give one")
        if isinstance(self.hot_words, str):
            raise LanguageModelError(f"hot_words={self.hot_words!r} is one string; give a tuple of words")
        if not 1 <= self.beam <= MOST_HYPOTHESES:
            raise LanguageModelError(
                f"beam={self.beam}; keep 1 to {MOST_HYPOTHESES} hypotheses: time grows with them, and beyond a few hundred "
                "the text hardly changes"
            )
        for path in (self.lm, self.lexicon):
            if path and not pathlib.Path(path).is_file():
                raise LanguageModelError(f"{path}: no such file")


class BeamDecoder:
    """Finds the most probable text given the scores of frames."""

    def __init__(self, tokens: Sequence[str], settings: BeamSettings):
        """Loads the language model.

        Args:
          tokens: the language's symbols by number; 0 is the blank.
          settings: settings of the search.

        Raises:
          LanguageModelError: a file that is no KenLM model, or hot words with characters that the recognizer lacks.
        """
        self._tokens, self._settings = tuple(tokens), settings
        known = set("".join(token for token in tokens if token not in SILENT_TOKENS))
        for word in settings.hot_words:
            if unknown := sorted(set(word) - known):
                raise LanguageModelError(f"hot word {word!r}: this language's symbols lack {' '.join(unknown)}")
        try:
            self._search: Any = _character_search(tokens, settings) if settings.unit == "character" else self._words()
        except ImportError as error:
            raise LanguageModelError(
                f"beam search needs {error.name}: pip install 'mms-jax[lm]' (Python 3.11, 3.12)"
            ) from error

    def decode(self, log_probs: np.ndarray) -> tuple[str, list[Word]]:
        """Decodes one recording.

        Args:
          log_probs: float32 (frames, symbols).

        Returns:
          The text, and its words with times. A word's score is the mean, over its characters, of the highest probability
          that the character reaches in the word's frames; it does not depend on the language model.
        """
        scores = np.array(log_probs[:, : len(self._tokens)], np.float32)
        scores[:, [number for number, token in enumerate(self._tokens) if number and token in SILENT_TOKENS]] = _NEVER
        if self._settings.unit == "character":
            return self._decode_characters(scores)
        beams = self._search.decode_beams(
            scores, beam_width=self._settings.beam, prune_history=True, hotwords=list(self._settings.hot_words),
            hotword_weight=self._settings.hot_word_weight,
        )  # fmt: skip
        if not beams:
            return "", []
        text, _, words, *_ = beams[0]
        probabilities = np.exp(scores)
        return text, [self._word(word, frames, probabilities) for word, frames in words]

    def _words(self) -> Any:
        from ctc_beam_decoder import BeamSearchDecoder

        settings = self._settings
        # The library takes "" as the blank and a space as the word boundary; all labels must be distinct.
        words = _read_lexicon(settings.lexicon) if settings.lexicon else None
        labels = ["", *(" " if token == WORD_TOKEN else token for token in self._tokens[1:])]
        try:
            return BeamSearchDecoder(
                labels, kenlm_model_path=settings.lm, alpha=settings.lm_weight, beta=settings.word_score,
                unigrams=words,
            )  # fmt: skip
        except (ValueError, UnicodeDecodeError) as error:
            raise LanguageModelError(_UNREADABLE.format(settings.lm)) from error

    def _word(self, word: str, frames: tuple[int, int], probabilities: np.ndarray) -> Word:
        start, end = frames[0], max(frames[1], frames[0] + 1)
        numbers = [self._tokens.index(character) for character in word if character in self._tokens]
        score = float(probabilities[start:end, numbers].max(axis=0).mean()) if numbers else 0.0
        return Word(word, start * FRAME_SECONDS, end * FRAME_SECONDS, score)

    def _decode_characters(self, scores: np.ndarray) -> tuple[str, list[Word]]:
        scores = np.ascontiguousarray(scores)
        path = np.asarray(self._search.decode(scores.ctypes.data, *scores.shape)[0].tokens)[1:-1]
        probabilities = np.exp(scores[np.arange(len(path)), path])
        return spell(collapse(path).tolist(), self._tokens), words_of_path(path, probabilities, self._tokens)


def _character_search(tokens: Sequence[str], settings: BeamSettings) -> Any:
    from flashlight.lib.text.decoder import CriterionType, LexiconFreeDecoder, LexiconFreeDecoderOptions
    from flashlight.lib.text.decoder.kenlm import KenLM
    from flashlight.lib.text.dictionary import Dictionary

    dictionary = Dictionary()
    for token in tokens:
        dictionary.add_entry(token)
    try:
        lm = KenLM(settings.lm, dictionary)
    except RuntimeError as error:
        raise LanguageModelError(_UNREADABLE.format(settings.lm)) from error
    options = LexiconFreeDecoderOptions(
        beam_size=settings.beam, beam_size_token=len(tokens), beam_threshold=50.0, lm_weight=settings.lm_weight,
        sil_score=0.0, log_add=False, criterion_type=CriterionType.CTC,
    )  # fmt: skip
    return LexiconFreeDecoder(options, lm, tokens.index(WORD_TOKEN), 0, [])


def _read_lexicon(path: str) -> list[str]:
    lines = read_text(pathlib.Path(path), LanguageModelError).splitlines()
    words = [line.split()[0] for line in lines if line.strip()]
    if not words:
        raise LanguageModelError(f"{path}: holds no words")
    return words
