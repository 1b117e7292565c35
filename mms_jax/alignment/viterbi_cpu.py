"""CTC Viterbi on CPUs, compiled by Numba: one chapter per call, with memory linear in its length.

XLA's CPU code makes three passes over memory for every frame and gathers slowly; a loop makes one pass that stays in
the cache. Blank and label states lie in two arrays: blank l stands before label l, blank L after the last.
"""

import numba
import numpy as np

SEGMENT = 1024  # frames from one kept row of the trellis to the next

_STAY, _ADVANCE, _SKIP = 0, 1, 2
_NEVER = np.float32(-np.inf)


@numba.njit(nogil=True, cache=True)
def best_path(log_probs, labels, blank, segment):
    """The most probable path.

    The forward pass keeps one row of the trellis every `segment` frames. The backward pass recomputes one segment after
    another from its kept row, and only for the labels from which the segment's end can be reached: as many as it has
    frames.

    Args:
      log_probs: float32 (frames, vocabulary), C order.
      labels: int32 (L,), L > 0.
      blank: column of the blank.
      segment: frames.

    Returns:
      int32 (frames,), the state of each frame: 2 l for blank l, 2 l + 1 for label l; empty if no path spells them.
    """
    frames, count = len(log_probs), len(labels)
    first, skips = _bands(labels)
    emissions = np.empty(count, np.float32)
    if first[-1] >= frames:
        return np.empty(0, np.int32)
    segments = (frames - 1) // segment + 1
    kept_blanks = np.empty((segments, count + 1), np.float32)
    kept_labels = np.empty((segments, count), np.float32)
    blanks, own = np.full(count + 1, _NEVER), np.full(count, _NEVER)
    new_blanks, new_own = np.full(count + 1, _NEVER), np.full(count, _NEVER)
    blanks[0], own[0] = log_probs[0, blank], log_probs[0, labels[0]]

    low = high = 0  # labels below `low` can no longer reach the end; those above `high` cannot be reached yet
    for frame in range(1, frames):
        if (frame - 1) % segment == 0:
            _center(blanks[low : high + 2], own[low : high + 1])
            kept_blanks[(frame - 1) // segment], kept_labels[(frame - 1) // segment] = blanks, own
        while high < count - 1 and first[high + 1] <= frame:
            high += 1
        if first[low] < first[-1] - (frames - 1 - frame):
            low += 1
        if low > 0:  # the label before `low` led to it, but cannot reach the end from this frame on
            new_own[low - 1] = new_blanks[low - 1] = _NEVER
        for number in range(low, high + 1):
            emissions[number] = log_probs[frame, labels[number]]
        score = log_probs[frame, blank]
        new_blanks[high + 1] = max(own[high], blanks[high + 1]) + score
        if low == 0:
            new_blanks[0], new_own[0] = blanks[0] + score, max(own[0], blanks[0]) + emissions[0]
        start, stop = max(low, 1), high + 1
        _advance(
            own[start - 1 : stop - 1], own[start:stop], blanks[start:stop], skips[start:stop], emissions[start:stop],
            score, new_own[start:stop], new_blanks[start:stop],
        )  # fmt: skip
        blanks, new_blanks, own, new_own = new_blanks, blanks, new_own, own
    if frames == 1:
        kept_blanks[0], kept_labels[0] = blanks, own

    states = np.empty(frames, np.int32)
    state = 2 * count - 1 if own[count - 1] > blanks[count] else 2 * count
    for number in range(segments - 1, -1, -1):
        start = number * segment
        end = min(start + segment, frames - 1)
        state = _retrace(
            log_probs[start : end + 1], labels, skips, blank, kept_blanks[number], kept_labels[number],
            state, states[start : end + 1],
        )  # fmt: skip
    return states


@numba.njit(nogil=True, cache=True)
def _bands(labels):
    """The first frame at which each label can be reached; the score of skipping the blank before it, 0 or -inf."""
    first, skips = np.zeros(len(labels), np.int64), np.zeros(len(labels), np.float32)
    skips[0] = _NEVER
    for number in range(1, len(labels)):
        repeated = labels[number] == labels[number - 1]
        first[number] = first[number - 1] + (2 if repeated else 1)
        if repeated:
            skips[number] = _NEVER
    return first, skips


@numba.njit(nogil=True, cache=True)
def _center(blanks, own):
    """Subtracts the best score from all scores, so that single precision suffices for hours of audio."""
    best = blanks.max()  # one more blank than labels; between equal labels, a blank may be the only state
    if len(own):
        best = max(best, own.max())
    blanks -= best
    own -= best


@numba.njit(nogil=True, cache=True)
def _advance(before, own, blanks, skips, emissions, score, new_own, new_blanks):
    """Advances neighboring labels by one frame. Without branches and gathers, LLVM vectorizes the loop."""
    for number in range(len(own)):
        skip = before[number] + skips[number]
        best = own[number] if own[number] > blanks[number] else blanks[number]
        new_blanks[number] = (before[number] if before[number] > blanks[number] else blanks[number]) + score
        new_own[number] = (skip if skip > best else best) + emissions[number]


@numba.njit(nogil=True, cache=True)
def _retrace(log_probs, labels, skips, blank, kept_blanks, kept_labels, state, states):
    """Fills the states of one segment, whose first frame is the kept row's and whose last has `state`.

    Returns:
      The state at the first frame.
    """
    frames = len(log_probs)
    last = min(state // 2, len(labels) - 1)
    base = max(0, last - frames)  # no path from below reaches `state` in time
    width = last - base + 2  # one blank more than labels
    blanks, own = np.full(width, _NEVER), np.full(width, _NEVER)
    blanks[: last - base + 1] = kept_blanks[base : last + 1]
    own[: last - base + 1] = kept_labels[base : last + 1]
    blanks[last - base + 1] = kept_blanks[last + 1]
    steps = np.empty((frames, 2, width), np.uint8)
    for frame in range(1, frames):
        score = log_probs[frame, blank]
        for number in range(width - 1, -1, -1):
            before = own[number - 1] if number > 0 else _NEVER
            stay = blanks[number]
            label = base + number
            if label < len(labels):
                best, step = own[number], _STAY
                if stay > best:
                    best, step = stay, _ADVANCE
                if before + skips[label] > best:
                    best, step = before, _SKIP
                own[number] = best + log_probs[frame, labels[label]]
                steps[frame, 1, number] = step
            steps[frame, 0, number] = _ADVANCE if before > stay else _STAY
            blanks[number] = max(before, stay) + score
    for frame in range(frames - 1, 0, -1):
        states[frame] = state
        state -= steps[frame, state % 2, state // 2 - base]
    states[0] = state
    return state


@numba.njit(nogil=True, cache=True)
def path_score(log_probs, labels, blank):
    """The log probability of the most probable path, without the path; -inf where no path spells the labels.

    Args:
      log_probs: float32 (frames, vocabulary).
      labels: int32 (L,), L > 0.
      blank: column of the blank.
    """
    count = len(labels)
    blanks, own = np.full(count + 1, -np.inf), np.full(count, -np.inf)
    blanks[0] = 0.0
    for frame in range(len(log_probs)):
        score = log_probs[frame, blank]
        blanks[count] = max(blanks[count], own[count - 1]) + score
        for number in range(count - 1, -1, -1):
            best = max(own[number], blanks[number])
            if number > 0 and labels[number] != labels[number - 1]:
                best = max(best, own[number - 1])
            own[number] = best + log_probs[frame, labels[number]]
            blanks[number] = (max(blanks[number], own[number - 1]) if number > 0 else blanks[number]) + score
    return max(own[count - 1], blanks[count])
