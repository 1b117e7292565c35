"""Monotonic alignment search (Kim et al. 2020, algorithm 1): the best way to give every frame a symbol, in order."""

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array


def monotonic_alignment(scores: Array, frames: Array, symbols: Array) -> Array:
    """The path of highest total score that begins at the first symbol, ends at the last, and skips none.

    One scan over frames for the whole batch, and one back; compiled, differentiable nowhere.

    Args:
      scores: float32 (batch, frames, symbols), of each frame saying each symbol.
      frames, symbols: int (batch,), real ones of each row, 1 <= symbols <= frames. Other rows get a path of no use.

    Returns:
      int32 (batch, frames): the symbol of each frame; -1 behind the last real one.
    """
    scores = jax.lax.stop_gradient(scores)
    batch, size, width = scores.shape
    # At the first frame only the first symbol can have been reached.
    start = jnp.full((batch, width), -jnp.inf).at[:, 0].set(scores[:, 0, 0])

    def forward(best: Array, frame: Array) -> tuple[Array, Array]:
        stepped = jnp.pad(best[:, :-1], ((0, 0), (1, 0)), constant_values=-jnp.inf)
        # Frames are picked out one by one: to turn the scores so that they come first costs more than the search.
        score = jax.lax.dynamic_index_in_dim(scores, frame, axis=1, keepdims=False)
        return jnp.maximum(stepped, best) + score, stepped > best

    _, moved = jax.lax.scan(forward, start, jnp.arange(1, size))
    rows = jnp.arange(batch)

    def backward(symbol: Array, frame: Array) -> tuple[Array, Array]:
        inside = frame < frames
        step = moved[jnp.maximum(frame - 1, 0), rows, symbol] & inside & (frame > 0)
        return symbol - step, jnp.where(inside, symbol, -1)

    last = jnp.clip(symbols - 1, 0, width - 1).astype(jnp.int32)
    _, path = jax.lax.scan(backward, last, jnp.arange(size), reverse=True)
    return path.T


def off_diagonal(frames: Array, symbols: Array, size: int, width: int) -> Array:
    """How far from an even pace it is for each frame to say each symbol.

    Args:
      frames, symbols: int (batch,), real ones of each row.
      size, width: frames and symbols of the batch, padding included.

    Returns:
      float32 (batch, size, width), in symbols: 0 where all symbols last equally long.
    """
    pace = symbols / jnp.maximum(frames, 1)
    reached = (jnp.arange(size) + 0.5)[None, :, None] * pace[:, None, None]
    return jnp.arange(width) + 0.5 - reached


def monotonic_alignment_twin(scores: np.ndarray) -> np.ndarray:
    """The same for one row without padding, written to be read; tests hold the search to it.

    Args:
      scores: (frames, symbols), symbols <= frames.

    Returns:
      int (frames,).
    """
    frames, symbols = scores.shape
    best = np.full((frames, symbols), -np.inf)
    best[0, 0] = scores[0, 0]
    for frame in range(1, frames):
        for symbol in range(min(frame + 1, symbols)):
            reached = [best[frame - 1, symbol], best[frame - 1, symbol - 1] if symbol else -np.inf]
            best[frame, symbol] = max(reached) + scores[frame, symbol]
    path = [symbols - 1]
    for frame in range(frames - 1, 0, -1):
        symbol = path[-1]
        path.append(symbol - 1 if symbol and best[frame - 1, symbol - 1] > best[frame - 1, symbol] else symbol)
    return np.asarray(path[::-1])
