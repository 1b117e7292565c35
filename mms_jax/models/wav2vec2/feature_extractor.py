"""From samples to features: seven strided convolutions, each followed by layer norm and GELU."""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from mms_jax.models.layers import ACCURATE, gelu, layer_norm, linear, strided_windows
from mms_jax.models.wav2vec2.config import Wav2Vec2Config

Array = jax.Array


class ConvLayer(nnx.Module):
    """Convolution without padding, layer norm over channels, GELU. Kernel: (kernel * inputs, outputs)."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int,
        *,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
        precision: jax.lax.Precision | None = None,
    ):
        self.kernel = kernel
        self.stride = stride
        # Kaiming normal, as in wav2vec 2.0.
        self.conv = linear(
            kernel * inputs, outputs, (None, "conv"), dtype=dtype, rngs=rngs, std=math.sqrt(2.0 / (kernel * inputs)),
            precision=precision,
        )  # fmt: skip
        self.norm = layer_norm(outputs, dtype=dtype, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        structure, norm = nnx.split(self.norm)

        @jax.checkpoint  # at these frame rates, keeping what norm and GELU give is dearer than computing it again
        def activate(norm: nnx.State, y: Array) -> Array:
            return gelu(nnx.merge(structure, norm)(y))

        return activate(norm, self.conv(strided_windows(x, self.kernel, self.stride)))


class FeatureExtractor(nnx.Module):
    """The convolutional feature encoder (Baevski et al. 2020, section 2; layer norm after every convolution)."""

    def __init__(self, config: Wav2Vec2Config, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        inputs = (1, *config.conv_dims[:-1])
        shapes = list(zip(inputs, config.conv_dims, config.conv_kernels, config.conv_strides))
        # bfloat16 has 8 bits where 16-bit audio has 16: the samples are rounded only after the first norm.
        first = ConvLayer(*shapes[0], dtype=jnp.dtype("float32"), rngs=rngs, precision=ACCURATE)
        self.layers = nnx.List([first, *(ConvLayer(*shape, dtype=dtype, rngs=rngs) for shape in shapes[1:])])
        self.config = config
        self.dtype = dtype

    def __call__(self, waveforms: Array) -> Array:
        """Extracts features.

        Args:
          waveforms: (batch, samples), normalized, zero-padded at the end.

        Returns:
          (batch, frames, conv_dims[-1]). Frames that overlap the padding are undefined; mask them with
          `config.frames(lengths)`.
        """
        frames = self.config.frames(waveforms.shape[1])
        chunk = self.config.extractor_chunk
        if not chunk or frames <= chunk:
            return self._extract(waveforms)
        chunks = math.ceil(frames / chunk)
        hop, size = chunk * self.config.stride, (chunk - 1) * self.config.stride + self.config.receptive_field
        waveforms = jnp.pad(waveforms, ((0, 0), (0, max(0, (chunks - 1) * hop + size - waveforms.shape[1]))))

        def extract(start: Array) -> Array:
            return self._extract(jax.lax.dynamic_slice_in_dim(waveforms, start, size, axis=1))

        x = jnp.moveaxis(jax.lax.map(extract, jnp.arange(chunks) * hop), 0, 1)
        return x.reshape(len(waveforms), chunks * chunk, -1)[:, :frames]

    def _extract(self, waveforms: Array) -> Array:
        x = waveforms.astype(jnp.float32)[:, :, None]
        for layer in self.layers:
            x = layer(x).astype(self.dtype)
        return x
