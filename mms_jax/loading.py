"""One way to every model: a folder of this project, a Hugging Face folder or repository, a file of others' programs."""

import os
import pathlib
from collections.abc import Sequence

import jax.numpy as jnp

from mms_jax.checkpoint import CheckpointError, StoredModel, load_model
from mms_jax.interop import fairseq, hub, huggingface, stablehlo, torchaudio, vits
from mms_jax.interop.torch_files import read_torch
from mms_jax.models.vits.config import VitsConfig
from mms_jax.text.voice_text import VoiceText
from mms_jax.voice import Voice


def voice_of(stored: StoredModel, dtype: str = "float32") -> Voice:
    """The voice that a checkpoint holds."""
    config, text = VitsConfig.from_json(stored.description["model"]), VoiceText.from_json(stored.description["text"])
    return Voice(config, text, stored.params["voice"], jnp.dtype(dtype))


def find_model(model: str | os.PathLike, languages: Sequence[str] | None = None) -> StoredModel:
    """Loads a model from wherever it is.

    Args:
      model: the folder of a run of `mms_jax.train` or of one of its checkpoints; a folder that Hugging Face's
        `save_pretrained` wrote; a .pt file of fairseq, or torchaudio's MMS_FA; a voice's G_STEPS.pth or its
        folder; or the name of a repository, OWNER/NAME, unless a folder has that name.
      languages: of a model with language adapters, those to hold; None for all that the folder has.

    Raises:
      CheckpointError, ConversionError: nothing there that can be read. ValueError: an unknown language.
    """
    path = pathlib.Path(model).expanduser()
    if stablehlo.is_folder(path):
        raise CheckpointError(f"{model} is an export, which only `transcribe` runs; give the model that it was made of")
    if path.suffix == ".pth":
        return vits.load_original(path)
    if path.is_file():
        stored = read_torch(path)
        if torchaudio.is_state(stored):
            return torchaudio.load_state(stored, str(path))
        return fairseq.load_stored(stored, str(path), languages)
    if not path.exists() and hub.is_repository(str(model)):
        path = hub.fetch(str(model), languages)
    if vits.is_folder(path):
        return vits.load_folder(path)
    if huggingface.is_folder(path):
        return huggingface.load_folder(path, languages)
    if not path.exists():
        raise CheckpointError(f"{model}: no such folder; give a run's --workdir, a Hugging Face folder, or OWNER/NAME")
    return load_model(path)
