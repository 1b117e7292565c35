"""Hugging Face's wav2vec 2.0 folders: configuration, vocabularies and tensors, both ways.

A folder holds config.json, model.safetensors (or pytorch_model.bin, or shards of either with an index), and for
recognisers vocab.json and adapter.{language}.safetensors.
"""

import dataclasses
import json
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from flax import nnx

from mms_jax.checkpoint import StoredModel
from mms_jax.interop.keys import (
    REVERSED,
    SAME,
    TAPS,
    TRANSPOSED,
    ConversionError,
    Entry,
    Layout,
    Place,
    Tensor,
    convolution,
    fill,
    spread,
)
from mms_jax.interop.safetensors_files import read_safetensors, save_safetensors
from mms_jax.interop.torch_files import read_torch
from mms_jax.models.functional import FunctionalModel, Params
from mms_jax.models.wav2vec2.config import Wav2Vec2Config
from mms_jax.models.wav2vec2.heads import Wav2Vec2ForCTC, Wav2Vec2ForIdentification, Wav2Vec2ForPretraining
from mms_jax.models.wav2vec2.model import Wav2Vec2
from mms_jax.text.languages import ANY_LANGUAGE, find_language
from mms_jax.text.vocabulary import WORD_TOKEN, AnyVocabulary, VocabularyBank, vocabulary_from_json

ENGLISH = "eng"
_EPSILON = 1e-7  # of the feature extractor
_DOWN = "adapter_layer.linear_1.weight"
# Written by old and new versions of PyTorch for the same thing.
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
            raise ConversionError(f"{source}: config.json has {name}={value!r}; only models with {needed!r} run here")
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
    # Not written where the model was never trained with masks.
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
    """(1, codebooks * codes, width) there, (codebooks, codes, width) here."""
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
    """The newer of PyTorch's two spellings of weight norm."""
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
            shards = sorted(set(json.loads(index.read_text())["weight_map"].values()))
            missing = [shard for shard in shards if not (folder / shard).exists()]
            if missing:
                raise ConversionError(
                    f"{folder}: {', '.join(missing)} is missing, which {index.name} names; download it again"
                )
            return [folder / shard for shard in shards]
    raise ConversionError(f"{folder}: holds neither model.safetensors nor pytorch_model.bin")


def read_weights(folder: pathlib.Path) -> dict[str, Tensor]:
    """The tensors of a folder's main weights, whatever files they lie in; nothing is read yet."""
    return {name: tensor for path in weight_files(folder) for name, tensor in read_tensors(path).items()}


def read_vocabularies(path: pathlib.Path) -> dict[str, tuple[str, ...]]:
    """The symbols of each language by number, from a vocab.json: nested by language, or one for all under "".

    Raises:
      ConversionError: numbers that are not 0, 1, 2, ...
    """
    fields = json.loads(path.read_text())
    nested = fields if all(isinstance(value, dict) for value in fields.values()) else {"": fields}
    vocabularies = {}
    for language, numbers in nested.items():
        tokens = sorted(numbers, key=numbers.get)
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
    return config.is_file() and "model_type" in json.loads(config.read_text())


def load_folder(folder: pathlib.Path, languages: Sequence[str] | None = None) -> StoredModel:
    """Loads a folder that Hugging Face's `save_pretrained` wrote.

    Args:
      folder: with config.json and weights.
      languages: of a recogniser with adapters, those to hold; None for all whose adapter file is there.

    Returns:
      The description and float32 NumPy parameters. Tasks: "asr", "lid", "pretrain", and "encoder" for a bare encoder.

    Raises:
      ConversionError: another kind of model, or tensors that do not fit; the message lists them.
      ValueError: a language without adapter or vocabulary.
    """
    fields = json.loads((folder / "config.json").read_text())
    source = str(folder)
    config = dataclasses.replace(model_config(fields, source), waveform_epsilon=_waveform_epsilon(folder))
    tensors = read_weights(folder)
    if "lm_head.weight" in tensors and fields.get("adapter_attn_dim"):
        files, vocabularies = adapter_files(folder), read_vocabularies(folder / "vocab.json")
        known = sorted(set(files) & set(vocabularies))
        wanted = known if languages is None else list(languages)
        for language in wanted:
            find_language(language, known)
        adapters = {language: read_tensors(files[language]) for language in wanted}
        return recogniser_with_adapters(config, tensors, adapters, vocabularies, source)
    if "lm_head.weight" in tensors:
        [tokens] = read_vocabularies(folder / "vocab.json").values()
        return plain_recogniser(config, tensors, tokens, source)
    if "classifier.weight" in tensors:
        labels = [label for _, label in sorted(fields["id2label"].items(), key=lambda item: int(item[0]))]
        return identifier(config, tensors, labels, source, activation="linear")
    return encoder_or_pretrained(config, tensors, source)


