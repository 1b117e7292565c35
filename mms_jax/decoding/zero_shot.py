"""Words of a language that no recognizer has learned, found in the output of one for romanized text.

The search is flashlight-text's with a lexicon, as in MMS Zero-shot (Zhao et al. 2024, section 3).
"""

import collections
import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from mms_jax.decoding.timestamps import FRAME_SECONDS, Word
from mms_jax.errors import LanguageModelError
from mms_jax.files import read_text
from mms_jax.text.normalize import normalize
from mms_jax.text.roman_labels import roman_word
from mms_jax.text.vocabulary import SILENT_TOKENS, WORD_TOKEN

_NEVER = -1e9  # the score of symbols without text
_MOST_ALIKE = 6  # words of one romanized spelling that flashlight's lexicon holds


@dataclasses.dataclass(frozen=True)
class ZeroShotSettings:
    """Settings of the search, for recordings of one language.

    Attributes:
      words: file of the language's words in its own script, one a line; what follows the first space is ignored.
      language: ISO 639-3, for the rules of romanization.
      lm: path of a KenLM model of these words; None for none.
      lm_weight: factor on the language model's log probabilities; MMS: 1.48.
      word_score: added for each word; MMS: -0.18 with a language model, -3.5 without.
      beam: number of hypotheses; MMS: 2,000, and 500 without a loss.
    """

    words: str
    language: str
    lm: str | None = None
    lm_weight: float | None = None
    word_score: float | None = None
    beam: int = 500

    def __post_init__(self):
        for path in (self.words, self.lm):
            if path and not pathlib.Path(path).is_file():
                raise LanguageModelError(f"{path}: no such file")
        if self.beam < 1:
            raise LanguageModelError(f"beam={self.beam}; keep one hypothesis or more")


def read_words(path: str, language: str) -> dict[str, str]:
    """The normalized words of a file with their romanized spelling; those without any are left out.

    Raises:
      LanguageModelError: no word is left.
    """
    lines = read_text(pathlib.Path(path), LanguageModelError).splitlines()
    words = {word for line in lines if line.strip() for word in normalize(line.split()[0], language).split()}
    spelled = {word: roman_word(word, language) for word in sorted(words)}
    spelled = {word: roman for word, roman in spelled.items() if roman}
    if not spelled:
        raise LanguageModelError(f"{path}: holds no words that can be romanized")
    return spelled


class ZeroShotDecoder:
    """Finds the words of a list in the scores of romanized letters."""

    def __init__(self, tokens: Sequence[str], settings: ZeroShotSettings):
        """Builds the lexicon.

        Args:
          tokens: the recognizer's symbols by number; 0 is the blank.
          settings: settings of the search.

        Raises:
          LanguageModelError: a file that cannot be used, or flashlight-text is missing.
        """
        self._tokens = tuple(tokens)
        self._words = _readable(read_words(settings.words, settings.language), self._tokens, settings.words)
        self._names = list(self._words)
        try:
            self._search: Any = _lexicon_search(self._tokens, self._words, settings)
        except ImportError as error:
            raise LanguageModelError(
                f"zero-shot recognition needs {error.name}: pip install 'mms-jax[lm]' (Python 3.11, 3.12)"
            ) from error

    def decode(self, log_probs: np.ndarray) -> tuple[str, list[Word]]:
        """Decodes one recording.

        Args:
          log_probs: float32 (frames, symbols).

        Returns:
          The text in the language's script, and its words with times; a score is the mean probability of the best
          symbols in the word's frames.
        """
        scores = np.array(log_probs[:, : len(self._tokens)], np.float32)
        silent = [number for number, token in enumerate(self._tokens) if number and token in SILENT_TOKENS]
        scores[:, silent] = _NEVER
        scores = np.ascontiguousarray(scores)
        found = self._search.decode(scores.ctypes.data, *scores.shape)
        if not found:
            return "", []
        words, begun, path = [], 0, np.asarray(found[0].tokens)[1:-1]
        probabilities = np.exp(scores.max(axis=1))
        for frame, number in enumerate(np.asarray(found[0].words)[1:-1]):
            if number >= 0:
                inside = begun + np.flatnonzero(path[begun : frame + 1] != 0)
                start = int(inside[0]) if len(inside) else begun
                score = float(probabilities[start : frame + 1].mean())
                words.append(Word(self._names[number], start * FRAME_SECONDS, (frame + 1) * FRAME_SECONDS, score))
                begun = frame + 1
        return " ".join(word.text for word in words), words


def _readable(words: Mapping[str, str], tokens: Sequence[str], source: str) -> dict[str, str]:
    """The words whose letters the recognizer has.

    Raises:
      LanguageModelError: a recognizer without word boundary, or no word is left.
    """
    if WORD_TOKEN not in tokens:
        raise LanguageModelError("zero-shot recognition needs a recognizer with a word boundary, |; this one has none")
    kept = {word: roman for word, roman in words.items() if set(roman) <= set(tokens)}
    if not kept:
        raise LanguageModelError(f"{source}: the recognizer lacks letters of every word")
    if len(kept) < len(words):
        logging.warning("%s: %d words have letters that the recognizer lacks", source, len(words) - len(kept))
    return kept


def _lexicon_search(tokens: Sequence[str], words: Mapping[str, str], settings: ZeroShotSettings) -> Any:
    from flashlight.lib.text.decoder import (
        CriterionType,
        LexiconDecoder,
        LexiconDecoderOptions,
        SmearingMode,
        Trie,
        ZeroLM,
    )
    from flashlight.lib.text.decoder.kenlm import KenLM
    from flashlight.lib.text.dictionary import Dictionary

    names = Dictionary()
    for word in words:
        names.add_entry(word)
    names.set_default_index(len(words))  # of words that are not in the list
    try:
        lm = KenLM(settings.lm, names) if settings.lm else ZeroLM()
    except RuntimeError as error:
        raise LanguageModelError(f"{settings.lm}: is no KenLM model that can be read") from error
    boundary = tokens.index(WORD_TOKEN)
    trie, start = Trie(len(tokens), boundary), lm.start(False)
    scored = [(lm.score(start, number)[1], number, roman) for number, roman in enumerate(words.values())]
    alike: collections.Counter[str] = collections.Counter()
    # The most probable of many that sound alike come first.
    for score, number, roman in sorted(scored, key=lambda entry: -entry[0]):
        alike[roman] += 1
        if alike[roman] <= _MOST_ALIKE:
            trie.insert([tokens.index(letter) for letter in roman] + [boundary], number, score)
    if lost := sum(max(0, count - _MOST_ALIKE) for count in alike.values()):
        logging.warning(
            "%s: %d words are left out, since the search holds %d of one romanized spelling (most: %s)",
            settings.words, lost, _MOST_ALIKE, max(alike, key=lambda roman: alike[roman]),
        )  # fmt: skip
    trie.smear(SmearingMode.MAX)
    word_score = settings.word_score if settings.word_score is not None else (-0.18 if settings.lm else -3.5)
    weight = settings.lm_weight if settings.lm_weight is not None else 1.48
    options = LexiconDecoderOptions(
        beam_size=settings.beam, beam_size_token=len(tokens), beam_threshold=50.0,
        lm_weight=weight if settings.lm else 0.0, word_score=word_score, unk_score=-np.inf, sil_score=0.0, log_add=False,
        criterion_type=CriterionType.CTC,
    )  # fmt: skip
    return LexiconDecoder(options, trie, lm, boundary, 0, -1, [], False)
