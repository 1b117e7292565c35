"""Hugging Face's wav2vec 2.0 format: the fields of config.json, and which tensor is which parameter."""

from collections.abc import Iterator, Mapping
from typing import Any

from mms_jax.errors import ConversionError
from mms_jax.interop.keys import (
    REVERSED,
    SAME,
    TAPS,
    TRANSPOSED,
    Entry,
    Layout,
    Place,
    convolution,
)
from mms_jax.models.wav2vec2.config import Wav2Vec2Config

DOWN = "adapter_layer.linear_1.weight"
ENGLISH = "eng"
EPSILON = 1e-7  # of the feature extractor
_REQUIRED = {
    "model_type": "wav2vec2",
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
    "conv_bias": True,
    "hidden_act": "gelu",
    "feat_extract_activation": "gelu",
    "add_adapter": False,
    "use_weighted_layer_sum": False,
    "layer_norm_eps": 1e-5,
}
_DEFAULTS = {"model_type": "wav2vec2", "hidden_act": "gelu", "feat_extract_activation": "gelu", "add_adapter": False,
             "use_weighted_layer_sum": False, "layer_norm_eps": 1e-5, "conv_bias": False, "feat_extract_norm": "group",
             "do_stable_layer_norm": False}  # fmt: skip


def model_config(fields: Mapping[str, Any], source: str) -> Wav2Vec2Config:
    """The geometry that a config.json describes.

    Raises:
      ConversionError: a variant of wav2vec 2.0 that MMS does not use; the message names the setting.
    """
    for name, needed in _REQUIRED.items():
        value = fields.get(name, _DEFAULTS[name])
        if value != needed:
            raise ConversionError(
                f"{source}: config.json has {name}={value!r}; only models with {needed!r} are supported"
            )
    return Wav2Vec2Config(
        conv_dims=tuple(fields["conv_dim"]),
        conv_kernels=tuple(fields["conv_kernel"]),
        conv_strides=tuple(fields["conv_stride"]),
        hidden=fields["hidden_size"],
        mlp=fields["intermediate_size"],
        layers=fields["num_hidden_layers"],
        heads=fields["num_attention_heads"],
        positional_kernel=fields["num_conv_pos_embeddings"],
        positional_groups=fields["num_conv_pos_embedding_groups"],
        quantized=fields.get("codevector_dim", 256),
        projected=fields.get("proj_codevector_dim", 256),
        codebooks=fields.get("num_codevector_groups", 2),
        codes=fields.get("num_codevectors_per_group", 320),
        waveform_epsilon=EPSILON,
    )


def config_fields(config: Wav2Vec2Config) -> dict[str, Any]:
    """The inverse of `model_config`."""
    return _REQUIRED | {
        "conv_dim": list(config.conv_dims),
        "conv_kernel": list(config.conv_kernels),
        "conv_stride": list(config.conv_strides),
        "num_feat_extract_layers": len(config.conv_dims),
        "hidden_size": config.hidden,
        "intermediate_size": config.mlp,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_conv_pos_embeddings": config.positional_kernel,
        "num_conv_pos_embedding_groups": config.positional_groups,
        "codevector_dim": config.quantized,
        "proj_codevector_dim": config.projected,
        "num_codevector_groups": config.codebooks,
        "num_codevectors_per_group": config.codes,
        "pad_token_id": 0,
    }


def backbone_entries(config: Wav2Vec2Config, prefix: str = "wav2vec2.") -> Iterator[Entry]:
    """Every tensor of Wav2Vec2Model, without adapters."""
    place = Place(prefix, ("backbone",))
    # Absent if the model was never trained with masking.
    yield Entry(f"{prefix}masked_spec_embed", ("backbone", "mask_embedding"), optional=True)
    for number, kernel in enumerate(config.conv_kernels):
        layer = place.inside(f"feature_extractor.conv_layers.{number}.", "extractor", "layers", str(number))
        yield from layer.linear("conv", "conv", layout=convolution(kernel))
        yield from layer.norm("layer_norm", "norm")
    yield from place.norm("feature_projection.layer_norm", "feature_norm")
    yield from place.linear("feature_projection.projection", "projection")
    positions = place.inside("encoder.pos_conv_embed.conv.", "encoder", "positions")
    yield positions.entry("bias", "bias")
    yield positions.entry("parametrizations.weight.original0", "magnitude", layout=TAPS)
    yield positions.entry("parametrizations.weight.original1", "direction", layout=REVERSED)
    yield from place.norm("encoder.layer_norm", "encoder", "norm")
    for number in range(config.layers):
        layer = place.inside(f"encoder.layers.{number}.", "encoder", "layers", index=(number,))
        yield from layer.norm("layer_norm", "attention_norm")
        for theirs, ours in (("q", "query"), ("k", "key"), ("v", "value"), ("out", "out")):
            yield from layer.linear(f"attention.{theirs}_proj", "attention", ours)
        yield from layer.norm("final_layer_norm", "feed_forward_norm")
        yield from layer.linear("feed_forward.intermediate_dense", "feed_forward", "up")
        yield from layer.linear("feed_forward.output_dense", "feed_forward", "down")


def pretraining_entries(config: Wav2Vec2Config) -> Iterator[Entry]:
    """Every tensor of Wav2Vec2ForPreTraining."""
    yield from backbone_entries(config)
    place = Place("", ())
    yield place.entry("quantizer.codevectors", "quantizer", "codebook", layout=_codebook(config))
    yield from place.linear("quantizer.weight_proj", "quantizer", "logits")
    yield from place.linear("project_q", "project_target")
    yield from place.linear("project_hid", "project_context")


def identification_entries(config: Wav2Vec2Config) -> Iterator[Entry]:
    """Every tensor of Wav2Vec2ForSequenceClassification."""
    yield from backbone_entries(config)
    place = Place("", ())
    yield from place.linear("projector", "projection")
    yield from place.linear("classifier", "classifier")


def ctc_entries(config: Wav2Vec2Config) -> Iterator[Entry]:
    """Every tensor of Wav2Vec2ForCTC without adapters."""
    yield from backbone_entries(config)
    yield from Place("", ()).linear("lm_head", "head")


def language_entries(config: Wav2Vec2Config, language: int, vocabulary: int) -> Iterator[Entry]:
    """Every tensor of one language's adapter file: row `language` of the banks, a head of `vocabulary` symbols."""
    for number in range(config.layers):
        prefix = f"wav2vec2.encoder.layers.{number}.adapter_layer."
        place = Place(prefix, ("backbone", "encoder", "layers", "adapters"), (number, language))
        for theirs, ours, layout in (
            ("norm.weight", "scale", SAME), ("norm.bias", "bias", SAME),
            ("linear_1.weight", "down", TRANSPOSED), ("linear_1.bias", "down_bias", SAME),
            ("linear_2.weight", "up", TRANSPOSED), ("linear_2.bias", "up_bias", SAME),
        ):  # fmt: skip
            yield place.entry(theirs, ours, layout=layout)
    symbols = slice(0, vocabulary)
    yield Entry("lm_head.weight", ("heads", "kernel"), (language, slice(None), symbols), TRANSPOSED)
    yield Entry("lm_head.bias", ("heads", "bias"), (language, symbols))


def _codebook(config: Wav2Vec2Config) -> Layout:
    """(1, codebooks * codes, width) in Hugging Face's tensor, (codebooks, codes, width) in ours."""
    return Layout(
        lambda x: x.reshape(config.codebooks, config.codes, -1),
        lambda x: x.reshape(1, config.codebooks * config.codes, -1),
    )
