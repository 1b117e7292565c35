"""The interface between tasks and the input pipeline for converting transcripts and languages to numbers."""

from typing import Protocol


class Tokenizer(Protocol):
    """Converts transcripts to labels. Vocabulary, VocabularyBank and VoiceTokenizer are tokenizers."""

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages, in the order of `language_index`."""

    def language_index(self, language: str) -> int:
        """The position of a language. Raises LanguageError for an unknown one."""

    def positions(self, characters: int) -> int:
        """The maximum number of labels for a transcript with that many characters."""

    def encode(self, text: str, language: str) -> list[int]:
        """The labels of a normalized transcript; characters without a symbol are left out."""
