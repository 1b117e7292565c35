"""Times of words, from a greedy path."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from mms_jax.text.vocabulary import SILENT_TOKENS, WORD_TOKEN

FRAME_SECONDS = 0.02


@dataclasses.dataclass(frozen=True)
class Word:
    """One recognized word.

    Attributes:
      text: the word.
      start, end: seconds from the beginning of the recording.
      score: mean probability of its characters at the frames that emit them, in [0, 1].
    """

    text: str
    start: float
    end: float
    score: float


def words_of_path(symbols: np.ndarray, probabilities: np.ndarray, tokens: Sequence[str]) -> list[Word]:
    """Cuts a greedy path into words.

    Args:
      symbols: int (frames,), the most probable symbol of each frame.
      probabilities: float (frames,), its probability.
      tokens: the symbols by number.

    Returns:
      The words in order; a word begins at the first frame of its first character and ends after the last frame of its
      last character.
    """
    words: list[Word] = []
    text, start, end, scores = "", 0, 0, []  # type: str, int, int, list[float]
    previous = 0

    def close() -> None:
        nonlocal text, scores
        if text:
            words.append(Word(text, start * FRAME_SECONDS, end * FRAME_SECONDS, float(np.mean(scores))))
        text, scores = "", []

    for frame, (symbol, probability) in enumerate(zip(symbols, probabilities)):
        token = tokens[symbol]
        if token in SILENT_TOKENS:
            pass
        elif token == WORD_TOKEN:
            close()
        elif symbol != previous:
            if not text:
                start = frame
            text, end = text + token, frame + 1
            scores.append(float(probability))
        else:
            end = frame + 1
        previous = symbol
    close()
    return words
