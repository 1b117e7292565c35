"""Reads and writes Hugging Face's wav2vec 2.0 folders: configuration, vocabularies and tensors.

A folder holds config.json, model.safetensors (or pytorch_model.bin, or shards of either with an index), and for
recognizers vocab.json and adapter.{language}.safetensors.
"""

import dataclasses
import json
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
from flax import nnx

from mms_jax.checkpoint import StoredModel
from mms_jax.errors import ConversionError
from mms_jax.files import read_json
from mms_jax.interop.keys import (
    REVERSED,
    SAME,
    TAPS,
    TRANSPOSED,
    Entry,
    Fields,
    Layout,
    Place,
    Tensor,
    convolution,
    fill,
    spread,
)
from mms_jax.interop.safetensors_files import read_safetensors, save_safetensors
from mms_jax.interop.torch_files import read_torch
from mms_jax.models.description import ENCODER, IDENTIFIER, RECOGNIZER, Description, origin_of
from mms_jax.models.functional import FunctionalModel, Params
from mms_jax.models.wav2vec2.banks import ADAPTERS, HEADS, adapters_of, identity_adapters
from mms_jax.models.wav2vec2.config import Wav2Vec2Config
from mms_jax.models.wav2vec2.heads import Wav2Vec2ForCTC, Wav2Vec2ForIdentification, Wav2Vec2ForPretraining
from mms_jax.models.wav2vec2.model import Wav2Vec2
from mms_jax.text.languages import ANY_LANGUAGE, find_language
from mms_jax.text.vocabulary import WORD_TOKEN, AnyVocabulary, Vocabulary, VocabularyBank, vocabulary_from_json

ENGLISH = "eng"
_EPSILON = 1e-7  # of the feature extractor
_DOWN = "adapter_layer.linear_1.weight"
# The names that old and new versions of PyTorch give to the same tensors.
_SPELLINGS = {".weight_g": ".parametrizations.weight.original0", ".weight_v": ".parametrizations.weight.original1"}
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
        waveform_epsilon=_EPSILON,
    )


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


def read_tensors(path: pathlib.Path) -> dict[str, Tensor]:
    """The tensors of one .safetensors or .bin file, by the newer of two spellings; nothing is read yet."""
    if path.suffix == ".safetensors":
        tensors = read_safetensors(path)
    else:
        tensors = {name: value for name, value in read_torch(path).items() if isinstance(value, Tensor)}
    return {respelled(name): tensor for name, tensor in tensors.items()}


def respelled(name: str) -> str:
    """A tensor's name in the newer of PyTorch's two spellings of weight norm."""
    for old, new in _SPELLINGS.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name


def weight_files(folder: pathlib.Path) -> list[pathlib.Path]:
    """The files of the main weights: one, or the shards that an index names.

    Raises:
      ConversionError: there are none, or a shard is missing.
    """
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).exists():
            return [folder / name]
        index = folder / f"{name}.index.json"
        if index.exists():
            shards = sorted(set(read_json(index, ConversionError)["weight_map"].values()))
            missing = [shard for shard in shards if not (folder / shard).exists()]
            if missing:
                raise ConversionError(
                    f"{folder}: {', '.join(missing)} is missing, which {index.name} names; download it again"
                )
            return [folder / shard for shard in shards]
    raise ConversionError(f"{folder}: holds neither model.safetensors nor pytorch_model.bin")


def read_weights(folder: pathlib.Path) -> dict[str, Tensor]:
    """The tensors of a folder's main weights, from one file or from shards; nothing is read yet."""
    return {name: tensor for path in weight_files(folder) for name, tensor in read_tensors(path).items()}


def read_vocabularies(path: pathlib.Path) -> dict[str, tuple[str, ...]]:
    """The symbols of each language by number, from a vocab.json: nested by language, or one for all under "".

    Raises:
      ConversionError: numbers that are not 0, 1, 2, ...
    """
    fields = read_json(path, ConversionError)
    nested = fields if all(isinstance(value, dict) for value in fields.values()) else {"": fields}
    vocabularies = {}
    for language, numbers in nested.items():
        tokens = sorted(numbers, key=lambda token: numbers[token])
        if [numbers[token] for token in tokens] != list(range(len(tokens))):
            raise ConversionError(f"{path}: the symbols of {language or 'the model'} are not numbered 0, 1, 2, ...")
        vocabularies[language] = tuple(tokens)
    return vocabularies


