"""The model that a language is added to: the part of it that is loaded, and all languages that it has."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence

import jax
import numpy as np

from mms_jax.adapt import banks
from mms_jax.checkpoint import StoredModel
from mms_jax.inference.find import find_model
from mms_jax.inference.select import select_languages
from mms_jax.interop import hub, huggingface
from mms_jax.text.languages import find_language

AUTO, FRESH = "auto", "fresh"


@dataclasses.dataclass(frozen=True)
class Source:
    """A model to adapt.

    Attributes:
      stored: the model with the languages that are wanted of it, on no device.
      known: all its languages.
      symbols: the symbols of every language with their numbers, of a model whose languages are files of their own; else {}.
    """

    stored: StoredModel
    known: tuple[str, ...]
    symbols: dict[str, dict[str, int]]


def find_source(model: str | os.PathLike, language: str, start: str, keep: Sequence[str] | None) -> Source:
    """Loads a model.

    Args:
      model: any that `mms_jax.load` takes.
      language: the new one.
      start: AUTO, FRESH, or a language of the model.
      keep: languages to load; None for all. Of a repository, whose adapters are downloaded one by one, None loads those that
        share the new language's code, and English.

    Raises:
      LanguageError: `keep` or `start` is no language of the model. CheckpointError, ConversionError: see `mms_jax.load`.
    """
    path = pathlib.Path(model).expanduser()
    is_remote = hub.is_remote(str(model))
    folder = hub.fetch(str(model), []) if is_remote else path
    symbols = huggingface.languages_of_folder(folder) if folder.is_dir() and huggingface.is_folder(folder) else {}
    wanted = list(keep) if keep is not None else None
    if wanted is None and is_remote and symbols:
        root = language.split("-")[0]
        wanted = [name for name in symbols if name.split("-")[0] == root and name != language]
        wanted += [huggingface.ENGLISH] if huggingface.ENGLISH in symbols else []
    if start not in (AUTO, FRESH) and wanted is not None and start not in wanted:
        wanted.append(start)
    if symbols:
        stored, known = find_model(model, wanted), tuple(symbols)
    else:
        stored = find_model(model)
        known = banks.languages_of(stored)
        stored = select_languages(stored, wanted) if wanted is not None else stored
    banks.check_kind(stored, str(model))
    if start not in (AUTO, FRESH):
        find_language(start, known)
    return Source(dataclasses.replace(stored, params=jax.tree.map(np.asarray, stored.params)), known, symbols)
