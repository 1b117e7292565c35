"""Exact CTC alignment: one interface to the searches by Numba and by XLA."""

import concurrent.futures
import dataclasses
import os
from collections.abc import Sequence

import numpy as np

from mms_jax.errors import AlignmentError, InputError


@dataclasses.dataclass(frozen=True)
class Alignment:
    """The most probable path of a chapter.

    Attributes:
      labels: int32 (frames,), the label or blank of each frame.
      positions: int32 (frames,), position of that label in the text; -1 for blanks.
      score: the path's log probability, a sum over frames.
    """

    labels: np.ndarray
    positions: np.ndarray
    score: float

    def __repr__(self) -> str:
        return f"Alignment({len(self.labels)} frames, score={self.score:.2f})"


def align_ctc(log_probs: np.ndarray, labels: Sequence[int] | np.ndarray, blank: int = 0) -> Alignment:
    """The most probable CTC path that spells the labels (Pratap et al. 2023, section 3.1; exact, no beam).

    Memory is linear in the chapter's length: the trellis is stored at every thousandth frame, and recomputed in between
    where the path runs. The search is compiled by Numba on CPUs and by XLA elsewhere.

    Args:
      log_probs: float (frames, vocabulary), log probabilities; -inf is allowed.
      labels: int (L,), without blanks; may be empty.
      blank: column of the blank.

    Raises:
      AlignmentError: more labels than frames (equal neighbors need a blank between), or no path of positive probability.
      InputError: labels that are not columns, or include the blank; a log probability of NaN.
    """
    return align_ctc_batch([log_probs], [labels], blank)[0]


def align_ctc_batch(
    log_probs: Sequence[np.ndarray], labels: Sequence[Sequence[int] | np.ndarray], blank: int = 0
) -> list[Alignment]:
    """`align_ctc` for several chapters at once: in threads on CPUs, in one program elsewhere."""
    scores = [np.ascontiguousarray(chapter, np.float32) for chapter in log_probs]
    texts = [np.asarray(text, np.int32).reshape(-1) for text in labels]
    for chapter, text in zip(scores, texts, strict=True):
        _check(chapter, text, blank)
    import jax  # imported here, because cutting corpora does not need it

    if jax.default_backend() == "cpu":
        from mms_jax.alignment.viterbi_cpu import SEGMENT, best_path

        def one(chapter: np.ndarray, text: np.ndarray) -> np.ndarray:
            return best_path(chapter, text, blank, SEGMENT) if len(text) else np.zeros(len(chapter), np.int32)

        if len(scores) == 1:
            return [_alignment(scores[0], texts[0], blank, one(scores[0], texts[0]))]
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            states = list(pool.map(one, scores, texts))
    else:
        from mms_jax.alignment.viterbi_xla import best_paths

        states = best_paths(scores, texts, blank)
    return [_alignment(*chapter) for chapter in zip(scores, texts, [blank] * len(states), states)]


def needed_frames(labels: np.ndarray) -> int:
    """The least number of frames for a text: one per label, and a blank between equal neighbors."""
    return len(labels) + int(np.count_nonzero(labels[1:] == labels[:-1]))


def _check(log_probs: np.ndarray, labels: np.ndarray, blank: int) -> None:
    if log_probs.ndim != 2 or not log_probs.size:
        raise InputError(f"log_probs has the shape {log_probs.shape}; give (frames, vocabulary), neither of them zero")
    columns = log_probs.shape[1]
    if not 0 <= blank < columns:
        raise InputError(f"blank={blank} is no column of log_probs, which has {columns}")
    if len(labels) and (labels.min() < 0 or labels.max() >= columns):
        raise InputError(f"labels range from {labels.min()} to {labels.max()}; log_probs has {columns} columns")
    if np.any(labels == blank):
        raise InputError(f"labels hold the blank ({blank}); leave it out, blanks are optional everywhere")
    if np.isnan(log_probs.sum()) and np.isnan(log_probs).any():  # +inf and -inf together also add up to NaN
        raise InputError("log_probs holds NaN")
    if needed_frames(labels) > len(log_probs):
        raise AlignmentError(
            f"the text is longer than the audio can hold: {len(labels)} symbols need at least {needed_frames(labels)} "
            f"frames, and there are {len(log_probs)}; check that recording and text belong together"
        )


def _alignment(log_probs: np.ndarray, labels: np.ndarray, blank: int, states: np.ndarray) -> Alignment:
    positions = np.where(states % 2 == 1, states // 2, -1).astype(np.int32)
    path = np.full(len(states), blank, np.int32)
    path[positions >= 0] = labels[positions[positions >= 0]]
    score = float(np.take_along_axis(log_probs, path[:, None], axis=1).sum(dtype=np.float64))
    visits = np.bincount(positions[positions >= 0], minlength=len(labels))
    if not np.isfinite(score) or not visits.all():
        raise AlignmentError("no path of positive probability spells the text: at least one symbol is impossible")
    return Alignment(path, positions, score)
