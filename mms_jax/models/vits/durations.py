"""The duration of each symbol in frames: sampled from a flow (Kim et al. 2021, section 2.2.2), or predicted.

All computations are in float32, since log-determinants are sums of small differences.
"""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from mms_jax.models.layers import dropout, layer_norm, split_key
from mms_jax.models.vits.config import VitsConfig
from mms_jax.models.vits.convolution import Conv
from mms_jax.models.vits.spline import spline

Array = jax.Array

_FLOAT = jnp.dtype("float32")
SEPARABLE_LAYERS = 3


class _SeparableConvs(nnx.Module):
    """Three residual layers of depthwise (dilations 1, 3, 9) and pointwise convolution."""

    def __init__(self, width: int, kernel: int, *, rngs: nnx.Rngs):
        def layers(make):
            return nnx.List([make(number) for number in range(SEPARABLE_LAYERS)])

        self.depthwise = layers(
            lambda n: Conv(width, width, kernel, dilation=kernel**n, groups=width, dtype=_FLOAT, rngs=rngs)
        )
        self.pointwise = layers(lambda _: Conv(width, width, dtype=_FLOAT, rngs=rngs))
        self.depthwise_norms = layers(lambda _: layer_norm(width, dtype=_FLOAT, rngs=rngs))
        self.pointwise_norms = layers(lambda _: layer_norm(width, dtype=_FLOAT, rngs=rngs))

    def __call__(self, x: Array, mask: Array, rate: float = 0.0, key: Array | None = None) -> Array:
        real = mask[:, :, None]
        parts = zip(self.depthwise, self.depthwise_norms, self.pointwise, self.pointwise_norms)
        keys = split_key(key, SEPARABLE_LAYERS)
        for (depthwise, depthwise_norm, pointwise, pointwise_norm), layer_key in zip(parts, keys):
            y = jax.nn.gelu(depthwise_norm(depthwise(jnp.where(real, x, 0.0))), approximate=False)
            y = jax.nn.gelu(pointwise_norm(pointwise(y)), approximate=False)
            x = x + dropout(y, rate, layer_key)
        return jnp.where(real, x, 0.0)


class _SplineCoupling(nnx.Module):
    """Transforms the second of two channels by a spline that depends on the first and on the condition."""

    def __init__(self, config: VitsConfig, *, rngs: nnx.Rngs):
        width, bins = config.hidden, config.spline_bins
        self.into = Conv(1, width, dtype=_FLOAT, rngs=rngs)
        self.convs = _SeparableConvs(width, config.duration_kernel, rngs=rngs)
        self.out = Conv(width, 3 * bins - 1, zero=True, dtype=_FLOAT, rngs=rngs)
        self.bins, self.bound, self.scale = bins, config.spline_bound, 1.0 / math.sqrt(width)

    def __call__(self, x: Array, mask: Array, condition: Array, *, inverse: bool = False) -> tuple[Array, Array]:
        """x: (batch, symbols, 2) -> the same shape, and the log-determinant (batch, symbols), both 0 where masked."""
        first, second = x[..., :1], x[..., 1]
        shape = self.out(self.convs(self.into(first) + condition, mask))
        shape = jnp.where(mask[:, :, None], shape, 0.0)
        widths, heights, slopes = jnp.split(shape, [self.bins, 2 * self.bins], axis=-1)
        bent, log_slope = spline(second, widths * self.scale, heights * self.scale, slopes, self.bound, inverse=inverse)
        y = jnp.concatenate([first, bent[..., None]], axis=-1)
        return jnp.where(mask[:, :, None], y, 0.0), jnp.where(mask, log_slope, 0.0)


