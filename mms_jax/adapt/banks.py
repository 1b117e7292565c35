"""Recognizers with one language more: the banks of a stored model, taken apart and put together."""

import dataclasses
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from mms_jax.checkpoint import StoredModel
from mms_jax.errors import CheckpointError, LanguageError
from mms_jax.inference.select import bank_rows
from mms_jax.interop.huggingface_export import with_banks
from mms_jax.models.description import ENCODER, RECOGNIZER, Description
from mms_jax.models.functional import Params
from mms_jax.models.wav2vec2.banks import ADAPTERS, HEADS, adapters_of, identity_adapters, with_adapters
from mms_jax.models.wav2vec2.config import Wav2Vec2Config
from mms_jax.text.vocabulary import VocabularyBank, vocabulary_from_json


def as_bank(stored: StoredModel, width: int) -> StoredModel:
    """Any recognizer as one with an adapter and a head for each of its languages.

    Args:
      stored: the recognizer.
      width: of the adapters, where it has none: they change nothing, so that it answers as before.
    """
    stored = with_banks(stored, width)
    config = Wav2Vec2Config.from_json(stored.description["model"])
    params = stored.params
    if not config.adapter_languages:  # a head for one language, or one that does not distinguish languages
        rest = {name: value for name, value in params.items() if name != "head"}
        params = rest | {HEADS: {name: np.asarray(value)[None] for name, value in params["head"].items()}}
    adapters = adapters_of(params) or identity_adapters(config.layers, 1, config.hidden, width)
    width, languages = adapters["down"].shape[-1], adapters["down"].shape[1]
    config = dataclasses.replace(config, adapter_languages=languages, adapter_width=width)
    params = with_adapters(params, _revived(adapters, config))
    return _replaced(stored, params, config, vocabulary_from_json(stored.description["vocabulary"]))


def _revived(adapters: dict[str, Any], config: Wav2Vec2Config) -> dict[str, np.ndarray]:
    """Adapters of which those that are all zero, and could not learn, are replaced by such as can."""
    axes = {name: tuple(axis for axis in range(np.ndim(bank)) if axis != 1) for name, bank in adapters.items()}
    used = np.any([np.any(np.asarray(adapters[name]), axes[name]) for name in ("scale", "down", "up")], axis=0)
    if used.all():
        return adapters
    fresh = identity_adapters(config.layers, 1, config.hidden, config.adapter_width)
    revived = {name: np.array(bank) for name, bank in adapters.items()}
    for name, bank in revived.items():
        bank[:, ~used] = fresh[name]
    return revived


def _replaced(stored: StoredModel, params: Params, config: Wav2Vec2Config, vocabulary: Any) -> StoredModel:
    changes = {"model": config.to_json(), "vocabulary": vocabulary.to_json()}
    return dataclasses.replace(stored, description=cast(Description, {**stored.description, **changes}), params=params)


def starting_model(stored: StoredModel, language: str, start: str | None) -> StoredModel:
    """The model from which a new language begins.

    Args:
      stored: a recognizer from `as_bank`, or an encoder.
      language: the new one.
      start: one of the model's languages, whose adapter and head are given the new one's name, so that the run takes
        them; None for an adapter that changes nothing, and for each symbol the first head that has it.
    """
    if stored.description["kind"] == ENCODER:
        return stored
    vocabulary = vocabulary_from_json(stored.description["vocabulary"])
    assert isinstance(vocabulary, VocabularyBank)
    others = {name: table for name, table in vocabulary.tables.items() if name not in (start, language)}
    first = {} if start is None else {language: vocabulary.tables[start]}
    rows = [vocabulary.languages.index(name) for name in (*([] if start is None else [start]), *others)]
    if not rows:  # the one language is trained anew: nothing of it is taken
        return dataclasses.replace(stored, description=_as_encoder(stored.description), params=_backbone(stored.params))
    renamed = VocabularyBank({**first, **others})
    params = bank_rows(stored.params, rows)
    config = dataclasses.replace(Wav2Vec2Config.from_json(stored.description["model"]), adapter_languages=len(rows))
    return _replaced(stored, params, config, renamed)


