"""A recognizer for some of its languages."""

import dataclasses
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from mms_jax.checkpoint import StoredModel
from mms_jax.errors import ConversionError
from mms_jax.models.description import RECOGNIZER, VOICE, Description
from mms_jax.models.functional import Params
from mms_jax.models.wav2vec2.banks import ADAPTERS, HEADS, adapters_of, overlaid
from mms_jax.models.wav2vec2.config import Wav2Vec2Config
from mms_jax.text.languages import ANY_LANGUAGE, find_language
from mms_jax.text.vocabulary import AnyVocabulary, Vocabulary, VocabularyBank, vocabulary_from_json


def select_languages(stored: StoredModel, languages: Sequence[str]) -> StoredModel:
    """The model for some languages, in the given order. Models that do not distinguish languages stay as they are.

    Raises:
      LanguageError: the model lacks one of them.
    """
    if stored.description["kind"] != RECOGNIZER:
        return stored
    vocabulary = vocabulary_from_json(stored.description["vocabulary"])
    if vocabulary.languages == (ANY_LANGUAGE,):
        return stored
    rows = [find_language(language, vocabulary.languages) for language in languages]
    kept: AnyVocabulary
    if isinstance(vocabulary, Vocabulary):
        kept = Vocabulary(vocabulary.tokens, {language: vocabulary.alphabets[language] for language in languages})
    else:
        kept = VocabularyBank({language: vocabulary.tables[language] for language in languages})
    config, params = Wav2Vec2Config.from_json(stored.description["model"]), stored.params
    if config.adapter_languages:
        config = dataclasses.replace(config, adapter_languages=len(rows))
        params = bank_rows(params, rows, len(kept))
    return _with(stored, {"model": config.to_json(), "vocabulary": kept.to_json()}, params)


def _with(stored: StoredModel, changes: dict[str, Any], params: Params) -> StoredModel:
    description = cast(Description, {**stored.description, **changes})
    return dataclasses.replace(stored, description=description, params=params)


def check_languages(stored: StoredModel, languages: Sequence[str] | None) -> None:
    """Refuses a choice of languages for a model that offers none, so that no --lang is ignored.

    Raises:
      ConversionError: the model does not distinguish languages, or is a voice of another one.
    """
    if not languages:
        return
    kind = stored.description["kind"]
    if kind == VOICE:
        language = stored.description["text"].get("language", "")
        if list(languages) != [language]:
            raise ConversionError(
                f"this voice speaks {language or 'a language that its source does not name'}; leave out --lang"
            )
    elif kind != RECOGNIZER:
        raise ConversionError(f"a model of kind {kind!r} has no languages to choose; leave out --lang")
    elif vocabulary_from_json(stored.description["vocabulary"]).languages == (ANY_LANGUAGE,):
        raise ConversionError("this recognizer does not distinguish languages; leave out --lang")


def bank_rows(params: Params, rows: list[int], symbols: int | None = None) -> Params:
    """The banks of some languages; heads keep the first `symbols`, None for all."""
    part = {name: np.asarray(bank)[:, rows] for name, bank in adapters_of(params).items()}
    kept = overlaid(params, {"backbone": {"encoder": {"layers": {ADAPTERS: part}}}})
    if HEADS in params:
        kept |= {HEADS: {name: np.asarray(bank)[rows][..., :symbols] for name, bank in params[HEADS].items()}}
    return kept
