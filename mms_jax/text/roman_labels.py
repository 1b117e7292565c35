"""Romanized labels, for recognizers that read every language in the same letters (Zhao et al. 2024, MMS Zero-shot)."""

import dataclasses
import functools
from collections.abc import Mapping

from mms_jax.text.languages import ANY_LANGUAGE
from mms_jax.text.romanize import ROMAN, romanize
from mms_jax.text.vocabulary import SILENT_TOKENS, WORD_TOKEN, AnyVocabulary, VocabularyBank


@functools.lru_cache(maxsize=100_000)
def roman_word(word: str, language: str) -> str:
    """A word in a to z and apostrophes; "" where nothing of it has a sound."""
    return "".join(letters for _, letters in romanize(word, language))


def roman_text(text: str, language: str) -> str:
    """A normalized text in a to z, apostrophes and spaces."""
    return " ".join(filter(None, (roman_word(word, language) for word in text.split())))


def is_romanized(vocabulary: AnyVocabulary) -> bool:
    """Whether a recognizer does not distinguish languages, and has no letters but a to z and the apostrophe."""
    if vocabulary.languages != (ANY_LANGUAGE,):
        return False
    letters = set(vocabulary.tokens_of(ANY_LANGUAGE)) - SILENT_TOKENS - {WORD_TOKEN}
    return letters <= ROMAN


@dataclasses.dataclass(frozen=True)
class RomanLabels:
    """A tokenizer that romanizes transcripts.

    Attributes:
      vocabulary: of one language, ANY_LANGUAGE.
      expansion: the most letters that a character is romanized to.
    """

    vocabulary: VocabularyBank
    expansion: int = 1

    @classmethod
    def from_alphabets(cls, alphabets: Mapping[str, str]) -> "RomanLabels":
        """For the characters of some languages."""
        lengths = [len(roman_word(letter, language)) for language, text in alphabets.items() for letter in text]
        return cls(VocabularyBank.from_alphabets({ANY_LANGUAGE: "".join(ROMAN)}), max(1, *lengths))

    @property
    def languages(self) -> tuple[str, ...]:
        """One, for all."""
        return self.vocabulary.languages

    def language_index(self, language: str) -> int:
        """0 for every language."""
        del language
        return 0

    def positions(self, characters: int) -> int:
        """See Vocabulary."""
        return self.expansion * characters

    def encode(self, text: str, language: str) -> list[int]:
        """The labels of a normalized text."""
        return self.vocabulary.encode(roman_text(text, language), ANY_LANGUAGE)
