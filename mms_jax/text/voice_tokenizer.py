"""Conversion of text to symbol numbers for MMS's voices (Pratap et al. 2023, section 7.1)."""

import dataclasses
import functools
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from mms_jax.text.normalize import lowercase

PAUSE = "_"  # symbol 0 of voices that are trained here; stands between the letters
# Letters whose code point in a voice's vocabulary differs from the one that keyboards type.
_RESPELLED = {"ron": str.maketrans({"ț": "ţ", "Ț": "Ţ"})}


@dataclasses.dataclass(frozen=True)
class VoiceTokenizer:
    """The symbols of a voice, and the conversion of text to them. A Tokenizer, see `mms_jax.text.tokenizer`.

    Attributes:
      tokens: symbols by number; number 0 is also the separator of all others if `add_blank` is set.
      language: ISO 639-3, or "" if the source does not specify it.
      add_blank: whether symbol 0 separates all others.
      uroman: whether text is romanized first.
    """

    tokens: tuple[str, ...]
    language: str = ""
    add_blank: bool = True
    uroman: bool = False

    @classmethod
    def from_characters(cls, characters: str, language: str, *, uroman: bool = False) -> "VoiceTokenizer":
        """A tokenizer for a voice that is to be trained on texts with these characters."""
        return cls((PAUSE, *sorted(set(characters) | {" "})), language, uroman=uroman)

    def __len__(self) -> int:
        return len(self.tokens)

    @functools.cached_property
    def _numbers(self) -> dict[str, int]:
        return {token: number for number, token in enumerate(self.tokens)}

    @property
    def languages(self) -> tuple[str, ...]:
        """The one language, where it is known."""
        return (self.language,) if self.language else ()

    def language_index(self, language: str) -> int:
        """Always 0."""
        del language
        return 0

    def positions(self, characters: int) -> int:
        """The number of symbols for a text with that many known characters."""
        return 2 * characters + 1 if self.add_blank else characters

    def encode(self, text: str, language: str = "") -> list[int]:
        """The symbol numbers of a text that is already prepared; characters that the voice lacks are omitted."""
        del language
        numbers = [self._numbers[character] for character in text if character in self._numbers]
        if not self.add_blank:
            return numbers
        spread = [0] * (2 * len(numbers) + 1)
        spread[1::2] = numbers
        return spread

    def prepare(self, text: str) -> tuple[str, str]:
        """Reduces a text to the symbols of the voice.

        The steps, in order: lowercasing, the language's own spelling, uroman if the voice was trained with it, removal
        of characters without a symbol, collapsing of whitespace. The Unicode form with the fewest unknown characters is
        used.

        Returns:
          The readable text; and the characters that were dropped, each once, in order of appearance.
        """
        text = lowercase(unicodedata.normalize("NFC", text), self.language).translate(_RESPELLED.get(self.language, {}))
        if self.uroman:
            text = romanized(text)
        text = " ".join(text.split())
        forms = [text, *(unicodedata.normalize(form, text) for form in ("NFC", "NFD", "NFKC"))]
        text = min(forms, key=lambda form: sum(character not in self._numbers for character in form))
        dropped = dict.fromkeys(character for character in text if character not in self._numbers)
        kept = "".join(character for character in text if character in self._numbers)
        return " ".join(kept.split()), "".join(dropped).replace(" ", "")

    def to_json(self) -> dict[str, Any]:
        """Plain types, for a checkpoint's description."""
        return dataclasses.asdict(self) | {"tokens": list(self.tokens)}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "VoiceTokenizer":
        """The inverse of `to_json`."""
        return cls(**{**fields, "tokens": tuple(fields["tokens"])})


def known_rows(new: Sequence[str], old: Sequence[str]) -> list[tuple[int, int]]:
    """(number in `new`, number in `old`) of the symbols that both contain; symbol 0, the pause, is the same in both."""
    numbers = {token: number for number, token in enumerate(old)}
    shared = [(row, numbers[token]) for row, token in enumerate(new) if row and token in numbers]
    return [(0, 0), *shared]


def romanized(text: str) -> str:
    """Romanizes a text as the published voices' tokenizers do: as a whole, and only if it is not ASCII."""
    if text.isascii():
        return text
    from mms_jax.text.romanize import romanizer

    return romanizer().romanize_string(text).lower()
