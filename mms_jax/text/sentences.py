"""Splitting of long texts into pieces that are synthesized one by one."""

import re

# A mark that ends a sentence in one of the scripts that MMS covers, followed by closing quotes and brackets.
_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’»)\]]*\s+|[。！？]\s*|(?<=[।॥؟۔።܀])\s*|\n+")
_CLAUSE_END = re.compile(r"(?<=[,;:،、，؛])\s*|\s+[–—-]\s+")


def split_sentences(text: str, longest: int) -> list[str]:
    """Splits a text where a reader would pause.

    Args:
      text: any text.
      longest: maximum characters per piece; longer sentences are cut at commas, then between words, then anywhere.

    Returns:
      The pieces in order, none empty.
    """
    pieces: list[str] = []
    for sentence in _SENTENCE_END.split(text):
        pieces += _shortened(sentence.strip(), longest, [_CLAUSE_END, re.compile(r"\s+")])
    return [piece for piece in pieces if piece]


def _shortened(text: str, longest: int, borders: list[re.Pattern[str]]) -> list[str]:
    if len(text) <= longest:
        return [text]
    if not borders:
        return [text[start : start + longest] for start in range(0, len(text), longest)]
    pieces: list[str] = []
    for part in filter(None, borders[0].split(text)):
        for piece in _shortened(part.strip(), longest, borders[1:]):
            # Parts are put together again as long as they fit.
            if pieces and len(pieces[-1]) + 1 + len(piece) <= longest:
                pieces[-1] += " " + piece
            else:
                pieces.append(piece)
    return pieces
