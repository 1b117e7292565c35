"""The geometry of a wav2vec 2.0 model, and the named geometries."""

import dataclasses
import json
from typing import Any

import numpy as np

from mms_jax.errors import CheckpointError, ConfigError
from mms_jax.models.description import check_fields


@dataclasses.dataclass(frozen=True)
class Wav2Vec2Config:
    """The settings that determine the shapes of a model's parameters and its regularization in training.

    Attributes:
      conv_dims, conv_kernels, conv_strides: channels, kernels and strides of the extractor's convolutions, in order.
      hidden: width of the encoder.
      mlp: inner width of a layer's feed-forward block.
      layers: number of encoder layers.
      heads: number of attention heads; must divide `hidden`.
      positional_kernel, positional_groups: kernel width and groups of the positional convolution.
      quantized: width of a quantized target, all codebooks together.
      projected: width of the space in which predictions and targets are compared.
      codebooks, codes: number of codebooks, and entries in each.
      adapter_width: inner width of the language adapters; 0 for a model without adapters.
      adapter_languages: number of languages in the banks of adapters and heads.
      shared_head: whether one head serves all languages of a model with adapters.
      init_std: standard deviation of the encoder's initial weights; None for 1/sqrt(inputs), which suits small widths.
      dropout: rate after the positional convolution, the attention and the feed-forward block, and before a CTC head.
      input_dropout: rate on the encoder's input, before it is masked.
      attention_dropout: rate on the attention weights.
      activation_dropout: rate inside the feed-forward block.
      feature_dropout: rate on the features before they are quantized, the targets of pretraining.
      layerdrop: probability that a layer is skipped in a training step.
      feature_gradient_scale: factor on the gradient into the extractor; 0 freezes it and skips its backward pass.
      waveform_epsilon: added to the waveform's variance when it is normalized for inference; 1e-5 in fairseq, 1e-7 in
        Hugging Face's feature extractor; None if waveforms are not normalized.
      extractor_chunk: frames that the extractor computes at a time; 0 for all. Chunks save memory, for the same output.
      attention_chunk: attention heads computed at a time; 0 for all. Chunks save memory, for the same output.
      remat: the part that the backward pass recomputes: "none", "dots" (all but matrix products), "full" (each layer).
    """

    conv_dims: tuple[int, ...] = (512,) * 7
    conv_kernels: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    conv_strides: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    hidden: int = 1024
    mlp: int = 4096
    layers: int = 24
    heads: int = 16
    positional_kernel: int = 128
    positional_groups: int = 16
    quantized: int = 768
    projected: int = 768
    codebooks: int = 2
    codes: int = 320
    adapter_width: int = 0
    adapter_languages: int = 0
    shared_head: bool = False
    init_std: float | None = 0.02
    dropout: float = 0.0
    input_dropout: float = 0.0
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0
    feature_dropout: float = 0.0
    layerdrop: float = 0.0
    feature_gradient_scale: float = 1.0
    waveform_epsilon: float | None = 1e-5
    extractor_chunk: int = 0
    attention_chunk: int = 0
    remat: str = "none"

    def __post_init__(self):
        if not len(self.conv_dims) == len(self.conv_kernels) == len(self.conv_strides):
            raise ConfigError("conv_dims, conv_kernels and conv_strides must have one entry per convolution")
        for name, whole, part in (
            ("heads", self.hidden, self.heads),
            ("positional_groups", self.hidden, self.positional_groups),
            ("codebooks", self.quantized, self.codebooks),
        ):
            if whole % part:
                raise ConfigError(f"{name}={part} must divide {whole}")
        if bool(self.adapter_width) != bool(self.adapter_languages):
            raise ConfigError("adapter_width and adapter_languages must both be positive or both be 0")
        for name in (
            "dropout",
            "input_dropout",
            "attention_dropout",
            "activation_dropout",
            "feature_dropout",
            "layerdrop",
        ):
            if not 0.0 <= (rate := getattr(self, name)) <= 1.0:
                raise ConfigError(f"{name}={rate} must be from 0 to 1")
        if self.remat not in ("none", "dots", "full"):
            raise ConfigError(f"remat={self.remat!r}; choose none, dots or full")

    @property
    def stride(self) -> int:
        """Samples from one frame to the next (320)."""
        return int(np.prod(self.conv_strides))

    @property
    def receptive_field(self) -> int:
        """The receptive field of one frame in samples (400); shorter recordings have no frame."""
        samples, step = 1, 1
        for kernel, stride in zip(self.conv_kernels, self.conv_strides):
            samples += (kernel - 1) * step
            step *= stride
        return samples

    def frames(self, samples: Any) -> Any:
        """The number of frames in a recording: (samples - kernel) // stride + 1, applied for each convolution in turn.

        Args:
          samples: an int, or an integer array of any shape (NumPy or JAX).

        Returns:
          The same type as `samples`; never below 0.
        """
        for kernel, stride in zip(self.conv_kernels, self.conv_strides):
            samples = (samples - kernel) // stride + 1
        return samples * (samples > 0)

    def to_json(self) -> dict[str, Any]:
        """Plain types, for a checkpoint's description."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Wav2Vec2Config":
        """The inverse of `to_json`. Raises CheckpointError for fields of a newer version."""
        check_fields(fields, cls)
        plain: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()
        }
        return cls(**plain)


_LARGE: dict[str, Any] = {"layers": 60, "hidden": 2048, "mlp": 8192, "quantized": 1024, "projected": 1024}

GEOMETRIES: dict[str, Wav2Vec2Config] = {
    # For two CPU cores: narrow at high frame rates, where element-wise operations outweigh every matrix product.
    "tiny": Wav2Vec2Config(
        conv_dims=(16, 32, 48, 64, 96, 128, 192),
        hidden=192,
        mlp=576,
        layers=3,
        heads=4,
        positional_kernel=32,
        positional_groups=4,
        quantized=128,
        projected=128,
        codes=64,
        init_std=None,
    ),
    "small": Wav2Vec2Config(
        conv_dims=(64, 128, 192, 256, 256, 256, 256),
        hidden=384,
        mlp=1536,
        layers=8,
        heads=6,
        positional_kernel=64,
        positional_groups=8,
        quantized=256,
        projected=256,
        init_std=None,
    ),
    "300m": Wav2Vec2Config(),
    "1b": Wav2Vec2Config(layers=48, hidden=1280, mlp=5120, quantized=1024, projected=1024),
    "3b": Wav2Vec2Config(**_LARGE),
    "7b": Wav2Vec2Config(**{**_LARGE, "layers": 128}),
}


def geometry(name: str, **changes: Any) -> Wav2Vec2Config:
    """A named geometry with some fields changed.

    Args:
      name: "tiny", "small", "300m", "1b" (MMS), "3b" or "7b" (its successor Omnilingual ASR); or the fields of another
        geometry as JSON, as in '{"layers": 12}', for models that have no name.
      **changes: fields of Wav2Vec2Config.

    Raises:
      ConfigError: the name is unknown, or the fields are inconsistent.
      TypeError: a field is unknown.
    """
    if name.startswith("{"):
        return dataclasses.replace(_from_text(name), **changes)
    if name not in GEOMETRIES:
        raise ConfigError(f"no geometry {name!r}; there are {', '.join(GEOMETRIES)}")
    return dataclasses.replace(GEOMETRIES[name], **changes)


def _from_text(text: str) -> Wav2Vec2Config:
    try:
        return Wav2Vec2Config.from_json(json.loads(text))
    except (ValueError, CheckpointError) as error:
        raise ConfigError(f"config.model.geometry={text!r}: {error}") from error
