"""Convolutions over time with and without weight norm. Arrays are (batch, time, channels)."""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from mms_jax import sharding
from mms_jax.models.layers import ACCURATE, strided_windows

Array = jax.Array

# The axes of a kernel (taps, inputs, outputs) that weight norm sums over: one norm for each output, or for each input.
OUTPUTS = (-3, -2)
INPUTS = (-3, -1)


class Conv(nnx.Module):
    """A convolution that keeps the length (or divides it by the stride), zero-padded on both sides.

    With weight norm (Salimans & Kingma 2016) the kernel is magnitude * direction / |direction|, with one norm for each
    output. A folded kernel is a single array; it gives the same output, but its training is not equivalent.

    Attributes:
      kernel: float32 (taps, inputs / groups, outputs); absent with weight norm.
      direction, magnitude: only with weight norm: float32 of the kernel's shape, and (outputs,).
      bias: (outputs,).
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        taps: int = 1,
        *,
        dilation: int = 1,
        stride: int = 1,
        groups: int = 1,
        bias: bool = True,
        normed: bool = False,
        windowed: bool = False,
        zero: bool = False,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ):
        """Initializes the convolution.

        Args:
          normed: whether to apply weight norm.
          windowed: whether CPUs compute it as one product of the kernel with the input windows. This suits short signals
            and wide kernels: there the gradient of XLA's own convolution takes twice as long, and ten times as long
            inside of `lax.scan`. Accelerators would keep the windows. Dilation and groups are not supported.
          zero: whether it starts as the zero map; otherwise with PyTorch's default, a uniform distribution of kernel and
            bias within 1 / sqrt(taps * inputs / groups).
        """
        shape = (taps, inputs // groups, outputs)
        bound = 0.0 if zero else 1.0 / math.sqrt(taps * inputs // groups)
        kernel = jax.random.uniform(rngs.params(), shape, minval=-bound, maxval=bound)
        if normed:
            self.direction = nnx.Param(kernel)
            self.magnitude = nnx.Param(norm(kernel, OUTPUTS))
        else:
            self.kernel = nnx.Param(kernel)
        if bias:
            self.bias = nnx.Param(jax.random.uniform(rngs.params(), (outputs,), minval=-bound, maxval=bound))
        self.dilation, self.stride, self.groups, self.windowed = dilation, stride, groups, windowed
        self.normed, self.biased, self.dtype = normed, bias, dtype

    def __call__(self, x: Array) -> Array:
        """(batch, time, inputs) -> (batch, ceil(time / stride), outputs)."""
        kernel = fold(self.direction[...], self.magnitude[...], OUTPUTS) if self.normed else self.kernel[...]
        x, kernel = x.astype(self.dtype), kernel.astype(self.dtype)
        if self.windowed and sharding.platform() == "cpu":
            y = _windows(x, len(kernel), self.stride) @ kernel.reshape(-1, kernel.shape[-1])
        else:
            y = convolve(x, kernel, self.dilation, self.stride, self.groups)
        return y + self.bias[...].astype(self.dtype) if self.biased else y


class ConvTranspose(nnx.Module):
    """A transposed convolution that upsamples by `rate`. Weight norm has one norm for each input, as PyTorch's dim 0.

    It starts from PyTorch's default, uniform within 1 / sqrt(taps * outputs). The original draws kernels with a standard
    deviation of 0.01, but after it has applied weight norm, which then overwrites them.

    Attributes:
      kernel: float32 (taps, inputs, outputs); or direction, and magnitude (inputs,).
      bias: (outputs,).
    """

    def __init__(
        self, inputs: int, outputs: int, taps: int, rate: int, *, normed: bool, dtype: jnp.dtype, rngs: nnx.Rngs
    ):
        bound = 1.0 / math.sqrt(taps * outputs)
        kernel = jax.random.uniform(rngs.params(), (taps, inputs, outputs), minval=-bound, maxval=bound)
        if normed:
            self.direction = nnx.Param(kernel)
            self.magnitude = nnx.Param(norm(kernel, INPUTS))
        else:
            self.kernel = nnx.Param(kernel)
        self.bias = nnx.Param(jax.random.uniform(rngs.params(), (outputs,), minval=-bound, maxval=bound))
        self.rate, self.normed, self.dtype = rate, normed, dtype

    def __call__(self, x: Array) -> Array:
        """(batch, time, inputs) -> (batch, time * rate, outputs)."""
        kernel = fold(self.direction[...], self.magnitude[...], INPUTS) if self.normed else self.kernel[...]
        y = convolve_transposed(x.astype(self.dtype), kernel.astype(self.dtype), self.rate)
        return y + self.bias[...].astype(self.dtype)


def norm(direction: Array, axes: tuple[int, int]) -> Array:
    """The Euclidean norm of a kernel over two axes."""
    return jnp.sqrt(jnp.sum(direction**2, axis=axes))


def fold(direction: Array, magnitude: Array, axes: tuple[int, int]) -> Array:
    """The kernel of a weight-normalized convolution; `axes` are those of the norm. Leading axes are kept."""
    scale = magnitude / norm(direction, axes)
    return direction * jnp.expand_dims(scale, axes)


def convolve(x: Array, kernel: Array, dilation: int = 1, stride: int = 1, groups: int = 1) -> Array:
    """A zero-padded convolution of long signals.

    Of float32 arrays, as waveforms and durations are, accelerators keep 16 bits.

    Args:
      x: (batch, time, inputs).
      kernel: (taps, inputs / groups, outputs), taps odd.
      dilation, stride: in time steps.
      groups: must divide inputs and outputs; with groups, dilation requires that every channel is its own group.

    Returns:
      (batch, ceil(time / stride), outputs).
    """
    pad = (len(kernel) - 1) * dilation // 2
    precision = ACCURATE if x.dtype == jnp.float32 else None
    if len(kernel) == 1 and stride == 1:
        return jnp.matmul(x, kernel[0], precision=precision)
    if groups == 1:
        return jax.lax.conv_general_dilated(
            x, kernel, (stride,), [(pad, pad)], rhs_dilation=(dilation,), dimension_numbers=("NWC", "WIO", "NWC"),
            precision=precision,
        )  # fmt: skip
    if groups == x.shape[-1] == kernel.shape[-1]:
        return _convolve_depthwise(x, kernel, dilation, pad)
    return _convolve_grouped(x, kernel, stride, groups)


def _windows(x: Array, taps: int, stride: int) -> Array:
    pad = taps // 2
    return strided_windows(jnp.pad(x, ((0, 0), (pad, pad), (0, 0))), taps, stride)


def _convolve_grouped(x: Array, kernel: Array, stride: int, groups: int) -> Array:
    """Folds the stride into the channels of each group, which leaves a convolution with stride 1.

    On CPUs XLA takes half as long for it, and a tenth as long for its gradient with respect to x.
    """
    taps, inputs, outputs = kernel.shape
    batch, time, _ = x.shape
    pad, blocks, size = taps // 2, -(-taps // stride), -(-time // stride)
    needed = (size + blocks - 1) * stride
    x = jnp.pad(x, ((0, 0), (pad, max(0, needed - time - pad)), (0, 0)))[:, :needed]
    x = x.reshape(batch, -1, stride, groups, inputs).swapaxes(2, 3).reshape(batch, size + blocks - 1, -1)
    kernel = jnp.pad(kernel, ((0, blocks * stride - taps), (0, 0), (0, 0)))
    return _correlate(x, kernel.reshape(blocks, stride * inputs, outputs))


def _slide(x: Array, kernel: Array) -> Array:
    """An unpadded convolution with stride 1; the kernel's inputs determine the number of groups."""
    return jax.lax.conv_general_dilated(
        x, kernel, (1,), "VALID", feature_group_count=x.shape[-1] // kernel.shape[1],
        dimension_numbers=("NWC", "WIO", "NWC"),
    )  # fmt: skip