def adapter_files(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """The adapter file of each language that the folder holds; safetensors before .bin."""
    found = {}
    for suffix in ("bin", "safetensors"):
        for path in folder.glob(f"adapter.*.{suffix}"):
            found[re.fullmatch(rf"adapter\.(.+)\.{suffix}", path.name).group(1)] = path  # type: ignore[union-attr]
    return found


def is_folder(path: pathlib.Path) -> bool:
    """Whether Hugging Face wrote this folder."""
    config = path / "config.json"
    return config.is_file() and "model_type" in read_json(config, ConversionError)


def load_folder(
    folder: pathlib.Path, languages: Sequence[str] | None = None, *, skip_unknown: bool = False
) -> StoredModel:
    """Loads a folder that Hugging Face's `save_pretrained` wrote.

    Args:
      folder: the folder, with config.json and weights.
      languages: languages to load for a recognizer with adapters; None for all that have an adapter file.
      skip_unknown: see `mms_jax.inference.find.find_model`.

    Returns:
      The description and float32 NumPy parameters.

    Raises:
      ConversionError: another kind of model, or tensors that do not fit; the message lists them.
      LanguageError: a language without adapter or vocabulary.
    """
    fields = read_json(folder / "config.json", ConversionError)
    stored = _load_folder(folder, fields, languages, skip_unknown=skip_unknown)
    description = cast(Description, {**stored.description, **origin_of(fields.get("mms_jax", {}))})
    return dataclasses.replace(stored, description=description)


def _load_folder(
    folder: pathlib.Path, content: Mapping[str, Any], languages: Sequence[str] | None, *, skip_unknown: bool
) -> StoredModel:
    source = str(folder)
    fields = Fields(f"{source}: config.json", content)
    config = dataclasses.replace(model_config(fields, source), waveform_epsilon=_waveform_epsilon(folder))
    tensors = read_weights(folder)
    if "lm_head.weight" in tensors and fields.get("adapter_attn_dim"):
        files, vocabularies = adapter_files(folder), read_vocabularies(folder / "vocab.json")
        known = sorted(set(files) & set(vocabularies))
        wanted = wanted_languages(languages, known, skip_unknown=skip_unknown)
        if skip_unknown and not wanted:
            return encoder_or_pretrained(config, without_language(config, tensors), source)
        adapters = {language: read_tensors(files[language]) for language in wanted}
        return recognizer_with_adapters(config, tensors, adapters, vocabularies, source)
    if "lm_head.weight" in tensors:
        [tokens] = read_vocabularies(folder / "vocab.json").values()
        return plain_recognizer(config, tensors, tokens, source)
    if "classifier.weight" in tensors:
        labels = [label for _, label in sorted(fields["id2label"].items(), key=lambda item: int(item[0]))]
        return identifier(config, tensors, labels, source, activation="linear")
    return encoder_or_pretrained(config, tensors, source)


def wanted_languages(languages: Sequence[str] | None, known: Sequence[str], *, skip_unknown: bool) -> list[str]:
    """The languages to load for a recognizer with adapters.

    Args:
      languages: the requested languages; None for all known ones.
      known: languages of the recognizer.
      skip_unknown: whether to skip unknown languages. If none is left, one known language replaces them, whose head
        still shares symbols with the others.

    Raises:
      LanguageError: a language is unknown, and unknown ones are not skipped.
    """
    if languages is None:
        return list(known)
    if skip_unknown:
        found = [language for language in languages if language in known]
        return found or ([ENGLISH] if ENGLISH in known else list(known[:1]))[: len(languages)]
    for language in languages:
        find_language(language, known)
    return list(languages)


def without_language(config: Wav2Vec2Config, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a recognizer without those of the one language in its main file."""
    own = {entry.key for entry in language_entries(config, 0, 1)}
    return {name: tensor for name, tensor in tensors.items() if name not in own}


def _waveform_epsilon(folder: pathlib.Path) -> float | None:
    """The epsilon of the feature extractor's normalization; None where it does not normalize."""
    extractor = folder / "preprocessor_config.json"
    normalizes = not extractor.exists() or read_json(extractor, ConversionError).get("do_normalize", True)
    return _EPSILON if normalizes else None


def plain_recognizer(
    config: Wav2Vec2Config, tensors: Mapping[str, Tensor], tokens: Sequence[str], source: str
) -> StoredModel:
    """Wav2Vec2ForCTC with one head for all languages."""
    shapes = shapes_of(lambda rngs: Wav2Vec2ForCTC(config, len(tokens), rngs=rngs))
    params = fill(shapes, ctc_entries(config), tensors, source)
    vocabulary = VocabularyBank({ANY_LANGUAGE: tuple(tokens)})
    return StoredModel(0, {"kind": RECOGNIZER, "model": config.to_json(), "vocabulary": vocabulary.to_json()}, params)


def recognizer_with_adapters(
    config: Wav2Vec2Config,
    tensors: Mapping[str, Tensor],
    adapters: Mapping[str, Mapping[str, Tensor]],
    vocabularies: Mapping[str, Sequence[str]],
    source: str,
) -> StoredModel:
    """Wav2Vec2ForCTC with an adapter and a head for each language.

    Args:
      config: the geometry, without adapters.
      tensors: the main weights. The adapter among them is not needed, since every language has its own.
      adapters: tensors by language.
      vocabularies: symbols by language.
      source: named in messages.
    """
    if not adapters:
        raise ConversionError(f"{source}: holds no language adapter")
    width = max(tensor.shape[0] for name, tensor in next(iter(adapters.values())).items() if name.endswith(_DOWN))
    config = dataclasses.replace(config, adapter_width=width, adapter_languages=len(adapters))
    vocabulary = VocabularyBank({language: tuple(vocabularies[language]) for language in adapters})
    entries = list(backbone_entries(config))
    there = without_language(config, tensors)
    for number, (language, own) in enumerate(adapters.items()):
        there |= {f"{language}: {name}": tensor for name, tensor in own.items()}
        entries += [
            dataclasses.replace(entry, key=f"{language}: {entry.key}")
            for entry in language_entries(config, number, len(vocabularies[language]))
        ]
    params = fill(shapes_of(lambda rngs: Wav2Vec2ForCTC(config, len(vocabulary), rngs=rngs)), entries, there, source)
    return StoredModel(0, {"kind": RECOGNIZER, "model": config.to_json(), "vocabulary": vocabulary.to_json()}, params)


def identifier(
    config: Wav2Vec2Config, tensors: Mapping[str, Tensor], labels: Sequence[str], source: str, *, activation: str
) -> StoredModel:
    """Wav2Vec2ForSequenceClassification; `activation` is applied between the mean over frames and the classifier."""
    latent = tensors["projector.weight"].shape[0]
    shapes = shapes_of(
        lambda rngs: Wav2Vec2ForIdentification(config, latent, len(labels), activation=activation, rngs=rngs)
    )
    description: Description = {
        "kind": IDENTIFIER,
        "model": config.to_json(),
        "languages": list(labels),
        "latent": latent,
        "activation": activation,
    }
    return StoredModel(0, description, fill(shapes, identification_entries(config), tensors, source))


def encoder_or_pretrained(config: Wav2Vec2Config, tensors: Mapping[str, Tensor], source: str) -> StoredModel:
    """Wav2Vec2ForPreTraining, or Wav2Vec2Model where there is no quantizer."""
    if "project_q.weight" in tensors:
        shapes = shapes_of(lambda rngs: Wav2Vec2ForPretraining(config, rngs=rngs))
        params = fill(shapes, pretraining_entries(config), tensors, source)
        return StoredModel(0, {"kind": ENCODER, "model": config.to_json()}, params)
    prefix = "wav2vec2." if any(name.startswith("wav2vec2.") for name in tensors) else ""
    shapes = {"backbone": shapes_of(lambda rngs: Wav2Vec2(config, rngs=rngs))}
    params = fill(shapes, backbone_entries(config, prefix), tensors, source)
    return StoredModel(0, {"kind": ENCODER, "model": config.to_json()}, params)


def make_folder(folder: pathlib.Path) -> None:
    """Makes a folder for a model. Raises ConversionError if it already holds one."""
    if (folder / "config.json").exists():
        raise ConversionError(f"{folder} holds a config.json already; choose a new folder")
    folder.mkdir(parents=True, exist_ok=True)


def shapes_of(build: Callable[[nnx.Rngs], nnx.Module]) -> Params:
    """The shapes of a module's parameters, which are not allocated."""
    return FunctionalModel.abstract(lambda key: build(nnx.Rngs(params=key))).shapes()


def save_folder(stored: StoredModel, folder: pathlib.Path) -> None:
    """Writes a folder that transformers loads: configuration, weights, vocabulary, and an adapter file per language.

    Args:
      stored: a model of any kind with a wav2vec 2.0 backbone. A recognizer with one head for several languages gets a
        head for each, since transformers cannot restrict the symbols of a shared one; its adapters have no effect.
      folder: created if it does not exist; must not hold a model.

    Raises:
      ConversionError: the folder already holds one.
    """
    stored = with_banks(stored)
    description, params = stored.description, stored.params
    if description["kind"] not in (RECOGNIZER, IDENTIFIER, ENCODER):
        raise ConversionError(f"transformers has no model of kind {description['kind']!r}")
    if description.get("activation", "linear") != "linear":
        raise ConversionError(
            f"transformers has no activation before the classifier, this model has {description['activation']}"
        )
    make_folder(folder)
    config = Wav2Vec2Config.from_json(description["model"])
    fields = config_fields(config)
    if origin := origin_of(description):
        fields["mms_jax"] = origin
    match description["kind"]:
        case "recognizer":
            fields |= _save_recognizer(config, vocabulary_from_json(description["vocabulary"]), params, folder)
        case "identifier":
            labels = dict(enumerate(description["languages"]))
            fields |= {
                "architectures": ["Wav2Vec2ForSequenceClassification"],
                "classifier_proj_size": description["latent"],
                "id2label": labels,
                "label2id": {label: number for number, label in labels.items()},
            }
            save_safetensors(folder / "model.safetensors", spread(params, identification_entries(config)))
        case "encoder" if "quantizer" in params:
            fields |= {"architectures": ["Wav2Vec2ForPreTraining"]}
            save_safetensors(folder / "model.safetensors", spread(params, pretraining_entries(config)))
        case "encoder":
            fields |= {"architectures": ["Wav2Vec2Model"]}
            save_safetensors(folder / "model.safetensors", spread(params, backbone_entries(config, "")))
    save_json(folder / "config.json", fields)
    extractor = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "feature_size": 1, "sampling_rate": 16_000,
                 "padding_value": 0.0, "do_normalize": config.waveform_epsilon is not None,
                 "return_attention_mask": True}  # fmt: skip
    save_json(folder / "preprocessor_config.json", extractor)


def with_banks(stored: StoredModel) -> StoredModel:
    """A recognizer with one head for several languages as one with a head for each; other models stay as they are.

    The head of a language holds the columns of its symbols. Where the model has no adapters, they have width 1 and change
    nothing.
    """
    if stored.description.get("kind", RECOGNIZER) != RECOGNIZER or "tables" in stored.description["vocabulary"]:
        return stored
    shared = Vocabulary.from_json(stored.description["vocabulary"])
    columns = [np.flatnonzero(row) for row in shared.allowed]
    bank = VocabularyBank(
        {name: tuple(shared.tokens[number] for number in own) for name, own in zip(shared.languages, columns)}
    )
    config = Wav2Vec2Config.from_json(stored.description["model"])
    width = config.adapter_width or 1
    config = dataclasses.replace(config, adapter_width=width, adapter_languages=len(columns), shared_head=False)
    kernel, bias = (np.asarray(stored.params["head"][name]) for name in ("kernel", "bias"))
    heads = {
        "kernel": np.zeros((len(columns), config.hidden, len(bank)), np.float32),
        "bias": np.zeros((len(columns), len(bank)), np.float32),
    }
    for language, own in enumerate(columns):
        heads["kernel"][language, :, : len(own)] = kernel[:, own]
        heads["bias"][language, : len(own)] = bias[own]
    adapters = adapters_of(stored.params) or identity_adapters(config.layers, len(columns), config.hidden, width)
    backbone = stored.params["backbone"]
    layers = {**backbone["encoder"]["layers"], ADAPTERS: adapters}
    params = {"backbone": {**backbone, "encoder": {**backbone["encoder"], "layers": layers}}, HEADS: heads}
    changes = {"model": config.to_json(), "vocabulary": bank.to_json()}
    return dataclasses.replace(stored, description=cast(Description, {**stored.description, **changes}), params=params)


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


def _save_recognizer(
    config: Wav2Vec2Config, vocabulary: AnyVocabulary, params: Params, folder: pathlib.Path
) -> dict[str, Any]:
    """Weights and vocabularies of a recognizer; returns their fields of config.json."""
    fields: dict[str, Any] = {"architectures": ["Wav2Vec2ForCTC"]}
    # transformers uses this language before one is chosen: English, where the model has it.
    first = ENGLISH if ENGLISH in vocabulary.languages else vocabulary.languages[0]
    tokens = vocabulary.tokens_of(first)
    if config.adapter_languages:
        tensors = spread(params, backbone_entries(config))
        for number, language in enumerate(vocabulary.languages):
            own = vocabulary.tokens_of(language)
            adapter = spread(params, language_entries(config, number, len(own)))
            save_safetensors(folder / f"adapter.{language}.safetensors", adapter)
            if language == first:
                tensors |= adapter
        save_json(folder / "vocab.json", _numbered(vocabulary))
        fields["adapter_attn_dim"] = config.adapter_width
    else:
        tensors = spread(params, ctc_entries(config))
        save_json(folder / "vocab.json", {token: number for number, token in enumerate(tokens)})
    save_safetensors(folder / "model.safetensors", tensors)
    tokenizer = {"tokenizer_class": "Wav2Vec2CTCTokenizer", "processor_class": "Wav2Vec2Processor",
                 "word_delimiter_token": WORD_TOKEN, "pad_token": tokens[0],
                 "unk_token": "<unk>" if "<unk>" in tokens else tokens[0],
                 "bos_token": "<s>" if "<s>" in tokens else None, "eos_token": "</s>" if "</s>" in tokens else None,
                 "do_lower_case": False}  # fmt: skip
    if config.adapter_languages:
        tokenizer["target_lang"] = first
    save_json(folder / "tokenizer_config.json", tokenizer)
    return fields | {"vocab_size": len(tokens)}


def save_language(stored: StoredModel, language: str, folder: pathlib.Path, others: Mapping[str, Any]) -> None:
    """Writes adapter.LANGUAGE.safetensors, and vocab.json with the symbols of all languages.

    In the folder of a model with the same backbone, transformers loads them with `load_adapter`.

    Args:
      stored: a recognizer with adapters.
      language: one of its languages.
      folder: made if it does not exist.
      others: symbols with their numbers, by language, of languages that are not in `stored`, but in vocab.json.
    """
    config = Wav2Vec2Config.from_json(stored.description["model"])
    vocabulary = vocabulary_from_json(stored.description["vocabulary"])
    folder.mkdir(parents=True, exist_ok=True)
    entries = language_entries(config, vocabulary.languages.index(language), len(vocabulary.tokens_of(language)))
    save_safetensors(folder / f"adapter.{language}.safetensors", spread(stored.params, entries))
    save_json(folder / "vocab.json", {**others, **_numbered(vocabulary)})


def languages_of_folder(folder: pathlib.Path) -> dict[str, dict[str, int]]:
    """The symbols of each language of a recognizer with adapters, whichever adapters are there; {} for other models."""
    if not (folder / "vocab.json").is_file() or not read_json(folder / "config.json", ConversionError).get(
        "adapter_attn_dim"
    ):
        return {}
    tables = read_vocabularies(folder / "vocab.json")
    return {language: {token: number for number, token in enumerate(tokens)} for language, tokens in tables.items()}


def _numbered(vocabulary: AnyVocabulary) -> dict[str, dict[str, int]]:
    """The symbols of each language with their numbers."""
    return {
        language: {token: number for number, token in enumerate(vocabulary.tokens_of(language))}
        for language in vocabulary.languages
    }


def save_json(path: pathlib.Path, fields: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(fields, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
