"""Names in forty languages: each language has enough of them, and no split knows those of another."""

import sys

import numpy as np
import pytest

from input_pipeline.corpora import spoken_names
from input_pipeline.corpora.espeak import espeak
from input_pipeline.corpora.spoken_names import LANGUAGES, SENTENCES, SpokenNames, sample_sentences, split_names
from mms_jax.errors import CorpusError
from mms_jax.text.languages import code_of
from mms_jax.text.normalize import has_digits, normalize


@pytest.mark.parametrize("language", LANGUAGES)
def test_names_are_normalized_many_and_spoken(language):
    parts = split_names(language)
    names = [name for part in parts.values() for name in part]
    assert len(set(names)) == len(names)
    assert len(parts["train"]) > 250 and min(len(parts["validation"]), len(parts["test"])) > 25
    assert all(name and name == normalize(name, language) and not has_digits(name) for name in names)
    assert len(espeak().speak(names[0], LANGUAGES[language])) > 2000


def test_forty_languages_under_their_codes():
    assert len(LANGUAGES) >= 40
    codes = {language: code_of(short) for language, short in LANGUAGES.items()}
    others = {language: code for language, code in codes.items() if language != code}
    assert others.items() <= {"swh": "swa", "npi": "nep", "est": "ekk"}.items()


def test_sentences_use_every_name_before_one_comes_again():
    names = [f"name{number}" for number in range(40)]
    sentences = sample_sentences(names, 8, np.random.default_rng(0))
    words = " ".join(sentences).split()
    assert len(sentences) == 8 and len(set(words)) == len(words)
    assert sentences == sample_sentences(names, 8, np.random.default_rng(0))


def test_corpus_has_voices_and_names_of_its_own_in_each_split(monkeypatch, tmp_path):
    monkeypatch.setattr(spoken_names, "SENTENCES", dict.fromkeys(SENTENCES, 4))
    builder = SpokenNames(config="swh", data_dir=str(tmp_path), file_format="array_record")
    builder.download_and_prepare()
    names = split_names("swh")
    for split in SENTENCES:
        records = list(builder.as_data_source(split))
        assert {record["speaker"].decode() for record in records} <= set(spoken_names.VOICES[split])
        known = {word for name in names[split] for word in name.split()}
        assert all(set(record["text"].decode().split()) <= known for record in records)
        assert all(record["language"] == b"swh" and 1 < record["seconds"] < 15 for record in records)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "babel", None)
    with pytest.raises(CorpusError, match="pip install babel"):
        split_names("swh")
