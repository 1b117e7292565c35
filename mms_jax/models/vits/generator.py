"""HiFi-GAN's generator (Kong et al. 2020): from latent frames to samples."""

import jax
import jax.numpy as jnp
from flax import nnx

from mms_jax.models.vits.config import VitsConfig
from mms_jax.models.vits.convolution import Conv, ConvTranspose

Array = jax.Array

SLOPE = 0.1  # of leaky ReLU
LAST_SLOPE = 0.01


class _ResidualBlock(nnx.Module):
    """Dilated convolutions with residual connections: pairs (kind 1) or single ones (kind 2)."""

    def __init__(
        self, width: int, taps: int, dilations: tuple[int, ...], kind: int, *, normed: bool, dtype: jnp.dtype, rngs: nnx.Rngs
    ):  # fmt: skip
        def convs(spread):
            return nnx.List(
                [
                    Conv(width, width, taps, dilation=dilation, normed=normed, dtype=dtype, rngs=rngs)
                    for dilation in spread
                ]
            )

        self.dilated = convs(dilations)
        self.plain = convs((1,) * len(dilations) if kind == 1 else ())

    def __call__(self, x: Array, real: Array | None) -> Array:
        for number, dilated in enumerate(self.dilated):
            y = dilated(_activate(x, real))
            if len(self.plain):
                y = self.plain[number](_activate(y, real))
            x = x + y
        return x


class Generator(nnx.Module):
    """A convolution, upsamplings each followed by the mean of several residual blocks, a convolution and tanh."""

    def __init__(self, config: VitsConfig, *, normed: bool, dtype: jnp.dtype, rngs: nnx.Rngs):
        width = config.decoder_channels
        self.into = Conv(config.latent, width, 7, dtype=dtype, rngs=rngs)
        if config.speaker_width:
            self.speaker = Conv(config.speaker_width, width, dtype=dtype, rngs=rngs)
        ups, blocks = [], []
        for rate, taps in zip(config.upsample_rates, config.upsample_kernels):
            ups.append(ConvTranspose(width, width // 2, taps, rate, normed=normed, dtype=dtype, rngs=rngs))
            width //= 2
            blocks += [
                _ResidualBlock(width, taps, dilations, config.resblock, normed=normed, dtype=dtype, rngs=rngs)
                for taps, dilations in zip(config.resblock_kernels, config.resblock_dilations)
            ]
        self.ups, self.blocks = nnx.List(ups), nnx.List(blocks)
        # In float32: the waveform needs more than the 8 bits of bfloat16.
        self.out = Conv(width, 1, 7, bias=False, dtype=jnp.float32, rngs=rngs)
        self.config = config

    def __call__(
        self, latents: Array, speaker: Array | None = None, *, begin: Array | None = None, end: Array | None = None
    ) -> Array:
        """Generates waveforms.

        Args:
          latents: (batch, frames, latent), 0 for padded frames.
          speaker: (batch, 1, speaker_width) or None.
          begin, end: int (batch,), the first real frame, and the one after the last. Outside of them, every
            convolution has zeros as input, as if there were no other frames. None if all frames are real.

        Returns:
          float32 (batch, frames * hop), in [-1, 1].
        """
        config = self.config
        blocks = len(config.resblock_kernels)
        x = self.into(latents)
        if speaker is not None:
            x = x + self.speaker(speaker)
        step = 1
        for number, (up, rate) in enumerate(zip(self.ups, config.upsample_rates)):
            x = up(_activate(x, _real(x.shape[1], step, begin, end)))
            step *= rate
            real = _real(x.shape[1], step, begin, end)
            parts = [block(x, real) for block in self.blocks[number * blocks : (number + 1) * blocks]]
            x = sum(parts[1:], parts[0]) / blocks
        x = self.out(_activate(x, _real(x.shape[1], step, begin, end), LAST_SLOPE))
        return jnp.tanh(x[:, :, 0].astype(jnp.float32))


def _activate(x: Array, real: Array | None, slope: float = SLOPE) -> Array:
    x = jnp.maximum(x, slope * x)
    return x if real is None else jnp.where(real, x, 0.0)


def _real(size: int, step: int, begin: Array | None, end: Array | None) -> Array | None:
    """bool (batch, size, 1): True for positions, `step` per frame, that belong to real frames."""
    if begin is None or end is None:
        return None
    position = jnp.arange(size)
    return ((position >= begin[:, None] * step) & (position < end[:, None] * step))[:, :, None]
