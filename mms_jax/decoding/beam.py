"""Beam search with a KenLM language model, a lexicon and hot words, by libraries in C++.

Word models, lexicon and hot words go through ctc-beam-decoder (pyctcdecode's search); character models through
flashlight-text's lexicon-free search, which MMS used for languages that write no spaces (Pratap et al. 2023, section 4.2).
"""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from mms_jax.decoding.greedy import collapse
from mms_jax.decoding.timestamps import FRAME_SECONDS, Word, words_of_path
from mms_jax.text.vocabulary import SILENT_TOKENS, WORD_TOKEN, spell

_UNREADABLE = "{}: is no KenLM model that can be read; give an .arpa file, or what KenLM's build_binary made of it"
_NEVER = -1e9  # the score of symbols that say nothing, such as <s>


class LanguageModelError(ValueError):
    """A language model, lexicon or setting that cannot be used. The message names it."""


@dataclasses.dataclass(frozen=True)
class BeamSettings:
    """How recordings of one language are searched.

    Attributes:
      lm: a KenLM model, .arpa or binary; None to search without.
      unit: what the model counts: "word" or "character" (written with spaces between, | for the word boundary).
      lexicon: known words, one a line, text after the first blank is ignored; other words stay possible, at a price.
        None for those of a plain .arpa file. Only with word models.
      hot_words: words that are preferred, such as names.
      lm_weight: factor on the model's log probabilities.
      word_score: added for each word (for each symbol with a character model: nothing).
      hot_word_weight: how much a hot word is preferred.
      beam: hypotheses that are kept.
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
            raise LanguageModelError("a character model is needed for unit=character, without lexicon and hot words")
        if self.lexicon and not self.lm:
            raise LanguageModelError("a lexicon works with a language model; give one")
        if self.beam < 1:
            raise LanguageModelError(f"beam={self.beam}; keep at least one hypothesis")
        for path in (self.lm, self.lexicon):
            if path and not pathlib.Path(path).is_file():
                raise LanguageModelError(f"{path}: no such file")


class BeamDecoder:
    """Searches the most probable text of scored frames."""

    def __init__(self, tokens: Sequence[str], settings: BeamSettings):
        """Loads the model.

        Args:
          tokens: the language's symbols by number; 0 is the blank.
          settings: of the search.

        Raises:
          LanguageModelError: a file that is no KenLM model, or hot words with characters that the recogniser lacks.
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
          that the character reaches in the word's frames; the language model has no part in it.
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
        # The library takes "" for the blank and a space for the boundary; marks must differ from each other.
        labels = ["", *(" " if token == WORD_TOKEN else token for token in self._tokens[1:])]
        try:
            return BeamSearchDecoder(
                labels, kenlm_model_path=settings.lm, alpha=settings.lm_weight, beta=settings.word_score,
                unigrams=_read_lexicon(settings.lexicon) if settings.lexicon else None,
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
    lines = pathlib.Path(path).read_text(encoding="utf-8").splitlines()
    words = [line.split()[0] for line in lines if line.strip()]
    if not words:
        raise LanguageModelError(f"{path}: holds no words")
    return words
