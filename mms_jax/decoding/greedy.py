"""The most probable symbol at each frame, repeats and blanks removed (Graves et al. 2006, best path)."""

import numpy as np


def collapse(numbers: np.ndarray, blank: int = 0) -> np.ndarray:
    """Removes repeats, then blanks.

    Args:
      numbers: int (frames,), one symbol a frame.
      blank: the number of the blank.

    Returns:
      int (symbols,).
    """
    numbers = np.asarray(numbers)
    if numbers.size == 0:
        return numbers
    first = np.concatenate([[True], numbers[1:] != numbers[:-1]])
    return numbers[first & (numbers != blank)]
