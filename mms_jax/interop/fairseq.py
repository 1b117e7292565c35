"""fairseq's .pt files of MMS: encoders, recognizers with their table of adapters, identifiers.

Their tensors have the same axes as Hugging Face's under other names, so that renaming suffices.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mms_jax.checkpoint import StoredModel
from mms_jax.errors import ConversionError
from mms_jax.interop import huggingface
from mms_jax.interop.keys import Fields, Tensor
from mms_jax.models.wav2vec2.config import Wav2Vec2Config

# (pattern of fairseq's name, Hugging Face's), tried in order.
_NAMES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"mask_emb", r"wav2vec2.masked_spec_embed"),
        (r"feature_extractor\.conv_layers\.(\d+)\.0\.(.*)", r"wav2vec2.feature_extractor.conv_layers.\1.conv.\2"),
        (
            r"feature_extractor\.conv_layers\.(\d+)\.2\.1\.(.*)",
            r"wav2vec2.feature_extractor.conv_layers.\1.layer_norm.\2",
        ),
        (r"layer_norm\.(.*)", r"wav2vec2.feature_projection.layer_norm.\1"),
        (r"post_extract_proj\.(.*)", r"wav2vec2.feature_projection.projection.\1"),
        (r"encoder\.pos_conv\.0\.weight_g", r"wav2vec2.encoder.pos_conv_embed.conv.parametrizations.weight.original0"),
        (r"encoder\.pos_conv\.0\.weight_v", r"wav2vec2.encoder.pos_conv_embed.conv.parametrizations.weight.original1"),
        (r"encoder\.pos_conv\.0\.bias", r"wav2vec2.encoder.pos_conv_embed.conv.bias"),
        (r"encoder\.layer_norm\.(.*)", r"wav2vec2.encoder.layer_norm.\1"),
        (r"encoder\.layers\.(\d+)\.self_attn\.(.*)", r"wav2vec2.encoder.layers.\1.attention.\2"),
        (r"encoder\.layers\.(\d+)\.self_attn_layer_norm\.(.*)", r"wav2vec2.encoder.layers.\1.layer_norm.\2"),
        (r"encoder\.layers\.(\d+)\.fc1\.(.*)", r"wav2vec2.encoder.layers.\1.feed_forward.intermediate_dense.\2"),
        (r"encoder\.layers\.(\d+)\.fc2\.(.*)", r"wav2vec2.encoder.layers.\1.feed_forward.output_dense.\2"),
        (r"encoder\.layers\.(\d+)\.final_layer_norm\.(.*)", r"wav2vec2.encoder.layers.\1.final_layer_norm.\2"),
        (r"encoder\.layers\.(\d+)\.adapter_layer\.ln_W", r"wav2vec2.encoder.layers.\1.adapter_layer.norm.weight"),
        (r"encoder\.layers\.(\d+)\.adapter_layer\.ln_b", r"wav2vec2.encoder.layers.\1.adapter_layer.norm.bias"),
        (r"encoder\.layers\.(\d+)\.adapter_layer\.W_a", r"wav2vec2.encoder.layers.\1.adapter_layer.linear_1.weight"),
        (r"encoder\.layers\.(\d+)\.adapter_layer\.b_a", r"wav2vec2.encoder.layers.\1.adapter_layer.linear_1.bias"),
        (r"encoder\.layers\.(\d+)\.adapter_layer\.W_b", r"wav2vec2.encoder.layers.\1.adapter_layer.linear_2.weight"),
        (r"encoder\.layers\.(\d+)\.adapter_layer\.b_b", r"wav2vec2.encoder.layers.\1.adapter_layer.linear_2.bias"),
        (r"quantizer\.vars", r"quantizer.codevectors"),
        (r"quantizer\.weight_proj\.(.*)", r"quantizer.weight_proj.\1"),
        (r"project_q\.(.*)", r"project_q.\1"),
        (r"final_proj\.(.*)", r"project_hid.\1"),
        (r"proj\.(.*)", r"lm_head.\1"),
        (r"pooling_layer\.linear\.(.*)", r"projector.\1"),
        (r"pooling_layer\.projection\.(.*)", r"classifier.\1"),
    )
)
_PREFIXES = ("w2v_encoder.w2v_model.", "w2v_encoder.")


def load_stored(
    stored: Mapping[str, Any], source: str, languages: Sequence[str] | None = None, *, skip_unknown: bool = False
) -> StoredModel:
    """Builds the model from a .pt file's contents.

    Args:
      stored: contents of base_300m.pt, mms1b_all.pt, mms1b_l126.pt, ...
      source: named in messages.
      languages: languages to load for a recognizer with adapters; None for all in the file.
      skip_unknown: see `mms_jax.inference.find.find_model`.

    Returns:
      As `huggingface.load_folder`; the identifier's activation is the one that the file names.

    Raises:
      ConversionError: tensors do not fit.
      LanguageError: a language is unknown.
    """
    try:
        model = _plain(stored["cfg"])["model"]
        config = geometry(_plain(model["w2v_args"])["model"] if "w2v_args" in model else model, source)
        tensors = renamed(stored["model"])
    except (KeyError, TypeError) as error:
        raise ConversionError(f"{source}: is no wav2vec 2.0 checkpoint of fairseq ({error} is not in it)") from error
    stored = Fields(source, stored)
    if stored.get("adapter"):
        table = stored["adapter"]
        wanted = huggingface.wanted_languages(languages, sorted(table), skip_unknown=skip_unknown)
        if skip_unknown and not wanted:
            return huggingface.encoder_or_pretrained(config, huggingface.without_language(config, tensors), source)
        adapters = {language: renamed(table[language]["model"]) for language in wanted}
        vocabularies = {language: _symbols(table[language]["task_state"], source) for language in wanted}
        return huggingface.recognizer_with_adapters(config, tensors, adapters, vocabularies, source)
    if "lm_head.weight" in tensors:
        return huggingface.plain_recognizer(config, tensors, _symbols(stored["task_state"], source), source)
    if "classifier.weight" in tensors:
        labels = _symbols(stored["task_state"], source)
        return huggingface.identifier(config, tensors, labels, source, activation=model.get("activation_fn", "gelu"))
    return huggingface.encoder_or_pretrained(config, tensors, source)


def geometry(model: Mapping[str, Any], source: str) -> Wav2Vec2Config:
    """The geometry of `cfg.model`; `source` is named in messages.

    Raises:
      ConversionError: a variant that MMS does not use.
    """
    for name, needed in (("extractor_mode", "layer_norm"), ("layer_norm_first", True), ("conv_bias", True)):
        if model.get(name) != needed:
            raise ConversionError(
                f"{source}: cfg.model has {name}={model.get(name)!r}; only models with {needed!r} are supported"
            )
    convolutions = list(_convolutions(model["conv_feature_layers"], source))
    quantized = model.get("latent_dim") or model["final_dim"]
    return Wav2Vec2Config(
        conv_dims=tuple(dim for dim, _, _ in convolutions),
        conv_kernels=tuple(kernel for _, kernel, _ in convolutions),
        conv_strides=tuple(stride for _, _, stride in convolutions),
        hidden=model["encoder_embed_dim"],
        mlp=model["encoder_ffn_embed_dim"],
        layers=model["encoder_layers"],
        heads=model["encoder_attention_heads"],
        positional_kernel=model["conv_pos"],
        positional_groups=model["conv_pos_groups"],
        quantized=quantized,
        projected=model["final_dim"],
        codebooks=model["latent_groups"],
        codes=model["latent_vars"],
    )


def _convolutions(text: str, source: str) -> Iterator[tuple[int, int, int]]:
    """ "[(512, 10, 5)] + [(512, 3, 2)] * 4" as a list of triples; parsed, never evaluated."""
    for part in text.split("+"):
        found = re.fullmatch(r"\s*\[((?:\s*\(\d+,\s*\d+,\s*\d+\)\s*,?)+)\]\s*(?:\*\s*(\d+))?\s*", part)
        if not found:
            raise ConversionError(f"{source}: cfg.model.conv_feature_layers={text!r} cannot be read")
        triples = re.findall(r"\((\d+),\s*(\d+),\s*(\d+)\)", found.group(1))
        for dim, kernel, stride in triples * int(found.group(2) or 1):
            yield int(dim), int(kernel), int(stride)


def renamed(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """A state dict by Hugging Face's names; a leading axis of length 1 is removed from adapter tensors."""
    return {
        _respelled(name): _squeezed(value) if ".adapter_layer." in name else value
        for name, value in state.items()
        if isinstance(value, Tensor)
    }


def _respelled(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    for pattern, replacement in _NAMES:
        if pattern.fullmatch(name):
            return pattern.sub(replacement, name)
    return name


def _squeezed(value: Tensor) -> Tensor:
    return Tensor(value.shape[1:], lambda: value.read()[0]) if value.shape[0] == 1 else value


def _symbols(task_state: Mapping[str, Any], source: str) -> tuple[str, ...]:
    """The symbols of the stored dictionary."""
    try:
        return tuple(task_state["target_dictionary"].symbols)
    except (KeyError, AttributeError) as error:
        raise ConversionError(f"{source}: holds no target dictionary") from error


def _plain(value: Any) -> Any:
    """The settings that fairseq stores as a namespace, as a mapping."""
    return vars(value) if hasattr(value, "__dict__") and not isinstance(value, dict) else value
