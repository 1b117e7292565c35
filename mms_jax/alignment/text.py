"""A chapter's text as labels for the aligner, and the mapping from labels back to its words."""

import collections
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from mms_jax.errors import AlignmentError
from mms_jax.text.mms_rules import TextRules, is_number, normalize_mms
from mms_jax.text.romanize import ROMAN, romanize
from mms_jax.text.vocabulary import WORD_TOKEN


@dataclasses.dataclass(frozen=True)
class Piece:
    """A stretch of labels and its characters.

    Attributes:
      text: the characters, of the normalized text.
      first, last: positions among the chapter's labels, inclusive.
    """

    text: str
    first: int
    last: int


@dataclasses.dataclass(frozen=True)
class WordText:
    """A word.

    Attributes:
      text: normalized.
      pieces: its characters; a single piece where the word is unreadable.
      star: whether the word is unreadable (digits, or no letter among the aligner's symbols) and aligned as the star.
    """

    text: str
    pieces: tuple[Piece, ...]
    star: bool = False


@dataclasses.dataclass(frozen=True)
class VerseText:
    """A line of the text.

    Attributes:
      text: as given.
      normalized: the transcript for training; "" where nothing is readable.
      words: its words.
    """

    text: str
    normalized: str
    words: tuple[WordText, ...]


@dataclasses.dataclass(frozen=True)
class ChapterText:
    """A chapter's text, ready to be aligned.

    Attributes:
      labels: int32 (L,), symbol numbers. The first and the last are stars, which match speech before and after the
        text.
      verses: its lines.
      separators: for each verse the position of the star before it, which matches speech between two verses; None for the
        first verse, and where there is none.
      dropped: counts of characters without a symbol, and of words that became a star.
    """

    labels: np.ndarray
    verses: tuple[VerseText, ...]
    separators: tuple[int | None, ...]
    dropped: dict[str, int]

    def with_stars_between(self) -> "ChapterText":
        """The text with a star before every verse, in the place of the word boundary, if there is one."""
        star, labels, moved = self.labels[0], list(self.labels[:1]), {0: 0}
        begins = {verse.words[0].pieces[0].first for verse in self.verses if verse.words}
        inside = {
            place
            for verse in self.verses
            for word in verse.words
            for piece in word.pieces
            for place in range(piece.first, piece.last + 1)
        }
        added: dict[int, int] = {}  # new position of the star before the label at an old position
        for place in range(1, len(self.labels)):
            if place in begins and labels[-1] != star and self.labels[place] != star:
                if place - 1 in inside:
                    labels.append(star)
                else:
                    labels[-1] = star  # the word boundary
                added[place] = len(labels) - 1
            moved[place] = len(labels)
            labels.append(self.labels[place])
        verses = tuple(
            dataclasses.replace(verse, words=tuple(_moved(word, moved) for word in verse.words))
            for verse in self.verses
        )
        separators = tuple(added.get(verse.words[0].pieces[0].first) if verse.words else None for verse in self.verses)
        return ChapterText(np.asarray(labels, np.int32), verses, separators, self.dropped)


def _moved(word: WordText, places: Mapping[int, int]) -> WordText:
    pieces = tuple(Piece(piece.text, places[piece.first], places[piece.last]) for piece in word.pieces)
    return dataclasses.replace(word, pieces=pieces)


def read_chapter_text(
    lines: Sequence[str],
    language: str,
    symbols: Mapping[str, int],
    star: int,
    rules: TextRules = TextRules(),  # noqa: B008
) -> ChapterText:
    """Turns lines into labels.

    Text is normalized by the rules of MMS. It is romanized for an aligner whose symbols are a to z and the apostrophe;
    any other aligner takes the characters themselves.

    Args:
      lines: of the text, one verse each. Empty lines are kept as empty verses.
      language: ISO 639-3.
      symbols: the aligner's symbols, see `readable_symbols`.
      star: the number of the star.
      rules: for its normalization.

    Raises:
      AlignmentError: the text is empty, or none of its characters is among the symbols.
    """
    speller = _Speller(language, symbols, star)
    for line in lines:
        speller.add(line, normalize_mms(line, language, rules))
    return speller.finish()


class _Speller:
    """Collects the labels of a chapter, verse by verse."""

    def __init__(self, language: str, symbols: Mapping[str, int], star: int):
        self._language, self._star = language, star
        self._symbols = dict(symbols)
        self._boundary = self._symbols.pop(WORD_TOKEN, None)
        self._romanized = set(self._symbols) <= ROMAN
        self._known: dict[str, list[tuple[str, list[int]]]] = {}
        self._labels: list[int] = [star]
        self._verses: list[VerseText] = []
        self._dropped: collections.Counter[str] = collections.Counter()

    def add(self, text: str, normalized: str) -> None:
        """Adds a verse."""
        words: list[WordText] = []
        spoken = [word for word in normalized.split() if any(map(str.isalnum, word))]  # dashes are not read
        for word in spoken:
            spelled = self._spell(word)
            if any(numbers for _, numbers in spelled):
                words.append(self._readable(word, spelled))
            else:
                self._dropped[word] += 1
                words.append(self._unreadable(word, words))
        readable = any(not word.star for word in words)
        self._verses.append(VerseText(text, " ".join(spoken) if readable else "", tuple(words)))

    def finish(self) -> ChapterText:
        """The chapter."""
        if not any(verse.words for verse in self._verses):
            raise AlignmentError("the text is empty: no line of it holds a letter or digit; give one verse a line")
        if not any(verse.normalized for verse in self._verses):
            raise AlignmentError(
                f"no character of the text is among the model's symbols for {self._language}: the text has "
                f"{' '.join(list(self._dropped)[:5])} ..., the model {''.join(sorted(self._symbols)[:40])}; give the text "
                "in the model's script, the right --lang, or a model that reads this script or romanized text"
            )
        if self._labels[-1] != self._star:
            self._labels.append(self._star)
        separators = (None,) * len(self._verses)
        return ChapterText(np.asarray(self._labels, np.int32), tuple(self._verses), separators, dict(self._dropped))

    def _readable(self, word: str, spelled: list[tuple[str, list[int]]]) -> WordText:
        if self._boundary is not None and self._labels[-1] != self._star:
            self._labels.append(self._boundary)
        pieces: list[Piece] = []
        silent = ""  # characters without a label join the piece before them, or the first piece
        for characters, numbers in spelled:
            if numbers:
                pieces.append(Piece(silent + characters, len(self._labels), len(self._labels) + len(numbers) - 1))
                self._labels += numbers
                silent = ""
                continue
            self._dropped.update(characters)
            if pieces:
                pieces[-1] = dataclasses.replace(pieces[-1], text=pieces[-1].text + characters)
            else:
                silent += characters
        return WordText(word, tuple(pieces))

    def _unreadable(self, word: str, words: list[WordText]) -> WordText:
        """The word as a star. Unreadable neighbors in a verse share one star, since their boundary is unknown."""
        if words and words[-1].star:
            word = f"{words.pop().text} {word}"
        else:
            self._labels.append(self._star)
        place = len(self._labels) - 1
        return WordText(word, (Piece(word, place, place),), star=True)

    def _spell(self, word: str) -> list[tuple[str, list[int]]]:
        """The word in pieces, each with its labels. Digits have none: their reading is unknown."""
        if word not in self._known:
            pieces = romanize(word, self._language) if self._romanized else [(letter, letter) for letter in word]
            spelled = [(piece, [self._symbols[letter] for letter in letters if letter in self._symbols])
                     for piece, letters in pieces]  # fmt: skip
            self._known[word] = [] if is_number(word) else spelled
        return self._known[word]
