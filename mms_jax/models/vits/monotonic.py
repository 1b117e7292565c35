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
    before = jnp.full((batch, width), -jnp.inf)

    def forward(best: Array, frame: tuple[Array, Array]) -> tuple[Array, Array]:
        score, number = frame
        # Before the first frame only the first symbol can be reached, as if from a symbol before it.
        first = jnp.where(number == 0, 0.0, -jnp.inf)
        stepped = jnp.concatenate([jnp.full((batch, 1), first), best[:, :-1]], axis=1)
        moved = stepped > best
        return jnp.where(moved, stepped, best) + score, moved

    _, moved = jax.lax.scan(forward, before, (jnp.moveaxis(scores, 1, 0), jnp.arange(size)))

    def backward(symbol: Array, frame: tuple[Array, Array]) -> tuple[Array, Array]:
        moved, number = frame
        inside = number < frames
        step = jnp.take_along_axis(moved, symbol[:, None], axis=1)[:, 0] & inside & (number > 0)
        return symbol - step, jnp.where(inside, symbol, -1)

    last = jnp.clip(symbols - 1, 0, width - 1).astype(jnp.int32)
    _, path = jax.lax.scan(backward, last, (moved, jnp.arange(size)), reverse=True)
    return jnp.moveaxis(path, 0, 1)


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
