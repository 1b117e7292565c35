"""Features of a restored encoder: waveforms in, context vectors out."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from mms_jax.audio.inputs import check_waveforms
from mms_jax.audio.waveform import SAMPLE_RATE
from mms_jax.inference.windows import Waveforms, WindowedModel
from mms_jax.models.functional import FunctionalModel, Params
from mms_jax.models.wav2vec2.config import Wav2Vec2Config
from mms_jax.models.wav2vec2.model import Wav2Vec2


class Encoder:
    """The backbone of any model: waveforms in, context vectors out."""

    def __init__(self, config: Wav2Vec2Config, params: Params, dtype: Any = jnp.float32):
        """Makes an encoder from restored parameters; heads among them are ignored."""
        model = FunctionalModel.abstract(lambda key: Wav2Vec2(config, dtype=dtype, rngs=nnx.Rngs(params=key)))

        def forward(params: Params, waveforms: jax.Array, lengths: jax.Array, _: jax.Array) -> jax.Array:
            return model.bind(params)(waveforms, lengths).context.astype(jnp.float32)

        self._config = config
        self._model = WindowedModel(config, params["backbone"], forward)

    def __repr__(self) -> str:
        return f"Encoder({self._config.layers} layers, {self._config.hidden} hidden)"

    def features(self, waveforms: Waveforms, *, rate: int = SAMPLE_RATE) -> list[np.ndarray]:
        """The encoder's output after its last norm.

        Args:
          waveforms: float (samples,), mono, not normalized, of at least 25 ms.
          rate: samples per second; models work at 16,000, other rates are resampled.

        Returns:
          float32 (frames, hidden) for each.

        Raises:
          InputError: an array of another form; the message names it.
        """
        check_waveforms(waveforms, rate)
        return self._model.on_waveforms(waveforms, rate=rate)