def _slide_backward(kept: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    """Computes the kernel's gradient by a product per tap and group: on CPUs XLA's own takes 5 to 100 times as long."""
    x, kernel = kept
    taps, inputs, _ = kernel.shape
    batch, time, _ = x.shape
    size = time - taps + 1
    groups = x.shape[-1] // inputs
    x_groups, gradients = x.reshape(batch, time, groups, inputs), gradient.reshape(batch, size, groups, -1)
    of_taps = [jnp.einsum("btgi,btgo->igo", x_groups[:, tap : tap + size], gradients) for tap in range(taps)]
    _, pull_back = jax.vjp(lambda x: _slide(x, kernel), x)
    return pull_back(gradient)[0], jnp.stack(of_taps).reshape(kernel.shape)


_correlate = jax.custom_vjp(_slide)
_correlate.defvjp(lambda x, kernel: (_slide(x, kernel), (x, kernel)), _slide_backward)


def _convolve_depthwise(x: Array, kernel: Array, dilation: int, pad: int) -> Array:
    time = x.shape[1]
    x = jnp.pad(x, ((0, 0), (pad, pad), (0, 0)))
    return sum(x[:, tap * dilation :][:, :time] * kernel[tap, 0] for tap in range(len(kernel)))  # type: ignore[return-value]


def convolve_transposed(x: Array, kernel: Array, rate: int) -> Array:
    """A transposed convolution whose output is exactly `rate` times as long: one matrix product, then overlap-add.

    Args:
      x: (batch, time, inputs).
      kernel: (taps, inputs, outputs); (taps - rate) / 2 samples are cut off at either end.
      rate: output samples for each input.

    Returns:
      (batch, time * rate, outputs).
    """
    taps, inputs, outputs = kernel.shape
    batch, time, _ = x.shape
    blocks = -(-taps // rate)
    kernel = jnp.pad(kernel, ((0, blocks * rate - taps), (0, 0), (0, 0)))
    spread = (x @ kernel.transpose(1, 0, 2).reshape(inputs, -1)).reshape(batch, time, blocks, rate * outputs)
    y = sum(jnp.pad(spread[:, :, block], ((0, 0), (block, blocks - 1 - block), (0, 0))) for block in range(blocks))
    cut = (taps - rate) // 2
    return y.reshape(batch, (time + blocks - 1) * rate, outputs)[:, cut : cut + time * rate]  # type: ignore[union-attr]
