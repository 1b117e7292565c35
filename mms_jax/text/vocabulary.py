"""Symbols, their numbers, and the symbols that each language uses."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mms_jax.text.languages import find_language

BLANK_TOKEN = "<pad>"  # number 0, as in Hugging Face's MMS vocabularies
WORD_TOKEN = "|"
SILENT_TOKENS = frozenset({BLANK_TOKEN, "<s>", "</s>", "<unk>"})


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """One set of symbols for all languages of a model.

    Attributes:
      tokens: symbols by number; 0 is the CTC blank, 1 the word boundary.
      alphabets: the characters that each language (ISO 639-3) uses; others are never recognized for it.
    """

    tokens: tuple[str, ...]
    alphabets: Mapping[str, str]

    @classmethod
    def from_alphabets(cls, alphabets: Mapping[str, str]) -> "Vocabulary":
        """The smallest vocabulary that covers all the given alphabets; spaces in them are ignored."""
        clean = {language: "".join(sorted(set(text) - {" "})) for language, text in sorted(alphabets.items())}
        return cls(table_of("".join(alphabets.values())), clean)

    def __len__(self) -> int:
        return len(self.tokens)

    @functools.cached_property
    def _numbers(self) -> dict[str, int]:
        return _numbers_of(self.tokens)

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages, in the order of `language_index`."""
        return tuple(self.alphabets)

    def language_index(self, language: str) -> int:
        """The position of a language.

        Raises:
          LanguageError: the language is unknown; the message names the nearest known ones.
        """
        return find_language(language, self.languages)

    def tokens_of(self, language: str) -> tuple[str, ...]:
        """The symbols by number; the same for all languages."""
        del language
        return self.tokens

    def positions(self, characters: int) -> int:
        """The number of symbols that `encode` returns for that many characters."""
        return characters

    def encode(self, text: str, language: str) -> list[int]:
        """The symbol numbers of a normalized text; characters that the vocabulary lacks are omitted."""
        del language
        return _encode(text, self._numbers)

    @functools.cached_property
    def allowed(self) -> np.ndarray:
        """bool (languages, tokens): True if a language uses the symbol; always True for blank and word boundary."""
        table = np.zeros((len(self.languages), len(self)), bool)
        table[:, :2] = True
        for row, alphabet in zip(table, self.alphabets.values()):
            row[_encode(alphabet, self._numbers)] = True
        return table

    def to_json(self) -> dict[str, Any]:
        """Plain types, for a checkpoint's description."""
        # Lists keep the order: a language's position may be its row in a bank, and Orbax sorts the keys of JSON objects.
        return {"tokens": list(self.tokens), "alphabets": [list(pair) for pair in self.alphabets.items()]}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Vocabulary":
        """The inverse of `to_json`."""
        return cls(tuple(fields["tokens"]), dict(fields["alphabets"]))  # pairs; a mapping in older versions


@dataclasses.dataclass(frozen=True)
class VocabularyBank:
    """A separate set of symbols for each language, as in MMS's adapter models.

    Attributes:
      tables: the symbols of each language by number; 0 is the CTC blank.
    """

    tables: Mapping[str, tuple[str, ...]]

    @classmethod
    def from_alphabets(cls, alphabets: Mapping[str, str]) -> "VocabularyBank":
        """The symbols of each language alone, by code point; languages are sorted."""
        return cls({language: table_of(text) for language, text in sorted(alphabets.items())})

    def __len__(self) -> int:
        return max(len(table) for table in self.tables.values())

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages, in the order of `language_index`."""
        return tuple(self.tables)

    def language_index(self, language: str) -> int:
        """See Vocabulary."""
        return find_language(language, self.languages)

    def tokens_of(self, language: str) -> tuple[str, ...]:
        """The symbols of a language by number."""
        return self.tables[language]

    def positions(self, characters: int) -> int:
        """See Vocabulary."""
        return characters

    def encode(self, text: str, language: str) -> list[int]:
        """See Vocabulary."""
        return _encode(text, self._numbers[language])

    @functools.cached_property
    def _numbers(self) -> dict[str, dict[str, int]]:
        return {language: _numbers_of(table) for language, table in self.tables.items()}

    @functools.cached_property
    def allowed(self) -> np.ndarray:
        """bool (languages, tokens): False where a language's table has ended."""
        sizes = np.asarray([len(table) for table in self.tables.values()])
        return np.arange(len(self)) < sizes[:, None]

    def to_json(self) -> dict[str, Any]:
        """Plain types, for a checkpoint's description."""
        # Lists keep the order, as in Vocabulary.
        return {"tables": [[language, list(table)] for language, table in self.tables.items()]}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "VocabularyBank":
        """The inverse of `to_json`."""
        return cls({language: tuple(table) for language, table in fields["tables"]})


AnyVocabulary = Vocabulary | VocabularyBank


def table_of(alphabet: str) -> tuple[str, ...]:
    """The symbols of a language by number: blank, word boundary, characters by code point."""
    return (BLANK_TOKEN, WORD_TOKEN, *sorted(set(alphabet) - {" "}))


def _numbers_of(tokens: Sequence[str]) -> dict[str, int]:
    numbers = {token: number for number, token in enumerate(tokens)}
    return numbers | {" ": numbers[WORD_TOKEN]} if WORD_TOKEN in numbers else numbers


def _encode(text: str, numbers: Mapping[str, int]) -> list[int]:
    return [numbers[character] for character in text if character in numbers]


def vocabulary_from_json(fields: Mapping[str, Any]) -> AnyVocabulary:
    """The vocabulary in a checkpoint's description."""
    return VocabularyBank.from_json(fields) if "tables" in fields else Vocabulary.from_json(fields)


def readable_symbols(vocabulary: AnyVocabulary, language: str) -> dict[str, int]:
    """The symbols that a language's text can hold, in lower case, with their numbers; the word boundary is one of them."""
    allowed = vocabulary.allowed[vocabulary.language_index(language)]
    found = [
        (token, number)
        for number, token in enumerate(vocabulary.tokens_of(language))
        if number > 0 and allowed[number] and token not in SILENT_TOKENS
    ]
    return {token.lower(): number for token, number in found} | dict(found)


def spell(numbers: Sequence[int], tokens: Sequence[str]) -> str:
    """The text of symbol numbers that are already collapsed; blanks and other special tokens are dropped."""
    symbols = (tokens[number] for number in numbers if tokens[number] not in SILENT_TOKENS)
    return " ".join("".join(" " if symbol == WORD_TOKEN else symbol for symbol in symbols).split())
