"""Monotonic rational-quadratic splines (Durkan et al. 2019, section 3), elementwise and invertible."""

import math

import jax
import jax.numpy as jnp

Array = jax.Array

MIN_SIZE = 1e-3  # of a bin, as a share of the interval
MIN_SLOPE = 1e-3


def spline(
    x: Array, widths: Array, heights: Array, slopes: Array, bound: float, *, inverse: bool = False
) -> tuple[Array, Array]:
    """Maps [-bound, bound] onto itself, piece by piece; the identity outside.

    Args:
      x: float32, any shape.
      widths, heights: (*x.shape, bins), before softmax: the sizes of the bins.
      slopes: (*x.shape, bins - 1), before softplus: the derivatives at the inner knots; at the outer ones it is 1.
      bound: half the width of the interval.
      inverse: whether to apply the inverse map.

    Returns:
      y of the shape of x, and log |dy/dx|.
    """
    inside = (x >= -bound) & (x <= bound)
    at = jnp.clip(x, -bound, bound)
    knots_x, knots_y = _knots(widths, bound), _knots(heights, bound)
    straight = math.log(math.expm1(1.0 - MIN_SLOPE))
    ends = jnp.full((*slopes.shape[:-1], 1), straight, slopes.dtype)
    derivatives = MIN_SLOPE + jax.nn.softplus(jnp.concatenate([ends, slopes, ends], axis=-1))

    knots = knots_y if inverse else knots_x
    # One-hot sums replace gathers, which are slower in a backward pass.
    bins = widths.shape[-1]
    number = jnp.clip(jnp.sum(at[..., None] >= knots, axis=-1) - 1, 0, bins - 1)
    chosen = jax.nn.one_hot(number, bins, dtype=x.dtype)

    def pick(values: Array) -> Array:
        return jnp.sum(chosen * values, axis=-1)

    left, width = pick(knots_x[..., :-1]), pick(jnp.diff(knots_x, axis=-1))
    low, height = pick(knots_y[..., :-1]), pick(jnp.diff(knots_y, axis=-1))
    first, last = pick(derivatives[..., :-1]), pick(derivatives[..., 1:])
    steepness = height / width
    bend = first + last - 2.0 * steepness

    if inverse:
        above = at - low
        a = height * (steepness - first) + above * bend
        b = height * first - above * bend
        c = -steepness * above
        # This form of the root stays accurate where a vanishes (equation 25 onward).
        theta = jnp.clip(2.0 * c / (-b - jnp.sqrt(jnp.maximum(b**2 - 4.0 * a * c, 0.0))), 0.0, 1.0)
        y = theta * width + left
    else:
        # Rounding must not carry a point out of its bin, where slopes need not be positive.
        theta = jnp.clip((at - left) / width, 0.0, 1.0)
        rise = steepness * theta**2 + first * theta * (1 - theta)
        y = low + height * rise / _denominator(steepness, first + last, theta)
    slope = steepness**2 * (last * theta**2 + 2 * steepness * theta * (1 - theta) + first * (1 - theta) ** 2)
    log_slope = jnp.log(slope) - 2.0 * jnp.log(_denominator(steepness, first + last, theta))
    return jnp.where(inside, y, x), jnp.where(inside, -log_slope if inverse else log_slope, 0.0)


def _denominator(steepness: Array, slopes: Array, theta: Array) -> Array:
    """The denominator of equation 4 as a sum of positive terms, which avoids cancellation."""
    inner = theta * (1 - theta)
    return steepness * (1 - 2.0 * inner) + slopes * inner


def _knots(sizes: Array, bound: float) -> Array:
    """(..., bins) before softmax -> the (..., bins + 1) borders of the bins, from -bound to bound."""
    bins = sizes.shape[-1]
    shares = MIN_SIZE + (1.0 - MIN_SIZE * bins) * jax.nn.softmax(sizes, axis=-1)
    inner = 2.0 * bound * jnp.cumsum(shares[..., :-1], axis=-1) - bound
    edge = jnp.full((*sizes.shape[:-1], 1), bound, sizes.dtype)
    return jnp.concatenate([-edge, inner, edge], axis=-1)
