"""Writes Hugging Face's wav2vec 2.0 folders: the inverse of `mms_jax.interop.huggingface`."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from mms_jax.checkpoint import StoredModel
from mms_jax.errors import ConversionError
from mms_jax.interop.huggingface_keys import (
    ENGLISH,
    backbone_entries,
    config_fields,
    ctc_entries,
    identification_entries,
    language_entries,
    pretraining_entries,
)
from mms_jax.interop.keys import spread
from mms_jax.interop.safetensors_files import save_safetensors
from mms_jax.models.description import ENCODER, IDENTIFIER, RECOGNIZER, Description, origin_of
from mms_jax.models.functional import Params
from mms_jax.models.wav2vec2.banks import HEADS, adapters_of, identity_adapters, with_adapters
from mms_jax.models.wav2vec2.config import Wav2Vec2Config
from mms_jax.text.vocabulary import WORD_TOKEN, AnyVocabulary, Vocabulary, VocabularyBank, vocabulary_from_json


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


def with_banks(stored: StoredModel, width: int = 1) -> StoredModel:
    """A recognizer with one head for several languages as one with a head for each; other models stay as they are.

    The head of a language holds the columns of its symbols.

    Args:
      stored: of any kind.
      width: of the adapters, where the model has none: they change nothing.
    """
    if stored.description.get("kind", RECOGNIZER) != RECOGNIZER or "tables" in stored.description["vocabulary"]:
        return stored
    shared = Vocabulary.from_json(stored.description["vocabulary"])
    columns = [np.flatnonzero(row) for row in shared.allowed]
    bank = VocabularyBank(
        {name: tuple(shared.tokens[number] for number in own) for name, own in zip(shared.languages, columns)}
    )
    config = Wav2Vec2Config.from_json(stored.description["model"])
    width = config.adapter_width or width
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
    params = with_adapters({"backbone": stored.params["backbone"], HEADS: heads}, adapters)
    changes = {"model": config.to_json(), "vocabulary": bank.to_json()}
    return dataclasses.replace(stored, description=cast(Description, {**stored.description, **changes}), params=params)


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


def _numbered(vocabulary: AnyVocabulary) -> dict[str, dict[str, int]]:
    """The symbols of each language with their numbers."""
    return {
        language: {token: number for number, token in enumerate(vocabulary.tokens_of(language))}
        for language in vocabulary.languages
    }


def make_folder(folder: pathlib.Path) -> None:
    """Makes a folder for a model. Raises ConversionError if it already holds one."""
    if (folder / "config.json").exists():
        raise ConversionError(f"{folder} holds a config.json already; choose a new folder")
    folder.mkdir(parents=True, exist_ok=True)


def save_json(path: pathlib.Path, fields: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(fields, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
