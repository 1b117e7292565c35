"""Monotonic alignment search (Kim et al. 2020, algorithm 1): the best assignment of frames to symbols, in order."""

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array


def monotonic_alignment(scores: Array, frames: Array, symbols: Array) -> Array:
    """The path of highest total score that begins at the first symbol, ends at the last, and skips none.

    Two compiled scans over frames, one forward and one backward, serve the whole batch. No gradient flows through them.

    Args:
      scores: float32 (batch, frames, symbols), the score of each symbol at each frame.
      frames, symbols: int (batch,), numbers of real ones in each row, 1 <= symbols <= frames. The path of any other row
        is undefined.

    Returns:
      int32 (batch, frames): the symbol of each frame; -1 after the last real frame.
    """
    scores = jax.lax.stop_gradient(scores)
    batch, size, width = scores.shape
    # At the first frame, only the first symbol is reachable.
    start = jnp.full((batch, width), -jnp.inf).at[:, 0].set(scores[:, 0, 0])

    def forward(best: Array, frame: Array) -> tuple[Array, Array]:
        stepped = jnp.pad(best[:, :-1], ((0, 0), (1, 0)), constant_values=-jnp.inf)
        # Frames are sliced one by one: transposing the scores to put frames first costs more than the search.
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
    """The signed distance of each frame and symbol from the diagonal, on which all symbols last equally long.

    Args:
      frames, symbols: int (batch,), numbers of real ones in each row.
      size, width: frames and symbols of the batch, padding included.

    Returns:
      float32 (batch, size, width), in symbols: 0 on the diagonal.
    """
    pace = symbols / jnp.maximum(frames, 1)
    reached = (jnp.arange(size) + 0.5)[None, :, None] * pace[:, None, None]
    return jnp.arange(width) + 0.5 - reached


def monotonic_alignment_reference(scores: np.ndarray) -> np.ndarray:
    """The same search for one row without padding, written for clarity; tests compare the compiled search with it.

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
