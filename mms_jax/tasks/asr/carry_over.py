"""Maps the head and adapters of one recognizer to the vocabulary and languages of another."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mms_jax import sharding
from mms_jax.models.functional import Params
from mms_jax.models.wav2vec2.banks import ADAPTERS, HEADS
from mms_jax.tasks.base import CarriedOver
from mms_jax.text.vocabulary import AnyVocabulary, VocabularyBank

HEAD = "head"  # one for all languages; HEADS is a bank with a head for each
_ADAPTERS = ("encoder", "layers", ADAPTERS)  # below the backbone; arrays are (layers, languages, ...)


def carry_over_symbols(
    params: Params, vocabulary: AnyVocabulary, their_params: Params, their_vocabulary: AnyVocabulary
) -> CarriedOver:
    """Rearranges another recognizer's head and adapters.

    Every symbol takes the row of the same symbol: from the head of its language where both models have one, otherwise
    from the other model's first head that has it. Symbols and languages that the other model lacks keep their fresh
    rows.

    Args:
      params: fresh parameters of the new model.
      vocabulary: of the new model.
      their_params: of the other model.
      their_vocabulary: of the other model.
    """
    name = HEADS if HEADS in params else HEAD
    theirs = {part: value for part, value in their_params.items() if part not in (HEAD, HEADS)}
    sources = symbol_sources(vocabulary, their_vocabulary)
    theirs[name] = _head(params[name], _bank(their_params), sources)
    notes = {name: _note(vocabulary, their_vocabulary, sources)}
    own_adapters = _find(params["backbone"], _ADAPTERS)
    their_adapters = _find(theirs["backbone"], _ADAPTERS)
    if own_adapters is not None and their_adapters is not None:
        shared = [language for language in vocabulary.languages if language in their_vocabulary.languages]
        moved = _adapters(own_adapters, vocabulary.languages, their_adapters, their_vocabulary.languages)
        theirs["backbone"] = _replaced(theirs["backbone"], _ADAPTERS, moved if shared else None)
        fresh = [language for language in vocabulary.languages if language not in shared]
        notes["adapters"] = (
            f"{len(shared)} of {len(vocabulary.languages)} languages; fresh: {' '.join(fresh) or 'none'}"
        )
    return CarriedOver(theirs, notes)


def symbol_sources(new: AnyVocabulary, old: AnyVocabulary) -> dict[tuple[int, int], tuple[int, int]]:
    """(head, symbol) of the new model -> (head, symbol) of the old one, for all symbols that both have."""
    old_tables = [dict(_numbers(table)) for table in _tables(old)]
    sources: dict[tuple[int, int], tuple[int, int]] = {}
    for head, table in enumerate(_tables(new)):
        spoken = [new.languages[head]] if isinstance(new, VocabularyBank) else new.languages
        heads = _preferred(old, spoken)
        for token, number in _numbers(table):
            source = next((other for other in heads if token in old_tables[other]), None)
            if source is not None:
                sources[head, number] = (source, old_tables[source][token])
    return sources


def _tables(vocabulary: AnyVocabulary) -> Sequence[Sequence[str]]:
    """The symbols of every head."""
    return list(vocabulary.tables.values()) if isinstance(vocabulary, VocabularyBank) else [vocabulary.tokens]


def _preferred(old: AnyVocabulary, languages: Sequence[str]) -> list[int]:
    """Heads of the old model, those of these languages first."""
    if not isinstance(old, VocabularyBank):
        return [0]
    own = [old.languages.index(language) for language in languages if language in old.languages]
    return own + [head for head in range(len(old.languages)) if head not in own]


def _numbers(tokens: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Symbols with their numbers; number 0 is the blank, whatever it is called."""
    yield from (("" if number == 0 else token, number) for number, token in enumerate(tokens))


def _bank(params: Params) -> Mapping[str, np.ndarray]:
    """A head as a bank: kernel (heads, hidden, symbols), bias (heads, symbols)."""
    if HEADS in params:
        return {name: np.asarray(value) for name, value in params[HEADS].items()}
    return {name: np.asarray(value)[None] for name, value in params[HEAD].items()}


def _head(
    fresh: Mapping[str, Any], old: Mapping[str, np.ndarray], sources: Mapping[tuple[int, int], tuple[int, int]]
) -> dict[str, np.ndarray]:
    found = {}
    for name, value in fresh.items():
        array = np.array(sharding.to_host(value))
        bank = array if array.ndim == old[name].ndim else array[None]
        if bank.shape[1:-1] == old[name].shape[1:-1]:  # a backbone of another width is rejected later, by name
            for (head, number), (other, place) in sources.items():
                bank[head, ..., number] = old[name][other, ..., place]
        found[name] = array
    return found


def _note(new: AnyVocabulary, old: AnyVocabulary, sources: Mapping[tuple[int, int], tuple[int, int]]) -> str:
    wanted = [(head, token, number) for head, table in enumerate(_tables(new)) for token, number in _numbers(table)]
    fresh = dict.fromkeys(token for head, token, number in wanted if (head, number) not in sources)
    known = {token for table in _tables(new) for token, _ in _numbers(table)}
    left = dict.fromkeys(token for table in _tables(old) for token, _ in _numbers(table) if token not in known)
    return (
        f"{len(sources)} of {len(wanted)} symbols taken; fresh: {' '.join(fresh) or 'none'}; "
        f"left: {' '.join(left) or 'none'}"
    )


def _adapters(
    fresh: Mapping[str, Any], languages: Sequence[str], old: Mapping[str, Any], old_languages: Sequence[str]
) -> dict[str, np.ndarray]:
    """The adapters of the languages that both models know; the others stay fresh.

    An adapter of another width is returned as it is, for `warm_start` to refuse.
    """
    found = {}
    for name, value in fresh.items():
        array, there = np.array(sharding.to_host(value)), np.asarray(old[name])
        if array[:, 0].shape != there[:, 0].shape:
            found[name] = there
            continue
        for row, language in enumerate(languages):
            if language in old_languages:
                array[:, row] = there[:, old_languages.index(language)]
        found[name] = array
    return found


def _find(tree: Any, path: Sequence[str]) -> Any:
    for key in path:
        if key not in tree:
            return None
        tree = tree[key]
    return tree


def _replaced(tree: Any, path: Sequence[str], value: Any) -> Any:
    """The tree with another value at a path; None removes it."""
    name, *below = path
    if below:
        return {**tree, name: _replaced(tree[name], below, value)}
    return {key: old for key, old in tree.items() if key != name} | ({} if value is None else {name: value})
