"""Any script to Latin letters, by uroman (Hermjakob et al. 2018), as MMS's aligner reads it."""

import functools
from typing import Any

ROMAN = frozenset("abcdefghijklmnopqrstuvwxyz'")
# The languages for which uroman has rules of its own, of those that MMS names to it.
_RULES = "ara bel bul deu ell eng fas grc heb kaz kir lav lit mkd oss pnt pus rus srp tur uig ukr yid"


def romanize(word: str, language: str) -> list[tuple[str, str]]:
    """Romanises one normalised word.

    Args:
      word: without spaces.
      language: ISO 639-3, with or without a script.

    Returns:
      Pieces of the word, in order and together all of it, each with its letters a to z and apostrophes. A piece without
      letters (digits, signs) has "".
    """
    root = language.split("-")[0]
    code = root if root in _RULES.split() else None
    pieces: list[tuple[str, str]] = []
    position = 0
    for edge in romanizer().romanize_string(word, lcode=code, rom_format=_edges()):
        if edge.end <= position:
            continue
        letters = "".join(letter for letter in edge.txt.lower().replace("’", "'") if letter in ROMAN)
        piece = word[position : edge.end]
        pieces += zip(piece, letters) if piece == letters else [(piece, letters)]  # "eight" may come as one
        position = edge.end
    if position < len(word):
        pieces.append((word[position:], ""))
    return pieces


@functools.cache
def romanizer() -> Any:
    """uroman, loaded once; takes some seconds."""
    from uroman import Uroman

    return Uroman()


@functools.cache
def _edges() -> Any:
    from uroman import RomFormat

    return RomFormat.EDGES
