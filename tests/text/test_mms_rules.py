"""MMS's text rules, one by one, and romanization."""

import hypothesis
import pytest
from hypothesis import strategies as st

from mms_jax.text.mms_rules import DELETED, DIGITS, PUNCTUATION, TextRules, is_number, normalize_mms
from mms_jax.text.romanize import ROMAN, romanize


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("Ｆｕｌｌ ﬁne", "eng", "full fine"),  # NFKC, then lower case
        ("He said (Sam 23:17) yes (and no)", "eng", "he said yes and no"),
        ("a&lt;b &gt; c&nbsp", "eng", "ab c"),
        ("don’t ‘quote’ l’un‛e", "eng", "don't quote l'un'e"),
        ("¿qué? «sí»… no; 3.5", "spa", "qué sí no 3 5"),
        ("well-known rock 'n' roll", "eng", "well-known rock 'n' roll"),  # hyphen and ASCII apostrophe stay
        ("मैं कहता हूँ।", "hin", "मैं कहता हूँ"),
        ("كِتَابٌ، جديد؟", "ara", "كتاب جديد"),  # vowel signs go
        ("ٱلكتاب", "arb", "الكتاب"),
        ("ٱلكتاب", "fas", "ٱلكتاب"),
        ("שָׁלוֹם", "heb", "שלום"),
        ("мо\u00adнгол", "khk", "монгол"),
        ("กา\u200dแฟ", "tha", "กา แฟ"),
        ("บ่อยๆ ครับ", "tha", "บ่อย ครับ"),  # the repetition mark is punctuation to MMS
        ("Ésuk énjing", "jav", "esuk enjing"),
        ("“Hi,” he—said", "eng", "hi he—said"),
        ("  \t ", "eng", ""),
    ],
)
def test_rules(text, language, expected):
    assert normalize_mms(text, language) == expected


def test_script_does_not_hide_the_language():
    assert normalize_mms("שָׁלוֹם", "heb-script_hebrew") == "שלום"


def test_brackets_go_only_where_asked():
    assert normalize_mms("one (two) three", "eng", TextRules(remove_brackets=True)) == "one three"


def test_as_released_repeats_its_slips():
    """The Arabic mapping reaches every language, and only the last inner apostrophe is kept."""
    assert normalize_mms("ٱلكتاب", "fas", TextRules(as_released=True)) == "الكتاب"
    assert normalize_mms("l’un’e", "eng", TextRules(as_released=True)) == "l un'e"


def test_sets_are_those_of_the_release():
    assert len(DELETED) == 16 and len(DIGITS) == 111
    assert not PUNCTUATION & frozenset("-'abc0123456789")
    assert is_number("23") and is_number("०१२") and not is_number("3a") and not is_number("")


@hypothesis.given(st.text(max_size=60), st.sampled_from(["eng", "ara", "tha", "heb", "mon"]))
def test_normalizing_twice_changes_nothing_more(text, language):
    once = normalize_mms(text, language)
    assert normalize_mms(once, language) == once or "&" in text or "(" in text
    assert not (set(once) - {" "}) & (PUNCTUATION | DELETED) and once == " ".join(once.split())


def test_romanized_pieces_are_the_word():
    for word, language, letters in (
        ("привет", "rus", "privet"),
        ("καλημέρα", "ell", "kalemera"),
        ("μπαίνω", "ell", "baino"),
        ("你好", "cmn", "nihao"),
        ("l'été", "fra", "l'ete"),
        ("eight", "eng", "eight"),
        ("x²", "eng", "x"),
        ("300", "eng", ""),
    ):
        pieces = romanize(word, language)
        assert "".join(piece for piece, _ in pieces) == word
        assert "".join(spelled for _, spelled in pieces) == letters
        assert set(letters) <= ROMAN
    assert romanize("μπα", "ell") == [("μπ", "b"), ("α", "a")]
    assert len(romanize("eight", "eng")) == 5
