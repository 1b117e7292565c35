"""Symbols and their numbers, and which of them each language writes."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

BLANK_TOKEN = "<pad>"  # number 0, as in Hugging Face's MMS vocabularies
WORD_TOKEN = "|"


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """One set of symbols for all languages of a model.

    Attributes:
      tokens: symbols by number; 0 is the CTC blank, 1 the word boundary.
      alphabets: the characters that each language (ISO 639-3) writes; others are never recognised for it.
    """

    tokens: tuple[str, ...]
    alphabets: Mapping[str, str]

    @classmethod
    def from_alphabets(cls, alphabets: Mapping[str, str]) -> "Vocabulary":
        """The smallest vocabulary that writes all the given alphabets; spaces in them are ignored."""
        characters = sorted(set("".join(alphabets.values())) - {" "})
        clean = {language: "".join(sorted(set(text) - {" "})) for language, text in sorted(alphabets.items())}
        return cls((BLANK_TOKEN, WORD_TOKEN, *characters), clean)

    def __len__(self) -> int:
        return len(self.tokens)

    @functools.cached_property
    def _numbers(self) -> dict[str, int]:
        return {token: number for number, token in enumerate(self.tokens)} | {" ": self.tokens.index(WORD_TOKEN)}

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages, in the order of `language_index`."""
        return tuple(self.alphabets)

    def language_index(self, language: str) -> int:
        """The position of a language.

        Raises:
          ValueError: the model does not know it; the message lists those it knows.
        """
        if language not in self.alphabets:
            raise ValueError(f"no language {language!r} in this model; it knows {', '.join(self.languages)}")
        return self.languages.index(language)

    def encode(self, text: str) -> list[int]:
        """Numbers of a normalised text; characters that the vocabulary lacks are left out."""
        return [self._numbers[character] for character in text if character in self._numbers]

    def decode(self, numbers: Sequence[int]) -> str:
        """Text from numbers that were collapsed already; blanks say nothing."""
        symbols = (self.tokens[number] for number in numbers if number != 0)
        return " ".join("".join(" " if symbol == WORD_TOKEN else symbol for symbol in symbols).split())

    @functools.cached_property
    def allowed(self) -> np.ndarray:
        """bool (languages, tokens): True where a language writes the symbol; blank and word boundary always are."""
        table = np.zeros((len(self.languages), len(self)), bool)
        table[:, :2] = True
        for row, alphabet in zip(table, self.alphabets.values()):
            row[self.encode(alphabet)] = True
        return table

    def to_json(self) -> dict[str, Any]:
        """Plain types, for a checkpoint's description."""
        return {"tokens": list(self.tokens), "alphabets": dict(self.alphabets)}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Vocabulary":
        """The inverse of `to_json`."""
        return cls(tuple(fields["tokens"]), dict(fields["alphabets"]))