class _SplineFlow(nnx.Module):
    """An affine map of both channels, then couplings (stacked, scanned), each followed by a swap of the channels."""

    def __init__(self, config: VitsConfig, *, rngs: nnx.Rngs):
        def make_coupling(key: Array) -> _SplineCoupling:
            return _SplineCoupling(config, rngs=nnx.Rngs(params=key))

        self.shift = nnx.Param(jnp.zeros(2))
        self.log_scale = nnx.Param(jnp.zeros(2))
        self.couplings = nnx.vmap(make_coupling)(jax.random.split(rngs.params(), config.duration_flows))

    def __call__(self, x: Array, mask: Array, condition: Array) -> tuple[Array, Array]:
        """(batch, symbols, 2) -> the same shape, and the log-determinant of each row (batch,)."""
        real = mask[:, :, None]
        structure, stacked = nnx.split(self.couplings)

        def body(carry: tuple[Array, Array], coupling: nnx.State) -> tuple[tuple[Array, Array], None]:
            x, total = carry
            x, log_slope = nnx.merge(structure, coupling)(x, mask, condition)
            return (x[..., ::-1], total + jnp.sum(log_slope, axis=1)), None

        x = jnp.where(real, self.shift[...] + jnp.exp(self.log_scale[...]) * x, 0.0)
        total = jnp.sum(jnp.where(real, self.log_scale[...], 0.0), axis=(1, 2))
        # The scan is unrolled, because element-wise operations take twice as long in a loop on CPUs.
        return jax.lax.scan(body, (x, total), stacked, unroll=True)[0]

    def inverse(self, x: Array, mask: Array, condition: Array) -> Array:
        """Maps noise back to log durations, in the first channel.

        The coupling next to the affine map is skipped, as in the original: it changes only the second channel.
        """
        structure, stacked = nnx.split(self.couplings)

        def body(x: Array, coupling: nnx.State) -> tuple[Array, None]:
            return nnx.merge(structure, coupling)(x[..., ::-1], mask, condition, inverse=True)[0], None

        x, _ = jax.lax.scan(body, x, jax.tree.map(lambda leaf: leaf[1:], stacked), reverse=True, unroll=True)
        return jnp.where(mask[:, :, None], (x[..., ::-1] - self.shift[...]) * jnp.exp(-self.log_scale[...]), 0.0)


class StochasticDurationPredictor(nnx.Module):
    """A distribution over durations, modeled by a flow with variational dequantization."""

    def __init__(self, config: VitsConfig, *, rngs: nnx.Rngs):
        width, kernel = config.hidden, config.duration_kernel
        self.into = Conv(width, width, dtype=_FLOAT, rngs=rngs)
        self.convs = _SeparableConvs(width, kernel, rngs=rngs)
        self.out = Conv(width, width, dtype=_FLOAT, rngs=rngs)
        if config.speaker_width:
            self.speaker = Conv(config.speaker_width, width, dtype=_FLOAT, rngs=rngs)
        self.flow = _SplineFlow(config, rngs=rngs)
        self.posterior_into = Conv(1, width, dtype=_FLOAT, rngs=rngs)
        self.posterior_convs = _SeparableConvs(width, kernel, rngs=rngs)
        self.posterior_out = Conv(width, width, dtype=_FLOAT, rngs=rngs)
        self.posterior_flow = _SplineFlow(config, rngs=rngs)
        self.rate, self.conditioned = config.duration_dropout, bool(config.speaker_width)

    def _condition(self, hidden: Array, mask: Array, speaker: Array | None, key: Array | None) -> Array:
        x = self.into(hidden)
        if self.conditioned and speaker is not None:
            x = x + self.speaker(speaker)
        x = self.out(self.convs(x, mask, self.rate, key))
        return jnp.where(mask[:, :, None], x, 0.0)

    def sample(self, hidden: Array, mask: Array, speaker: Array | None, noise: Array) -> Array:
        """Draws log durations.

        Args:
          hidden: (batch, symbols, hidden), of the text encoder.
          mask: bool (batch, symbols), True for real symbols.
          speaker: (batch, 1, speaker_width) or None.
          noise: float32 (batch, symbols, 2), standard normal times the noise scale.

        Returns:
          float32 (batch, symbols): log of the number of frames, 0 where masked.
        """
        return self.flow.inverse(noise, mask, self._condition(hidden, mask, speaker, None))[..., 0]

    def negative_log_likelihood(
        self,
        hidden: Array,
        mask: Array,
        speaker: Array | None,
        durations: Array,
        noise: Array,
        key: Array | None = None,
    ) -> Array:
        """An upper bound on -log p(durations | text), equation 7 of the paper.

        Args:
          hidden, mask, speaker: as for `sample`. No gradient flows into `hidden` or `speaker`.
          durations: float32 (batch, symbols), frames; 0 where masked.
          noise: float32 (batch, symbols, 2), standard normal.
          key: random key that enables dropout.

        Returns:
          float32 (batch,), in nats, summed over symbols.
        """
        condition_key, posterior_key = split_key(key, 2)
        hidden = jax.lax.stop_gradient(hidden)
        speaker = jax.lax.stop_gradient(speaker) if speaker is not None else None
        condition = self._condition(hidden, mask, speaker, condition_key)
        x = self.posterior_into(durations[:, :, None])
        x = self.posterior_out(self.posterior_convs(x, mask, self.rate, posterior_key))
        posterior_condition = condition + jnp.where(mask[:, :, None], x, 0.0)

        noise = jnp.where(mask[:, :, None], noise, 0.0)
        drawn, log_volume = self.posterior_flow(noise, mask, posterior_condition)
        # u in (0, 1) makes the durations continuous; the other channel is free.
        logit, free = drawn[..., 0], drawn[..., 1]
        squeezed = jax.nn.log_sigmoid(logit) + jax.nn.log_sigmoid(-logit)
        log_volume += jnp.sum(jnp.where(mask, squeezed, 0.0), axis=1)
        log_posterior = _log_normal(noise, mask) - log_volume

        continuous = jnp.where(mask, durations - jax.nn.sigmoid(logit), 1.0)
        log_continuous = jnp.where(mask, jnp.log(jnp.maximum(continuous, 1e-5)), 0.0)
        x, log_volume = self.flow(jnp.stack([log_continuous, free], axis=-1), mask, condition)
        log_volume -= jnp.sum(log_continuous, axis=1)
        return log_posterior - _log_normal(x, mask) - log_volume


