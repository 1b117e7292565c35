"""Greedy decoding: each frame's most probable symbol, less repeats and blanks (Graves et al. 2006, best path)."""

import numpy as np


def collapse(numbers: np.ndarray, blank: int = 0) -> np.ndarray:
    """Removes repeats, then blanks.

    Args:
      numbers: int (frames,), one symbol per frame.
      blank: the number of the blank.

    Returns:
      int (symbols,).
    """
    numbers = np.asarray(numbers)
    if numbers.size == 0:
        return numbers
    first = np.concatenate([[True], numbers[1:] != numbers[:-1]])
    return numbers[first & (numbers != blank)]