def _waveform_epsilon(folder: pathlib.Path) -> float | None:
    """What the feature extractor adds to the variance; None where it leaves waveforms as they are."""
    extractor = folder / "preprocessor_config.json"
    normalizes = not extractor.exists() or json.loads(extractor.read_text()).get("do_normalize", True)
    return _EPSILON if normalizes else None


def plain_recogniser(
    config: Wav2Vec2Config, tensors: Mapping[str, Tensor], tokens: Sequence[str], source: str
) -> StoredModel:
    """Wav2Vec2ForCTC with one head for all languages."""
    shapes = shapes_of(lambda rngs: Wav2Vec2ForCTC(config, len(tokens), rngs=rngs))
    params = fill(shapes, ctc_entries(config), tensors, source)
    vocabulary = VocabularyBank({ANY_LANGUAGE: tuple(tokens)})
    return StoredModel(0, {"task": "asr", "model": config.to_json(), "vocabulary": vocabulary.to_json()}, params)


def recogniser_with_adapters(
    config: Wav2Vec2Config,
    tensors: Mapping[str, Tensor],
    adapters: Mapping[str, Mapping[str, Tensor]],
    vocabularies: Mapping[str, Sequence[str]],
    source: str,
) -> StoredModel:
    """Wav2Vec2ForCTC with an adapter and a head for each language.

    Args:
      config: the geometry, without adapters.
      tensors: the main weights. The adapter among them is not needed: every language brings its own.
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
    unneeded = [entry.key for entry in language_entries(config, 0, 1)]
    there = {name: tensor for name, tensor in tensors.items() if name not in unneeded}
    for number, (language, own) in enumerate(adapters.items()):
        there |= {f"{language}: {name}": tensor for name, tensor in own.items()}
        entries += [
            dataclasses.replace(entry, key=f"{language}: {entry.key}")
            for entry in language_entries(config, number, len(vocabularies[language]))
        ]
    params = fill(shapes_of(lambda rngs: Wav2Vec2ForCTC(config, len(vocabulary), rngs=rngs)), entries, there, source)
    return StoredModel(0, {"task": "asr", "model": config.to_json(), "vocabulary": vocabulary.to_json()}, params)


def identifier(
    config: Wav2Vec2Config, tensors: Mapping[str, Tensor], labels: Sequence[str], source: str, *, activation: str
) -> StoredModel:
    """Wav2Vec2ForSequenceClassification; `activation` stands between the mean over frames and the classifier."""
    latent = tensors["projector.weight"].shape[0]
    shapes = shapes_of(
        lambda rngs: Wav2Vec2ForIdentification(config, latent, len(labels), activation=activation, rngs=rngs)
    )
    description = {"task": "lid", "languages": list(labels), "latent": latent, "activation": activation}
    params = fill(shapes, identification_entries(config), tensors, source)
    return StoredModel(0, description | {"model": config.to_json()}, params)


def encoder_or_pretrained(config: Wav2Vec2Config, tensors: Mapping[str, Tensor], source: str) -> StoredModel:
    """Wav2Vec2ForPreTraining, or Wav2Vec2Model where there is no quantiser."""
    if "project_q.weight" in tensors:
        shapes = shapes_of(lambda rngs: Wav2Vec2ForPretraining(config, rngs=rngs))
        params = fill(shapes, pretraining_entries(config), tensors, source)
        return StoredModel(0, {"task": "pretrain", "model": config.to_json()}, params)
    prefix = "wav2vec2." if any(name.startswith("wav2vec2.") for name in tensors) else ""
    shapes = {"backbone": shapes_of(lambda rngs: Wav2Vec2(config, rngs=rngs))}
    params = fill(shapes, backbone_entries(config, prefix), tensors, source)
    return StoredModel(0, {"task": "encoder", "model": config.to_json()}, params)


def make_folder(folder: pathlib.Path) -> None:
    """Makes a folder for a model. Raises ConversionError where one is there already."""
    if (folder / "config.json").exists():
        raise ConversionError(f"{folder} holds a config.json already; choose a new folder")
    folder.mkdir(parents=True, exist_ok=True)


def shapes_of(build: Callable[[nnx.Rngs], nnx.Module]) -> Params:
    """The parameters of a module, without making them."""
    return FunctionalModel.abstract(lambda key: build(nnx.Rngs(params=key))).shapes()


def save_folder(stored: StoredModel, folder: pathlib.Path) -> None:
    """Writes a folder that transformers loads: configuration, weights, vocabulary, and an adapter file a language.

    Args:
      stored: a model of any task.
      folder: made; must not hold a model yet.

    Raises:
      ConversionError: the folder holds one already.
    """
    make_folder(folder)
    description, params = stored.description, stored.params
    config = Wav2Vec2Config.from_json(description["model"])
    fields = config_fields(config)
    match description["task"]:
        case "asr":
            fields |= _save_recogniser(config, vocabulary_from_json(description["vocabulary"]), params, folder)
        case "lid":
            if description["activation"] != "linear":
                raise ConversionError(
                    f"transformers has no activation before the classifier, this model has {description['activation']}"
                )
            labels = dict(enumerate(description["languages"]))
            fields |= {
                "architectures": ["Wav2Vec2ForSequenceClassification"],
                "classifier_proj_size": description["latent"],
                "id2label": labels,
                "label2id": {label: number for number, label in labels.items()},
            }
            save_safetensors(folder / "model.safetensors", spread(params, identification_entries(config)))
        case "pretrain":
            fields |= {"architectures": ["Wav2Vec2ForPreTraining"]}
            save_safetensors(folder / "model.safetensors", spread(params, pretraining_entries(config)))
        case _:
            fields |= {"architectures": ["Wav2Vec2Model"]}
            save_safetensors(folder / "model.safetensors", spread(params, backbone_entries(config, "")))
    save_json(folder / "config.json", fields)
    extractor = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "feature_size": 1, "sampling_rate": 16_000,
                 "padding_value": 0.0, "do_normalize": config.waveform_epsilon is not None,
                 "return_attention_mask": True}  # fmt: skip
    save_json(folder / "preprocessor_config.json", extractor)


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


def _save_recogniser(
    config: Wav2Vec2Config, vocabulary: AnyVocabulary, params: Params, folder: pathlib.Path
) -> dict[str, Any]:
    """Weights and vocabularies of a recogniser; returns what config.json says of them."""
    fields: dict[str, Any] = {"architectures": ["Wav2Vec2ForCTC"]}
    # English, where it is there, is what transformers speaks before a language is chosen.
    first = ENGLISH if ENGLISH in vocabulary.languages else vocabulary.languages[0]
    tokens = vocabulary.tokens_of(first)
    if config.adapter_languages:
        tensors = spread(params, backbone_entries(config))
        numbers = {}
        for number, language in enumerate(vocabulary.languages):
            own = vocabulary.tokens_of(language)
            adapter = spread(params, language_entries(config, number, len(own)))
            save_safetensors(folder / f"adapter.{language}.safetensors", adapter)
            numbers[language] = {token: place for place, token in enumerate(own)}
            if language == first:
                tensors |= adapter
        save_json(folder / "vocab.json", numbers)
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


def save_json(path: pathlib.Path, fields: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(fields, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
