"""The backbone, which maps waveforms to context vectors."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from mms_jax.models.layers import dropout, layer_norm, length_mask, linear, scale_gradient, split_key
from mms_jax.models.wav2vec2.config import Wav2Vec2Config
from mms_jax.models.wav2vec2.encoder import TransformerEncoder
from mms_jax.models.wav2vec2.feature_extractor import FeatureExtractor
from mms_jax.models.wav2vec2.masking import Masking, mask_channels, mask_frames

Array = jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Encoded:
    """Outputs of the backbone.

    Attributes:
      context: (batch, frames, hidden), after the encoder's final norm.
      frames: int (batch,), number of real frames in each row; later frames are undefined.
      features: (batch, frames, conv_dims[-1]), after the feature norm, never masked: the targets of pretraining.
      extracted: the extractor's output before that norm, for the feature penalty.
      masked: bool (batch, frames), True for the frames that are masked in the encoder's input.
    """

    context: Array
    frames: Array
    features: Array
    extracted: Array
    masked: Array


class Wav2Vec2(nnx.Module):
    """Feature extractor, feature norm and projection, masking, encoder (Baevski et al. 2020)."""

    def __init__(self, config: Wav2Vec2Config, *, dtype: jnp.dtype = jnp.float32, rngs: nnx.Rngs):
        features, hidden = config.conv_dims[-1], config.hidden
        self.config = config
        self.extractor = FeatureExtractor(config, dtype=dtype, rngs=rngs)
        self.feature_norm = layer_norm(features, dtype=dtype, rngs=rngs)
        self.projection = linear(features, hidden, (None, "embed"), dtype=dtype, rngs=rngs, std=config.init_std)
        self.mask_embedding = nnx.Param(jax.random.uniform(rngs.params(), (hidden,)))
        self.encoder = TransformerEncoder(config, dtype=dtype, rngs=rngs)

    def __call__(
        self,
        waveforms: Array,
        lengths: Array,
        *,
        masking: Masking | None = None,
        mask_key: Array | None = None,
        key: Array | None = None,
        language: Array | None = None,
    ) -> Encoded:
        """Encodes a padded batch; the real frames of a row are the same as without padding.

        Args:
          waveforms: float32 (batch, samples), 16 kHz, normalized, zero-padded at the end.
          lengths: int (batch,), real samples of each row; a row may be empty.
          masking, mask_key: the masking of frames and channels and its random key; nothing is masked without a key.
          key: random key for dropout and LayerDrop; None for inference.
          language: int (batch,), rows of the adapter banks; only for a model that has them.
        """
        config = self.config
        extracted = self.extractor(waveforms)
        if config.feature_gradient_scale == 0.0:
            extracted = jax.lax.stop_gradient(extracted)
        elif config.feature_gradient_scale != 1.0:
            extracted = scale_gradient(extracted, config.feature_gradient_scale)
        features = self.feature_norm(extracted)
        input_key, key = split_key(key, 2)
        x = dropout(self.projection(features), config.input_dropout, input_key)

        batch, size, hidden = x.shape
        frames = config.frames(lengths)
        masked = jnp.zeros((batch, size), bool)
        if masking is not None and mask_key is not None:
            time_key, channel_key = jax.random.split(mask_key)
            masked = mask_frames(time_key, frames, size, masking)
            x = jnp.where(masked[:, :, None], self.mask_embedding[...].astype(x.dtype), x)
            if masking.channel_probability > 0.0:
                x = jnp.where(mask_channels(channel_key, batch, hidden, masking)[:, None, :], 0.0, x)
        context = self.encoder(x, length_mask(frames, size), key, language)
        return Encoded(context, frames, features, extracted, masked)


def count_parameters(module: nnx.Module) -> int:
    """Number of parameters; the module may be abstract (`nnx.eval_shape`)."""
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(module, nnx.Param)))
