"""Transcript normalisation: what is left is what a recogniser is asked to write."""

import unicodedata

_APOSTROPHES = str.maketrans({"’": "'", "‘": "'", "‛": "'", "ʼ": "'", "`": "'"})


def normalize(text: str) -> str:
    """Lower-cases a transcript and removes what is not read aloud.

    Follows the order of MMS (Pratap et al. 2023, appendix A): NFKC, lower case, apostrophes between letters made
    ASCII, all other punctuation and symbols replaced by spaces, white space collapsed. Combining marks are letters and
    stay. Digits stay; `has_digits` tells which transcripts still hold some.

    Args:
      text: any text.

    Returns:
      The normalised text; empty where nothing readable was left.
    """
    text = unicodedata.normalize("NFKC", text).lower().translate(_APOSTROPHES)
    # Lower-casing can decompose (İ); NFKC again keeps one code point per letter.
    text = unicodedata.normalize("NFKC", text)
    kept = [_keep(text, position) for position in range(len(text))]
    return " ".join("".join(kept).split())


def has_digits(text: str) -> bool:
    """Whether a transcript holds digits, whose reading the text does not tell."""
    return any(character.isdigit() for character in text)


def _keep(text: str, position: int) -> str:
    """The character at `position`, or a space where it is not read."""
    character = text[position]
    if character == "'":
        inside = 0 < position < len(text) - 1 and text[position - 1].isalpha() and text[position + 1].isalpha()
        return character if inside else " "
    category = unicodedata.category(character)
    if category[0] in "LN" or category[0] == "M" or category == "Cf":
        # Zero-width (non-)joiners shape letters in Indic and Persian script; other format characters say nothing.
        return "" if category == "Cf" and character not in "\u200c\u200d" else character
    return " "
