"""Normalization of transcripts to the text that a recognizer is trained to output."""

import unicodedata

_APOSTROPHES = str.maketrans({"’": "'", "‘": "'", "‛": "'", "ʼ": "'", "`": "'"})


# Languages whose Latin alphabet has a dotless i (ı, capital I) beside the dotted one (i, capital İ).
_DOTLESS_I = frozenset(["tur", "aze", "azj", "azb", "crh", "gag", "kaa", "kaz", "kmz", "otk", "slq", "tat", "uum"])
_TURKIC_CAPITALS = str.maketrans({"I": "ı", "İ": "i"})


def lowercase(text: str, language: str) -> str:
    """Lowercases by the rules of a language.

    Args:
      text: any text, composed (NFC or NFKC).
      language: ISO 639-3, with or without a script; "" where it is not known.
    """
    if language.split("-")[0] in _DOTLESS_I:
        return text.translate(_TURKIC_CAPITALS).lower()
    return text.replace("İ", "i").lower()  # Python gives i and U+0307, a mark that no text in lower case has


def normalize(text: str, language: str = "") -> str:
    """Lowercases a transcript and removes characters that are not read aloud.

    The steps follow the order of MMS (Pratap et al. 2023, appendix A): NFKC; lowercasing; apostrophes between letters
    become ASCII; all other punctuation and symbols become spaces; whitespace is collapsed. Combining marks count as
    letters and stay. Digits stay; `has_digits` finds the transcripts that contain digits.

    Args:
      text: any text.
      language: ISO 639-3, whose capitals have rules of their own in Turkish and related languages.

    Returns:
      The normalized text; empty where nothing readable was left.
    """
    text = lowercase(unicodedata.normalize("NFKC", text), language).translate(_APOSTROPHES)
    # Lowercasing can decompose; a second NFKC keeps one code point per letter.
    text = unicodedata.normalize("NFKC", text)
    kept = [_keep(text, position) for position in range(len(text))]
    return " ".join("".join(kept).split())


def has_digits(text: str) -> bool:
    """Whether a transcript contains digits, whose pronunciation the text does not specify."""
    return any(character.isdigit() for character in text)


def _keep(text: str, position: int) -> str:
    """The character at `position`, or a space if it is not read aloud."""
    character = text[position]
    if character == "'":
        inside = 0 < position < len(text) - 1 and text[position - 1].isalpha() and text[position + 1].isalpha()
        return character if inside else " "
    category = unicodedata.category(character)
    if category[0] in "LN" or category[0] == "M" or category == "Cf":
        # Zero-width (non-)joiners shape letters in Indic and Persian script; other format characters are dropped.
        return "" if category == "Cf" and character not in "\u200c\u200d" else character
    return " "
