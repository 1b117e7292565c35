"""What a voice reads: text to symbol numbers, as MMS's voices take it (Pratap et al. 2023, section 7.1)."""

import dataclasses
import functools
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from mms_jax.text.vocabulary import AnyVocabulary

PAUSE = "_"  # symbol 0 of voices that are trained here: what stands between the letters
# Letters that a voice of this language knows by another code point than people type.
_RESPELLED = {"ron": str.maketrans({"ț": "ţ", "Ț": "Ţ"})}


@dataclasses.dataclass(frozen=True)
class VoiceText:
    """The symbols of a voice, and how a text becomes them.

    Attributes:
      tokens: symbols by number; number 0 also stands between all others where `add_blank` is set.
      language: ISO 639-3, or "" where the source does not say.
      add_blank: whether it does.
      uroman: whether text is romanised first.
    """

    tokens: tuple[str, ...]
    language: str = ""
    add_blank: bool = True
    uroman: bool = False

    @classmethod
    def from_characters(cls, characters: str, language: str, *, uroman: bool = False) -> "VoiceText":
        """The symbols of a voice that is to be trained on texts of these characters."""
        return cls((PAUSE, *sorted(set(characters) | {" "})), language, uroman=uroman)

    def __len__(self) -> int:
        return len(self.tokens)

    @functools.cached_property
    def _numbers(self) -> dict[str, int]:
        return {token: number for number, token in enumerate(self.tokens)}

    def language_index(self, language: str) -> int:
        """Always 0."""
        del language
        return 0

    def positions(self, characters: int) -> int:
        """Symbols that a text of so many known characters becomes."""
        return 2 * characters + 1 if self.add_blank else characters

    def encode(self, text: str, language: str = "") -> list[int]:
        """Symbol numbers of a text that is prepared already; characters that the voice lacks are left out."""
        del language
        numbers = [self._numbers[character] for character in text if character in self._numbers]
        if not self.add_blank:
            return numbers
        spread = [0] * (2 * len(numbers) + 1)
        spread[1::2] = numbers
        return spread

    def prepare(self, text: str) -> tuple[str, str]:
        """What the voice will say of a text.

        In order: lower case, the language's own spelling, uroman where the voice was trained on it, all that the voice
        has no symbol for left out, white space collapsed. Of the Unicode forms that one takes of which most is known.

        Returns:
          The readable text; and the characters that were dropped, each once, in order of appearance.
        """
        text = text.lower().translate(_RESPELLED.get(self.language, {}))
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
    def from_json(cls, fields: Mapping[str, Any]) -> "VoiceText":
        """The inverse of `to_json`."""
        return cls(**{**fields, "tokens": tuple(fields["tokens"])})


Labels = AnyVocabulary | VoiceText  # what turns a corpus's transcripts into numbers


def known_rows(new: Sequence[str], old: Sequence[str]) -> list[tuple[int, int]]:
    """(number in `new`, number in `old`) of the symbols that both know; symbol 0 stands between letters in both."""
    numbers = {token: number for number, token in enumerate(old)}
    shared = [(row, numbers[token]) for row, token in enumerate(new) if row and token in numbers]
    return [(0, 0), *shared]


def romanized(text: str) -> str:
    """uroman as the published voices' tokenizers call it: on whole texts, and only where there is something to do."""
    if text.isascii():
        return text
    from mms_jax.text.romanize import romanizer

    return romanizer().romanize_string(text).lower()
