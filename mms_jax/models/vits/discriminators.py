"""HiFi-GAN's discriminators: one takes all samples, the others every p-th sample (Kong et al. 2020, section 2.3)."""

import jax
import jax.numpy as jnp
from flax import nnx

from mms_jax.models.vits.config import VitsConfig
from mms_jax.models.vits.convolution import Conv
from mms_jax.models.vits.generator import SLOPE

Array = jax.Array


class _Stack(nnx.Module):
    """Convolutions with leaky ReLU, and a last one without it, whose outputs are the scores."""

    def __init__(self, layers: list[dict], last_taps: int, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        # The first convolution hears the waveform, which needs more than the 8 bits of bfloat16.
        self.convs = nnx.List(
            [
                Conv(**layer, normed=True, dtype=dtype if number else jnp.float32, rngs=rngs)
                for number, layer in enumerate(layers)
            ]
        )
        self.score = Conv(layers[-1]["outputs"], 1, last_taps, windowed=True, normed=True, dtype=dtype, rngs=rngs)

    def __call__(self, x: Array) -> list[Array]:
        """(batch, time, 1) -> the features after every convolution; the scores are the last of them."""
        features = []
        for conv in self.convs:
            x = jax.nn.leaky_relu(conv(x), SLOPE)
            features.append(x)
        return [*features, self.score(x)]


class Discriminators(nnx.Module):
    """All discriminators; each returns its features and scores for a waveform."""

    def __init__(self, config: VitsConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        width = config.discriminator_width
        widths = (1, width // 64, width // 16, width // 4, width, width, width)
        scale = [
            # The strided convolutions have four inputs per group.
            {"inputs": inputs, "outputs": outputs, "taps": taps, "stride": stride,
             "groups": max(1, inputs // 4) if stride > 1 else 1, "windowed": stride == 1}
            for inputs, outputs, taps, stride in zip(widths, widths[1:], (15, 41, 41, 41, 41, 5), (1, 4, 4, 4, 4, 1))
        ]  # fmt: skip
        self.scale = _Stack(scale, 3, dtype=dtype, rngs=rngs)
        folded = (1, width // 32, width // 8, width // 2, width, width)
        period = [
            {"inputs": inputs, "outputs": outputs, "taps": 5, "stride": stride, "windowed": True}
            for inputs, outputs, stride in zip(folded, folded[1:], (3, 3, 3, 3, 1))
        ]
        self.periods = nnx.List([_Stack(period, 3, dtype=dtype, rngs=rngs) for _ in config.periods])
        self.config = config

    def __call__(self, waveforms: Array) -> list[list[Array]]:
        """Scores waveforms.

        Args:
          waveforms: (batch, samples).

        Returns:
          For each discriminator its features and, last, its scores, each (batch, any size); 1 stands for real speech.
        """
        rows = len(waveforms)
        seen = [self.scale(waveforms[:, :, None])]
        for period, stack in zip(self.config.periods, self.periods):
            # Each column of the folded waveform becomes a row of the batch, since kernels are one column wide.
            x = jnp.pad(waveforms, ((0, 0), (0, -waveforms.shape[1] % period)), mode="reflect")
            x = x.reshape(rows, -1, period).transpose(0, 2, 1).reshape(rows * period, -1, 1)
            seen.append(stack(x))
        return [[x.reshape(rows, -1) for x in features] for features in seen]
