"""Normalization and vocabularies."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mms_jax.text.languages import find_language
from mms_jax.text.normalize import has_digits, normalize
from mms_jax.text.vocabulary import Vocabulary, VocabularyBank, readable_symbols, spell


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello,  World!", "hello world"),
        ("Don’t — stop…", "don't stop"),
        ("'quoted' rock 'n' roll", "quoted rock n roll"),
        ("ÇOK İYİ", "çok iyi"),
        ("¿Qué pasó?", "qué pasó"),
        ("साफ़ पानी।", "साफ़ पानी"),
        ("Это — дом.", "это дом"),
        ("ﬁne ｗｉｄｅ", "fine wide"),
        ("a\u200bb", "ab"),
        ("...", ""),
    ],
)
def test_normalize(text, expected):
    assert normalize(text) == normalize(expected) == normalize(normalize(text))
    assert normalize(text) == " ".join(normalize(text).split())


@given(st.text())
def test_normalizing_twice_changes_nothing(text):
    once = normalize(text)
    assert normalize(once) == once
    assert once == once.strip() and "  " not in once


def test_digits_are_seen_in_every_script():
    assert has_digits("route 66") and has_digits("१२") and not has_digits("sixty six")


ALPHABETS = {"swh": "abc i", "rus": "жзи"}


def test_vocabulary_round_trip():
    vocabulary = Vocabulary.from_alphabets(ALPHABETS)
    assert vocabulary.tokens[:2] == ("<pad>", "|")
    assert spell(vocabulary.encode("abi cab", "eng"), vocabulary.tokens) == "abi cab"
    assert vocabulary.encode("a?b", "eng") == vocabulary.encode("ab", "eng")
    assert Vocabulary.from_json(vocabulary.to_json()) == vocabulary


def test_each_language_of_a_bank_has_numbers_of_its_own():
    bank = VocabularyBank({"swh": ("<pad>", "|", "a", "b"), "eng": ("<pad>", "b", "a", "|")})
    for language, numbers in (("swh", [2, 3, 1, 3]), ("eng", [2, 1, 3, 1])):
        assert bank.encode("ab b", language) == numbers
        assert spell(numbers, bank.tokens_of(language)) == "ab b"


def test_each_language_writes_its_own_symbols():
    vocabulary = Vocabulary.from_alphabets(ALPHABETS)
    assert vocabulary.languages == ("rus", "swh")
    for language, letters in (("rus", "жзи"), ("swh", "abci")):
        allowed = np.flatnonzero(vocabulary.allowed[vocabulary.language_index(language)])
        assert [vocabulary.tokens[number] for number in allowed] == ["<pad>", "|", *letters]


def test_unknown_language_lists_the_known():
    with pytest.raises(ValueError, match=r"it knows rus \(Russian\), swh \(Swahili\)"):
        Vocabulary.from_alphabets(ALPHABETS).language_index("eng")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("swahili", r"you may mean swh \(Swahili\)"),
        ("Kiswahili", "you may mean swh"),
        ("sw", "you may mean swh"),
        ("swa", "you may mean swh"),
        ("ger", r"you may mean deu \(German\)"),
        ("germen", "you may mean deu"),
        ("uzb-script_arabic", "this language is written as uzb-script_cyrillic .*, uzb-script_latin"),
        ("xyz", "it knows deu .*, swh"),
    ],
)
def test_unknown_languages_are_answered_with_what_was_meant(wrong, told):
    known = ["deu", "swh", "uzb-script_cyrillic", "uzb-script_latin", "qqq-made_up"]
    assert find_language("swh", known) == 1
    with pytest.raises(ValueError, match=f"no language '{wrong}' in this model; {told}"):
        find_language(wrong, known)


def test_readable_symbols_are_those_of_the_language_in_lower_case():
    joint = Vocabulary.from_alphabets({"eng": "ab", "ell": "αβ"})
    assert {symbol: joint.tokens[number] for symbol, number in readable_symbols(joint, "ell").items()} == {
        "|": "|",
        "α": "α",
        "β": "β",
    }
    # As in the vocabularies of MMS's aligner and of recognizers in capitals.
    bank = VocabularyBank(
        {"und": ("<blank>", "<pad>", "</s>", "<unk>", "a", "i", "'"), "eng": ("<pad>", "|", "A", "B")}
    )
    assert readable_symbols(bank, "und") == {"a": 4, "i": 5, "'": 6}
    assert {"a": 2, "b": 3, "|": 1}.items() <= readable_symbols(bank, "eng").items()
