"""Reads Hugging Face's wav2vec 2.0 folders: configuration, vocabularies and tensors.

A folder holds config.json, model.safetensors (or pytorch_model.bin, or shards of either with an index), and for
recognizers vocab.json and adapter.{language}.safetensors.
"""

import dataclasses
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from flax import nnx

from mms_jax.checkpoint import StoredModel
from mms_jax.errors import ConversionError
from mms_jax.files import read_json
from mms_jax.interop.huggingface_keys import (
    DOWN,
    ENGLISH,
    EPSILON,
    backbone_entries,
    ctc_entries,
    identification_entries,
    language_entries,
    model_config,
    pretraining_entries,
)
from mms_jax.interop.keys import (
    Fields,
    Tensor,
    fill,
)
from mms_jax.interop.safetensors_files import read_safetensors
from mms_jax.interop.torch_files import read_torch
from mms_jax.models.description import ENCODER, IDENTIFIER, RECOGNIZER, Description, origin_of
from mms_jax.models.functional import FunctionalModel, Params
from mms_jax.models.wav2vec2.config import Wav2Vec2Config
from mms_jax.models.wav2vec2.heads import Wav2Vec2ForCTC, Wav2Vec2ForIdentification, Wav2Vec2ForPretraining
from mms_jax.models.wav2vec2.model import Wav2Vec2
from mms_jax.text.languages import ANY_LANGUAGE, find_language
from mms_jax.text.vocabulary import VocabularyBank

# The names that old and new versions of PyTorch give to the same tensors.
_SPELLINGS = {".weight_g": ".parametrizations.weight.original0", ".weight_v": ".parametrizations.weight.original1"}


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
    return EPSILON if normalizes else None


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
    width = max(tensor.shape[0] for name, tensor in next(iter(adapters.values())).items() if name.endswith(DOWN))
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


def shapes_of(build: Callable[[nnx.Rngs], nnx.Module]) -> Params:
    """The shapes of a module's parameters, which are not allocated."""
    return FunctionalModel.abstract(lambda key: build(nnx.Rngs(params=key))).shapes()


def languages_of_folder(folder: pathlib.Path) -> dict[str, dict[str, int]]:
    """The symbols of each language of a recognizer with adapters, whichever adapters are there; {} for other models."""
    if not (folder / "vocab.json").is_file() or not read_json(folder / "config.json", ConversionError).get(
        "adapter_attn_dim"
    ):
        return {}
    tables = read_vocabularies(folder / "vocab.json")
    return {language: {token: number for number, token in enumerate(tokens)} for language, tokens in tables.items()}