def _log_normal(x: Array, mask: Array) -> Array:
    """log density of a standard normal, summed over symbols and channels: (batch,)."""
    return jnp.sum(jnp.where(mask[:, :, None], -0.5 * (math.log(2 * math.pi) + x**2), 0.0), axis=(1, 2))


class DurationPredictor(nnx.Module):
    """A deterministic predictor of log durations with two convolutions, as in FastSpeech."""

    def __init__(self, config: VitsConfig, *, rngs: nnx.Rngs):
        width, kernel = config.duration_width, config.duration_kernel
        self.first = Conv(config.hidden, width, kernel, dtype=_FLOAT, rngs=rngs)
        self.first_norm = layer_norm(width, dtype=_FLOAT, rngs=rngs)
        self.second = Conv(width, width, kernel, dtype=_FLOAT, rngs=rngs)
        self.second_norm = layer_norm(width, dtype=_FLOAT, rngs=rngs)
        self.out = Conv(width, 1, dtype=_FLOAT, rngs=rngs)
        if config.speaker_width:
            self.speaker = Conv(config.speaker_width, config.hidden, dtype=_FLOAT, rngs=rngs)
        self.rate, self.conditioned = config.duration_dropout, bool(config.speaker_width)

    def __call__(self, hidden: Array, mask: Array, speaker: Array | None, key: Array | None = None) -> Array:
        """Predicts.

        Args:
          hidden, mask, speaker: as for StochasticDurationPredictor. No gradient flows into them.
          key: random key that enables dropout.

        Returns:
          float32 (batch, symbols): log of the number of frames, 0 where masked.
        """
        first_key, second_key = split_key(key, 2)
        real = mask[:, :, None]
        x = jax.lax.stop_gradient(hidden)
        if self.conditioned and speaker is not None:
            x = x + self.speaker(jax.lax.stop_gradient(speaker))
        x = dropout(self.first_norm(jax.nn.relu(self.first(jnp.where(real, x, 0.0)))), self.rate, first_key)
        x = dropout(self.second_norm(jax.nn.relu(self.second(jnp.where(real, x, 0.0)))), self.rate, second_key)
        return jnp.where(mask, self.out(jnp.where(real, x, 0.0))[..., 0], 0.0)
