"""Romanization of any script by uroman (Hermjakob et al. 2018), for MMS's aligner."""

import functools
from typing import Any

ROMAN = frozenset("abcdefghijklmnopqrstuvwxyz'")
# The languages with their own rules in uroman, among those whose codes MMS passes to it.
_RULES = "ara bel bul deu ell eng fas grc heb kaz kir lav lit mkd oss pnt pus rus srp tur uig ukr yid"


def romanize(word: str, language: str) -> list[tuple[str, str]]:
    """Romanizes one normalized word.

    Args:
      word: without spaces.
      language: ISO 639-3, with or without a script.

    Returns:
      Consecutive pieces that make up the word, each with its romanization in a to z and apostrophes; "" for a piece
      without letters (digits, signs).
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
