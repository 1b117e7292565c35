"""CTC Viterbi for accelerators, compiled by XLA: a batch of chapters per call, with memory linear in their length."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array

SEGMENT = 512  # frames from one kept row of the trellis to the next
_NEVER = -jnp.inf


def best_paths(log_probs: Sequence[np.ndarray], labels: Sequence[np.ndarray], blank: int) -> list[np.ndarray]:
    """The most probable paths of several chapters.

    Args:
      log_probs: float32 (frames, vocabulary) for each, of one vocabulary.
      labels: int (L,) for each; a path must exist.
      blank: column of the blank.

    Returns:
      int32 (frames,) for each, the state of every frame: 2 l for blank l, 2 l + 1 for label l.
    """
    frames = np.asarray([len(chapter) for chapter in log_probs], np.int32)
    lengths = np.asarray([len(text) for text in labels], np.int32)
    # Few shapes are compiled: the numbers of segments and of labels are rounded up to powers of two.
    padded = SEGMENT * _power_of_two(-(-int(frames.max()) // SEGMENT))
    scores = np.zeros((len(frames), padded, log_probs[0].shape[1]), np.float32)
    symbols = np.full((len(frames), _power_of_two(max(1, int(lengths.max())))), blank, np.int32)
    for row, (chapter, text) in enumerate(zip(log_probs, labels, strict=True)):
        scores[row, : len(chapter)] = chapter
        symbols[row, : len(text)] = text
    states = np.asarray(_best_paths(scores, frames, symbols, lengths, blank, SEGMENT))
    return [row[:count] for row, count in zip(states, frames)]


@functools.partial(jax.jit, static_argnames="segment")
def _best_paths(log_probs: Array, frames: Array, labels: Array, lengths: Array, blank: int, segment: int) -> Array:
    """The most probable path of each row.

    Args:
      log_probs: float32 (batch, time, vocabulary); time a multiple of `segment`.
      frames: int (batch,), real frames.
      labels: int (batch, size), right-padded.
      lengths: int (batch,), real labels.
      blank: column of the blank.
      segment: frames.

    Returns:
      int32 (batch, time), states.
    """
    batch, time, _ = log_probs.shape
    states = 2 * labels.shape[1] + 1
    symbols = jnp.full((batch, states), blank).at[:, 1::2].set(labels)
    skips = jnp.full((batch, states), _NEVER).at[:, 3::2].set(jnp.where(labels[:, 1:] != labels[:, :-1], 0.0, _NEVER))
    numbers = jnp.arange(time).reshape(-1, segment)
    blocks = log_probs.reshape(batch, -1, segment, log_probs.shape[2]).transpose(1, 2, 0, 3)
    # The row before the first frame: a path enters at the first blank, from which it advances or stays.
    row = jnp.full((batch, states), _NEVER).at[:, 0].set(0.0)

    def advance(row: Array, step: tuple[Array, Array], symbols: Array, skips: Array) -> tuple[Array, Array]:
        emissions, number = step
        moves = jnp.stack([row, _shifted(row, 1), _shifted(row, 2) + skips])
        real = (number < frames)[:, None]
        new = moves.max(axis=0) + jnp.take_along_axis(emissions, symbols, axis=1)
        return jnp.where(real, new, row), jnp.where(real, moves.argmax(axis=0), 0).astype(jnp.uint8)

    def forward(row: Array, block: tuple[Array, Array]) -> tuple[Array, Array]:
        centered = row - row.max(axis=1, keepdims=True)  # so that single precision suffices for hours of audio
        last, _ = jax.lax.scan(lambda row, step: (advance(row, step, symbols, skips)[0], None), centered, block)
        return last, centered

    last, kept = jax.lax.scan(forward, row, (blocks, numbers))

    rows = jnp.arange(batch)
    end = 2 * lengths
    end -= (lengths > 0) & (last[rows, end - 1] > last[rows, end])
    width = min(states, 2 * segment + 1)  # states that reach a segment's end from its beginning

    def backward(end: Array, piece: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        row, block, numbers = piece
        base = jnp.clip(end - width + 1, 0, states - width)

        def window(values: Array) -> Array:
            return jnp.take_along_axis(values, base[:, None] + jnp.arange(width), axis=1)

        own, may_skip = window(symbols), window(skips)
        _, moves = jax.lax.scan(lambda row, step: advance(row, step, own, may_skip), window(row), (block, numbers))

        def retrace(state: Array, moves: Array) -> tuple[Array, Array]:
            return state - moves[rows, state - base].astype(jnp.int32), state

        return jax.lax.scan(retrace, end, moves, reverse=True)

    _, states_ = jax.lax.scan(backward, end, (kept, blocks, numbers), reverse=True)
    return states_.reshape(time, batch).T


def _shifted(row: Array, count: int) -> Array:
    return jnp.pad(row, ((0, 0), (count, 0)), constant_values=_NEVER)[:, : row.shape[1]]


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()
