"""Massively multilingual speech in JAX.

import mms_jax
asr = mms_jax.load("runs/asr")
asr.transcribe(["a.wav"], language="swh")
"""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mms_jax.recognizer import Recognizer


def load(model: str | os.PathLike, *, dtype: str = "float32") -> "Recognizer":
    """Loads a recogniser.

    Args:
      model: the folder of a run of `mms_jax.train` with task "asr", or of one of its checkpoints.
      dtype: in which the encoder computes: "float32", or "bfloat16" on accelerators.

    Raises:
      CheckpointError: nothing readable there, or a model that does not recognise speech.
    """
    # Imported here, so that workers which need only `mms_jax.audio` do not load JAX.
    import jax.numpy as jnp

    from mms_jax.checkpoint import CheckpointError, load_model
    from mms_jax.models.wav2vec2.config import Wav2Vec2Config
    from mms_jax.recognizer import Recognizer
    from mms_jax.text.vocabulary import Vocabulary

    stored = load_model(model)
    description = stored.description
    if description["task"] != "asr":
        raise CheckpointError(
            f"{model} holds a model of task {description['task']!r}, which does not recognise speech; fine-tune it first: "
            f"python -m mms_jax.train --config=configs/asr_phrases.py --workdir=DIR --config.init_from={model}"
        )
    config = Wav2Vec2Config.from_json(description["model"])
    return Recognizer(config, Vocabulary.from_json(description["vocabulary"]), stored.params, jnp.dtype(dtype))
