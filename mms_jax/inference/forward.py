"""The function that a recognizer jits. It has a module of its own, since an exported recognizer loads no model code."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from mms_jax.inference.windows import Forward
from mms_jax.models.functional import FunctionalModel, Params
from mms_jax.models.wav2vec2.banks import for_rows
from mms_jax.models.wav2vec2.config import Wav2Vec2Config
from mms_jax.models.wav2vec2.heads import Wav2Vec2ForCTC, restrict_to_language
from mms_jax.text.vocabulary import AnyVocabulary


def make_forward(config: Wav2Vec2Config, vocabulary: AnyVocabulary, dtype: Any = jnp.float32) -> Forward:
    """The function (params, waveforms, lengths, language) -> float32 (batch, frames, vocabulary) of a geometry.

    Args:
      config: the geometry.
      vocabulary: symbols that a row's language does not use get the logit -1e9.
      dtype: the type in which the encoder computes.
    """
    model = FunctionalModel.abstract(
        lambda key: Wav2Vec2ForCTC(config, len(vocabulary), dtype=dtype, rngs=nnx.Rngs(params=key))
    )

    def forward(params: Params, waveforms: jax.Array, lengths: jax.Array, language: jax.Array) -> jax.Array:
        needed, rows = for_rows(params, language)
        logits, _ = model.bind(needed)(waveforms, lengths, language=rows)
        return restrict_to_language(logits, language, vocabulary.allowed)

    return forward
