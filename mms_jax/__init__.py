"""Massively multilingual speech in JAX.

import mms_jax
asr = mms_jax.load("runs/asr")
asr.transcribe(["a.wav"], language="swh")
"""

import os
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mms_jax.encoders import Encoder, Identifier
    from mms_jax.recognizer import Recognizer


def load(
    model: str | os.PathLike, *, languages: Sequence[str] | None = None, dtype: str = "float32"
) -> "Recognizer | Identifier | Encoder":
    """Loads a recogniser, an identifier or an encoder; what the model is decides.

    Args:
      model: the folder of a run of `mms_jax.train`, or of one of its checkpoints; a folder that Hugging Face's
        `save_pretrained` wrote; a .pt file of fairseq; a Hugging Face repository, OWNER/NAME; or the folder that
        `mms-jax export` wrote, which holds its languages and dtype already.
      languages: of a recogniser with language adapters, those to hold.
      dtype: in which the encoder computes: "float32", or "bfloat16" on accelerators.

    Raises:
      CheckpointError, ConversionError: nothing there that can be read. ValueError: an unknown language.
    """
    # Imported here, so that workers which need only `mms_jax.audio` do not load JAX, and exported models no model code.
    from mms_jax.interop import stablehlo

    path = pathlib.Path(model).expanduser()
    if stablehlo.is_folder(path):
        return stablehlo.load_program(path)

    import jax.numpy as jnp

    from mms_jax.encoders import Encoder, Identifier
    from mms_jax.loading import find_model
    from mms_jax.models.wav2vec2.config import Wav2Vec2Config
    from mms_jax.recognizer import Recognizer, scorer
    from mms_jax.text.vocabulary import vocabulary_from_json
    from mms_jax.windowed import for_inference

    stored = find_model(model, languages)
    description = stored.description
    config = for_inference(Wav2Vec2Config.from_json(description["model"]))
    match description["task"]:
        case "asr":
            vocabulary = vocabulary_from_json(description["vocabulary"])
            return Recognizer(config, vocabulary, stored.params, scorer(config, vocabulary, jnp.dtype(dtype)))
        case "lid":
            return Identifier(config, description, stored.params, jnp.dtype(dtype))
    return Encoder(config, stored.params, jnp.dtype(dtype))
