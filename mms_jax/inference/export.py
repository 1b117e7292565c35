"""A recognizer as one StableHLO program: exported once, run on any platform without the model's code.

A folder holds model.stablehlo (jax.export; batch and time are symbolic; CPU, CUDA and TPU), weights.safetensors, which are
the program's first argument, and export.json: geometry and vocabulary.
"""

import json
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jax import export

from mms_jax.checkpoint import StoredModel
from mms_jax.errors import ConversionError
from mms_jax.files import read_json
from mms_jax.inference.recognizer import Recognizer
from mms_jax.interop.safetensors_files import read_safetensors, save_safetensors
from mms_jax.models.description import RECOGNIZER, origin_of
from mms_jax.models.layers import compute_dtype
from mms_jax.models.wav2vec2.config import Wav2Vec2Config
from mms_jax.text.vocabulary import vocabulary_from_json

PROGRAM, WEIGHTS, DESCRIPTION = "model.stablehlo", "weights.safetensors", "export.json"
PLATFORMS = ("cpu", "cuda", "tpu")


def is_folder(path: pathlib.Path) -> bool:
    """Whether `save_program` wrote this folder."""
    return (path / PROGRAM).is_file() and (path / DESCRIPTION).is_file()


def save_program(stored: StoredModel, folder: pathlib.Path, dtype: str = "float32") -> None:
    """Exports a recognizer.

    Args:
      stored: its description and parameters.
      folder: created if it does not exist; must not already hold an export.
      dtype: the type in which the encoder computes.

    Raises:
      ConversionError: the model is not a recognizer, or the folder already holds an export.
    """
    from mms_jax.inference.forward import make_forward  # imported here, so that loading a program loads no model code

    if stored.description["kind"] != RECOGNIZER:
        raise ConversionError(f"only recognizers are exported, this model's kind is {stored.description['kind']!r}")
    if (folder / DESCRIPTION).exists():
        raise ConversionError(f"{folder} holds an export already; choose a new folder")
    config = Wav2Vec2Config.from_json(stored.description["model"])
    forward = make_forward(config, vocabulary_from_json(stored.description["vocabulary"]), compute_dtype(dtype))
    batch, frames = export.symbolic_shape("batch, frames", constraints=["batch >= 1", "frames >= 1"])
    # The samples make up whole frames, so that the length of every convolution is known without rounding.
    samples = (frames - 1) * config.stride + config.receptive_field
    arguments = (
        jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), stored.params),
        jax.ShapeDtypeStruct((batch, samples), jnp.float32),
        jax.ShapeDtypeStruct((batch,), jnp.int32),
        jax.ShapeDtypeStruct((batch,), jnp.int32),
    )
    program = export.export(jax.jit(forward), platforms=PLATFORMS)(*arguments)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PROGRAM).write_bytes(program.serialize())
    weights = traverse_util.flatten_dict(stored.params, sep="/")
    save_safetensors(folder / WEIGHTS, {name: np.asarray(leaf) for name, leaf in weights.items()})
    description = {
        "model": config.to_json(),
        "vocabulary": stored.description["vocabulary"],
        "jax": jax.__version__,
        **origin_of(stored.description),
    }
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_description(folder: pathlib.Path) -> dict[str, Any]:
    """Geometry, vocabulary and origin of an export. Raises ConversionError where they are damaged."""
    return read_json(folder / DESCRIPTION, ConversionError)


def load_program(folder: pathlib.Path) -> Recognizer:
    """The recognizer that `save_program` wrote.

    Raises:
      ConversionError: a file is missing or damaged, or this platform is not among the exported ones.
    """
    try:
        description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        program = export.deserialize(bytearray((folder / PROGRAM).read_bytes()))
        weights = {name: jax.device_put(tensor.read()) for name, tensor in read_safetensors(folder / WEIGHTS).items()}
        params = traverse_util.unflatten_dict(weights, sep="/")
        config = Wav2Vec2Config.from_json(description["model"])
        vocabulary = vocabulary_from_json(description["vocabulary"])
    except Exception as error:  # flatbuffers, JSON and safetensors fail in many ways for damaged files
        raise ConversionError(f"{folder}: cannot be read ({error}); export the model again") from error
    if (platform := export.default_export_platform()) not in program.platforms:
        raise ConversionError(f"{folder}: was exported for {', '.join(program.platforms)}; this machine has {platform}")

    def forward(params: Any, waveforms: jax.Array, lengths: jax.Array, language: jax.Array) -> jax.Array:
        whole = (config.frames(waveforms.shape[1]) - 1) * config.stride + config.receptive_field
        return program.call(params, waveforms[:, :whole], lengths, language)

    return Recognizer(config, vocabulary, params, forward, origin_of(description))