def _as_encoder(description: Description) -> Description:
    model = {**description["model"], "adapter_width": 0, "adapter_languages": 0, "shared_head": False}
    return {"kind": ENCODER, "model": model}


def _backbone(params: Params) -> Params:
    """The backbone alone, without adapters."""
    encoder = params["backbone"]["encoder"]
    layers = {name: value for name, value in encoder["layers"].items() if name != ADAPTERS}
    return {"backbone": {**params["backbone"], "encoder": {**encoder, "layers": layers}}}


def with_language(stored: StoredModel, language: str, trained: StoredModel) -> StoredModel:
    """A recognizer with one language more, or another one in its place; nothing else changes by one bit.

    Args:
      stored: a recognizer from `as_bank`.
      language: the new one.
      trained: a recognizer of this language alone, on the same backbone.
    """
    vocabulary, new = (vocabulary_from_json(model.description["vocabulary"]) for model in (stored, trained))
    assert isinstance(vocabulary, VocabularyBank) and isinstance(new, VocabularyBank)
    kept = [name for name in vocabulary.languages if name != language]
    params = bank_rows(stored.params, [vocabulary.languages.index(name) for name in kept])
    joined = VocabularyBank({name: vocabulary.tables[name] for name in kept} | {language: new.tables[language]})
    added = adapters_of(trained.params)
    adapters = {name: np.concatenate([bank, np.asarray(added[name])], 1) for name, bank in adapters_of(params).items()}
    heads = {
        name: np.concatenate(
            [_padded(bank, len(joined)), _padded(np.asarray(trained.params[HEADS][name]), len(joined))]
        )
        for name, bank in params[HEADS].items()
    }
    config = dataclasses.replace(
        Wav2Vec2Config.from_json(stored.description["model"]), adapter_languages=len(joined.languages)
    )
    # Scores of the old model are not those of the new one.
    plain = {
        name: value for name, value in stored.description.items() if name not in ("chosen", "evaluation", "history")
    }
    origin = {name: trained.description[name] for name in ("history", "chosen") if name in trained.description}
    changed = dataclasses.replace(stored, description=cast(Description, {**plain, **origin}))
    return _replaced(changed, with_adapters({**params, HEADS: heads}, adapters), config, joined)


def _padded(bank: np.ndarray, symbols: int) -> np.ndarray:
    """A bank of heads with columns for this many symbols; those that it has more are padding."""
    missing = symbols - bank.shape[-1]
    if missing <= 0:
        return bank[..., :symbols]
    return np.pad(bank, [(0, 0)] * (bank.ndim - 1) + [(0, missing)])


def check_kind(stored: StoredModel, name: str) -> None:
    """Raises CheckpointError for a model that cannot be adapted."""
    kind = stored.description["kind"]
    if kind not in (RECOGNIZER, ENCODER):
        raise CheckpointError(f"{name} is a model of kind {kind!r}; adapt a recognizer or a pretrained encoder")


def check_new(known: Sequence[str], language: str, *, replace: bool) -> None:
    """Raises LanguageError where the model has the language already, and it is not to be replaced.

    Args:
      known: all languages of the model, whichever are loaded.
      language: the new one.
      replace: whether it may be one of them.
    """
    if language in known and not replace:
        raise LanguageError(
            f"the model reads {language} already; give --replace to train this language anew, or another code, such as "
            f"{language}-mine"
        )
    if replace and language not in known:
        raise LanguageError(f"--replace: the model does not read {language}; leave it out")


def in_float32(params: Params) -> Params:
    """The parameters as NumPy arrays of float32, as they are stored; none of them is left on a device."""
    if isinstance(params, dict):
        return {name: in_float32(value) for name, value in params.items()}
    return np.asarray(params, np.float32)


def languages_of(stored: StoredModel) -> tuple[str, ...]:
    """The languages of a recognizer; none of an encoder."""
    if stored.description["kind"] != RECOGNIZER:
        return ()
    return vocabulary_from_json(stored.description["vocabulary"]).languages
