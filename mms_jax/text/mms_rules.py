"""The text normalization of MMS's data preparation, rule by rule (Pratap et al. 2023, appendix A, and its release).

`mms_jax.text.normalize` applies to every training transcript. These rules are applied before it, when the text of a
recording is prepared: they handle markup, verse references and the needs of individual languages.
"""

import dataclasses
import re
import unicodedata

from mms_jax.text.normalize import lowercase


def _characters(codes: str) -> frozenset[str]:
    """ "21 3c-3e" -> the characters of these hexadecimal code points."""
    found: list[str] = []
    for part in codes.split():
        first, _, last = part.partition("-")
        found += map(chr, range(int(first, 16), int(last or first, 16) + 1))
    return frozenset(found)


# Characters that are replaced by a space. The hyphen and the ASCII apostrophe are not among them.
PUNCTUATION = (
    frozenset('.?,:!{};"<>')
    | _characters("201c 201d ab bb 2039 203a 201e 201a 201f 201b 2019 2018 bf a1")  # quotation marks, Spanish
    | _characters("55a-55f 589 60c 61b 61f 964")  # Armenian, Arabic, danda
    | _characters("3002 ff0c ff01 ff1f ff1b ff1a ff08 ff09 300c-300f ff41-ff44 3008-300b fe4f 22ef 3001 2027 ff0f ff5e")
    | _characters("2500 ff3f")
    # Characters that were counted in the data of MMS-lab, among them Thai and Khmer repetition marks, the tatweel and
    # the Japanese long vowel mark, although these are letters in their scripts.
    | _characters(
        "23-26 28 29 2a 2b 2f 3d 40 5b 5d 5e 5f 7c 7e a3 a9 ac af b0 b6 b7 bc bd d7 2c7 2dc 37e 387 5be 61e 640"
    )
    | _characters(
        "6d4 965 9f7 e46 ec6 f04 f05 f0c-f0e 104a-104f 109f 1361-1366 166d 166e 17d4-17d7 17da 2006 2015 2020"
    )
    | _characters("2021 2022 2026 202f 2030 2038 203b 2044 2060 206f 2071 207f 20ac 2153 215f 2192 2212 226a 226b 230a")
    | _characters("230b 231e 231f 2d70 3005 3010 3011 3014 3015 30fb 30fc a4fe a4ff a92e a92f fd3e fd3f fe50 fe55-fe57")
    | _characters("ff0e ff1c ff1e ff65 fffd")
    # Control and private-use characters from the same texts.
    | _characters(
        "8 1a 81 8d 8f 90 92-94 9d e003 e013 e01d e040 e041 e043 e06b e06d e070 e203 e231-e236 e290-e296 e2d9"
    )
    | _characters("e2db e2de e2f9-e2fc e2fe e313 e328-e32e e492 e493 e514 e516-e518 ea01 ea7b f171-f173 f218 f21d f50e")
    | _characters("f50f f511 f513 f518 f519 f521-f523 f529 f52d f62d f7d0 f7e8")
)
# Characters that are deleted: directional marks, zero-width characters, Arabic vowel signs.
DELETED = _characters("200b 200c 200e 200f 202a 202c 64b-652 656 657")
DIGITS = _characters(
    "30-39 9e6-9ef 17e0-17e9 966-96f b66-b6f 6f0-6f9 a900-a909 ff10-ff19 d66-d6f 1040-1049 2170-2179 206f"
)
_ALSO_PUNCTUATION = {"tha": _characters("200d")}
_SOFT_HYPHEN, _HEBREW_POINTS = _characters("ad"), _characters("5b0-5cf")
_ALSO_DELETED = {"mon": _SOFT_HYPHEN, "khk": _SOFT_HYPHEN, "heb": _HEBREW_POINTS}
_ALEF_WASLA = str.maketrans("ٱ", "ا")
_ARABIC = ("ara", "arb")
_WITHOUT_DIACRITICS = ("jav",)

_REFERENCE = re.compile(r"\([^)]*\d[^)]*\)")
_BRACKETS = re.compile(r"\([^)]*\)")
_MARKUP = re.compile(r"&lt;|&gt;|&nbsp")
_INNER_QUOTE = re.compile(r"(?<=\S)[‘’‛](?=\S)")
_LAST_INNER_QUOTE = re.compile(r"(\S+)[‘’‛](\S+)")


@dataclasses.dataclass(frozen=True)
class TextRules:
    """Options that depend on the text.

    Attributes:
      as_released: reproduces three errors of the release: the Arabic alef wasla is replaced in every language, only the
        last apostrophe inside a word becomes ASCII, while the others become spaces, and capitals of Turkish and related
        languages are lowercased as English ones.
      remove_brackets: deletes all parenthesized passages, for texts in which they are not read aloud.
    """

    as_released: bool = False
    remove_brackets: bool = False


def normalize_mms(text: str, language: str, rules: TextRules = TextRules()) -> str:
    """Normalizes a line of a text that was read aloud.

    The steps, in order: NFKC; lowercasing; parenthesized passages with a digit, such as verse references, become a
    space; markup is deleted; typographic apostrophes inside a word become ASCII; punctuation becomes a space; some
    marks are deleted; whitespace is collapsed. Words of digits alone stay; `is_number` finds them, since their
    pronunciation is unknown.

    Args:
      text: one line.
      language: ISO 639-3, with or without a script ("azj-script_latin"). Arabic, Hebrew, Javanese, Mongolian and Thai
        have rules of their own.
      rules: options.
    """
    root = language.split("-")[0]
    text = unicodedata.normalize("NFKC", text)
    text = text.lower() if rules.as_released else lowercase(text, language)
    text = _REFERENCE.sub(" ", text)
    if rules.remove_brackets:
        text = _BRACKETS.sub(" ", text)
    text = _MARKUP.sub("", text)
    text = _LAST_INNER_QUOTE.sub(r"\1'\2", text) if rules.as_released else _INNER_QUOTE.sub("'", text)
    if rules.as_released or root in _ARABIC:
        text = text.translate(_ALEF_WASLA)
    spaces = PUNCTUATION | _ALSO_PUNCTUATION.get(root, frozenset())
    deleted = DELETED | _ALSO_DELETED.get(root, frozenset())
    text = "".join(" " if character in spaces else "" if character in deleted else character for character in text)
    if root in _WITHOUT_DIACRITICS:
        # The release transliterates with Unidecode (GPL), which does the same to Latin letters.
        text = "".join(letter for letter in unicodedata.normalize("NFD", text) if not unicodedata.combining(letter))
    return " ".join(text.split())


def is_number(word: str) -> bool:
    """Whether a normalized word consists of digits alone."""
    return bool(word) and all(character in DIGITS for character in word)
