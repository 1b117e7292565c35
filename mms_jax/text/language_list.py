"""The languages of an identifier, as the input pipeline needs them."""

import dataclasses
import functools

UNKNOWN = -1  # the number of a language that an identifier lacks


def spoken_language(code: str) -> str:
    """The language of a code without its script or dialect, which cannot be heard: azj for azj-script_latin."""
    return code.split("-")[0]


@dataclasses.dataclass(frozen=True)
class LanguageList:
    """A tokenizer for data of which only the language matters.

    Attributes:
      languages: ISO 639-3, in the order of an identifier's scores.
    """

    languages: tuple[str, ...]

    @functools.cached_property
    def _numbers(self) -> dict[str, int]:
        return {language: number for number, language in enumerate(self.languages)}

    def language_index(self, language: str) -> int:
        """The position of a language, whatever its script; UNKNOWN for one that is not in the list."""
        return self._numbers.get(spoken_language(language), UNKNOWN)

    def positions(self, characters: int) -> int:
        """No labels: transcripts are not read."""
        del characters
        return 0

    def encode(self, text: str, language: str) -> list[int]:
        """No labels: transcripts are not read."""
        del text, language
        return []
