"""CTC Viterbi search over the whole trellis in NumPy: a readable reference for tests, slow and memory-intensive.

The fast implementations are in `viterbi_cpu` and `viterbi_xla`; `viterbi.align_ctc` chooses between them.
"""

import numpy as np


def align_ctc_reference(log_probs: np.ndarray, labels: np.ndarray, blank: int = 0) -> tuple[np.ndarray, float]:
    """The most probable CTC path that spells the labels.

    States are blank, label, blank, label, ..., blank. From one frame to the next a path stays, advances by one state, or
    skips a blank between two labels that differ; of equally good moves the shortest is taken.

    Args:
      log_probs: float (frames, vocabulary).
      labels: int (L,), without blanks.
      blank: column of the blank.

    Returns:
      int (frames,), the label or blank of each frame, and the path's log probability. Where no path spells the
      labels, the log probability is -inf and the path is meaningless.
    """
    log_probs = np.asarray(log_probs, np.float64)
    states = np.full(2 * len(labels) + 1, blank)
    states[1::2] = labels
    skips = np.zeros(len(states), bool)
    skips[3::2] = states[3::2] != states[1:-2:2]

    scores = np.full(len(states), -np.inf)
    scores[:2] = log_probs[0, states[:2]]
    steps = np.zeros((len(log_probs), len(states)), int)
    for frame in range(1, len(log_probs)):
        stay = scores
        advance = np.concatenate([[-np.inf], scores])[: len(states)]
        skip = np.where(skips, np.concatenate([[-np.inf, -np.inf], scores])[: len(states)], -np.inf)
        moves = np.stack([stay, advance, skip])
        steps[frame] = moves.argmax(axis=0)
        scores = moves.max(axis=0) + log_probs[frame, states]

    state = len(states) - 1
    if len(labels) and scores[-2] > scores[-1]:
        state -= 1
    score, path = float(scores[state]), np.zeros(len(log_probs), int)
    for frame in reversed(range(len(log_probs))):
        path[frame] = state
        state -= steps[frame, state]
    return states[path], score
