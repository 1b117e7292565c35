"""VITS, an end-to-end text-to-speech model (Kim et al. 2021)."""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from mms_jax.models.functional import Params
from mms_jax.models.vits import convolution
from mms_jax.models.vits.config import VitsConfig
from mms_jax.models.vits.discriminators import Discriminators
from mms_jax.models.vits.durations import DurationPredictor, StochasticDurationPredictor
from mms_jax.models.vits.flow import Flow
from mms_jax.models.vits.generator import Generator
from mms_jax.models.vits.posterior import PosteriorEncoder
from mms_jax.models.vits.text_encoder import TextEncoder, TextEncoding

Array = jax.Array


class Vits(nnx.Module):
    """A model of one or more speakers. Its methods are the steps of synthesis, in order."""

    def __init__(self, config: VitsConfig, *, folded: bool = False, dtype: jnp.dtype, rngs: nnx.Rngs):
        """Builds the model.

        Args:
          config: its geometry.
          folded: whether to build it for inference, without weight norm and posterior encoder, for the parameters that
            `fold_weight_norm` returns.
          dtype: compute dtype of convolutions and matrix products. Durations, the flow's sums, spectrograms and losses
            are always float32.
          rngs: random streams for the initial parameters.
        """
        self.text_encoder = TextEncoder(config, dtype=dtype, rngs=rngs)
        self.flow = Flow(config, normed=not folded, dtype=dtype, rngs=rngs)
        predictor = StochasticDurationPredictor if config.stochastic_durations else DurationPredictor
        self.durations = predictor(config, rngs=rngs)
        self.generator = Generator(config, normed=not folded, dtype=dtype, rngs=rngs)
        if not folded:
            self.posterior = PosteriorEncoder(config, normed=True, dtype=dtype, rngs=rngs)
        if config.speaker_width:
            self.speakers = nnx.Param(jax.random.normal(rngs.params(), (config.speakers, config.speaker_width)))
        self.config = config

    def speaker(self, number: Array | None) -> Array | None:
        """Speaker numbers, int (batch,) -> embeddings (batch, 1, speaker_width); None for a single-speaker model."""
        return self.speakers[...][number][:, None] if self.config.speaker_width else None

    def log_durations(self, text: TextEncoding, speaker: Array | None, noise: Array) -> Array:
        """The log duration of each symbol.

        Args:
          text: from `text_encoder`.
          speaker: from `speaker`.
          noise: float32 (batch, symbols, 2), standard normal times the noise scale; unused where durations are not
            stochastic.

        Returns:
          float32 (batch, symbols): log of the number of frames.
        """
        if isinstance(self.durations, StochasticDurationPredictor):
            return self.durations.sample(text.hidden, text.mask, speaker, noise)
        return self.durations(text.hidden, text.mask, speaker)

    def draw_durations(self, text: TextEncoding, speaker: Array | None, noise: Array, scale: Array | float) -> Array:
        """The number of frames of each symbol, int32 (batch, symbols): exp(`log_durations`) * `scale`, rounded up."""
        frames = jnp.ceil(jnp.exp(self.log_durations(text, speaker, noise)) * scale)
        return jnp.where(text.mask, frames, 0.0).astype(jnp.int32)

    def latents(self, mean: Array, log_std: Array, symbol: Array, speaker: Array | None, noise: Array) -> Array:
        """Samples latent frames from the prior and maps them to the generator's input space.

        Args:
          mean, log_std: float32 (batch, symbols, latent), of the prior.
          symbol: int (batch, frames), from `symbol_of_frame`.
          speaker: from `speaker`.
          noise: float32 (batch, frames, latent), standard normal times the noise scale.

        Returns:
          float32 (batch, frames, latent), 0 where there is no symbol.
        """
        mean, log_std = spread_over_frames(mean, symbol), spread_over_frames(log_std, symbol)
        return self.flow(mean + noise * jnp.exp(log_std), symbol >= 0, speaker, inverse=True)


class AdversarialVits(nnx.Module):
    """The modules that are trained together: a voice and its discriminators."""

    def __init__(self, config: VitsConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.voice = Vits(config, dtype=dtype, rngs=rngs)
        self.discriminators = Discriminators(config, dtype=dtype, rngs=rngs)


def spread_over_frames(values: Array, symbol: Array) -> Array:
    """Copies the values of each symbol to its frames by a product with a one-hot matrix; the gradient is a product too.

    Args:
      values: float32 (batch, symbols, width).
      symbol: int (batch, frames), the symbol of each frame; -1 for none.

    Returns:
      float32 (batch, frames, width); 0 where there is no symbol.
    """
    chosen = jax.nn.one_hot(symbol, values.shape[1], dtype=values.dtype)
    # At a lower precision, accelerators would round the values.
    return jnp.einsum("bfs,bsw->bfw", chosen, values, precision=jax.lax.Precision.HIGHEST)


def symbol_of_frame(durations: Array, frames: int) -> Array:
    """The symbol of each frame.

    Args:
      durations: int (batch, symbols), frames of each symbol; 0 for padding.
      frames: number of frames to return.

    Returns:
      int (batch, frames); -1 after the last symbol.
    """
    ends = jnp.cumsum(durations, axis=1)
    position = jnp.arange(frames)
    number = jnp.sum(position[None, :, None] >= ends[:, None, :], axis=-1)
    return jnp.where(position < ends[:, -1:], number, -1)


def fold_weight_norm(params: Params) -> Params:
    """Folds weight norm: the parameters of `Vits(config, folded=True)` from those of a trained voice."""
    return _folded({name: part for name, part in params.items() if name != "posterior"})


def _folded(params: Params, axes: tuple[int, int] = convolution.OUTPUTS) -> Params:
    if "direction" in params:
        rest = {name: value for name, value in params.items() if name not in ("direction", "magnitude")}
        return rest | {"kernel": convolution.fold(params["direction"], params["magnitude"], axes)}
    return {
        name: _folded(value, convolution.INPUTS if name == "ups" else axes) if isinstance(value, dict) else value
        for name, value in params.items()
    }


def log_densities(latents: Array, text: TextEncoding) -> Array:
    """log p(latent frame | symbol) for every pair, by three matrix products.

    Args:
      latents: float32 (batch, frames, latent), in the prior's space.
      text: from the text encoder.

    Returns:
      float32 (batch, frames, symbols).
    """
    precision = jnp.exp(-2.0 * text.log_std)
    highest = jax.lax.Precision.HIGHEST
    constant = jnp.sum(-0.5 * math.log(2 * math.pi) - text.log_std - 0.5 * text.mean**2 * precision, axis=-1)
    square = jnp.einsum("bfw,bsw->bfs", -0.5 * latents**2, precision, precision=highest)
    cross = jnp.einsum("bfw,bsw->bfs", latents, text.mean * precision, precision=highest)
    return constant[:, None, :] + square + cross
