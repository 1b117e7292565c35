"""torchaudio's layout of wav2vec 2.0, in which MMS's forced aligner (MMS_FA) is published: a bare state dict.

Its tensors are Hugging Face's with other prefixes. A state dict lacks the strides, the number of heads and the symbols;
these are fixed to the values of this one model.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from mms_jax.checkpoint import StoredModel
from mms_jax.errors import ConversionError
from mms_jax.interop import huggingface
from mms_jax.interop.keys import Tensor
from mms_jax.models.wav2vec2.config import Wav2Vec2Config
from mms_jax.text.vocabulary import BLANK_TOKEN

_PREFIXES = (
    ("feature_extractor.", "wav2vec2.feature_extractor."),
    ("encoder.feature_projection.", "wav2vec2.feature_projection."),
    ("encoder.transformer.", "wav2vec2.encoder."),
    ("aux.", "lm_head."),
)
_LETTERS = "aienoutsrmkldghybpwcvjzf'qx"
_SPECIAL_ROWS = slice(1, 4)  # fairseq's <pad>, </s> and <unk>, which torchaudio drops as well
_STRIDES, _HEADS = (5, 2, 2, 2, 2, 2, 2), 16
_POSITIONAL = "wav2vec2.encoder.pos_conv_embed.conv.parametrizations.weight.original1"


def is_state(stored: Any) -> bool:
    """Whether this is a state dict of torchaudio's Wav2Vec2Model with a CTC head."""
    return isinstance(stored, dict) and "aux.weight" in stored


def load_state(state: Mapping[str, Any], source: str) -> StoredModel:
    """Loads the aligner from a state dict.

    Args:
      state: tensors by torchaudio's names.
      source: named in messages.

    Returns:
      As `huggingface.load_folder`: a recognizer of romanized text in any language, for normalized waveforms.

    Raises:
      ConversionError: tensors do not fit, or the number of symbols is neither MMS_FA's 28 nor, untrimmed, 31.
    """
    tensors = {_renamed(name): value for name, value in state.items() if isinstance(value, Tensor)}
    rows = tensors["lm_head.weight"].shape[0]
    tokens = (BLANK_TOKEN, *_LETTERS)
    if rows == len(tokens) + 3:
        for name in ("lm_head.weight", "lm_head.bias"):
            tensors[name] = _trimmed(tensors[name])
    elif rows != len(tokens):
        raise ConversionError(
            f"{source}: has {rows} symbols; of torchaudio's models only MMS_FA ({len(tokens)} or {len(tokens) + 3}) is known"
        )
    return huggingface.plain_recognizer(_geometry(tensors, source), tensors, tokens, source)


def _geometry(tensors: Mapping[str, Tensor], source: str) -> Wav2Vec2Config:
    """The geometry, inferred from the shapes."""
    try:
        convolutions = [
            tensors[f"wav2vec2.feature_extractor.conv_layers.{number}.conv.weight"].shape
            for number in range(len(_STRIDES))
        ]
        hidden, inner, kernel = tensors[_POSITIONAL].shape
        mlp = tensors["wav2vec2.encoder.layers.0.feed_forward.intermediate_dense.weight"].shape[0]
    except KeyError as error:
        raise ConversionError(f"{source}: is no wav2vec 2.0 of torchaudio ({error} is not in it)") from error
    layers = {match.group(1) for name in tensors if (match := re.match(r"wav2vec2\.encoder\.layers\.(\d+)\.", name))}
    return Wav2Vec2Config(
        conv_dims=tuple(shape[0] for shape in convolutions),
        conv_kernels=tuple(shape[2] for shape in convolutions),
        conv_strides=_STRIDES,
        hidden=hidden,
        mlp=mlp,
        layers=len(layers),
        heads=_HEADS,
        positional_kernel=kernel,
        positional_groups=hidden // inner,
    )


def _renamed(name: str) -> str:
    for theirs, ours in _PREFIXES:
        if name.startswith(theirs):
            name = ours + name.removeprefix(theirs)
            break
    return huggingface.respelled(name)


def _trimmed(tensor: Tensor) -> Tensor:
    return Tensor((tensor.shape[0] - 3, *tensor.shape[1:]), lambda: np.delete(tensor.read(), _SPECIAL_ROWS, axis=0))
