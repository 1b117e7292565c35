"""Recognition of a language that was never learned: its words are found in the scores of romanized letters."""

import numpy as np
import pytest

import mms_jax
from mms_jax.cli import main
from mms_jax.decoding.zero_shot import ZeroShotDecoder, ZeroShotSettings, read_words
from mms_jax.errors import ConfigError, LanguageModelError
from mms_jax.evaluate import evaluate
from mms_jax.text.roman_labels import RomanLabels, is_romanized, roman_text
from mms_jax.text.vocabulary import VocabularyBank
from mms_jax.train import train
from tests.decoding.test_beam import write_arpa

TOKENS = VocabularyBank.from_alphabets({"und": "abcdefghijklmnopqrstuvwxyz'"}).tokens_of("und")


def scores_of(text, noise=0.0, seed=0):
    """Log probabilities of a romanized text: two frames a letter, a blank between."""
    rng = np.random.default_rng(seed)
    labels = [0]
    for letter in text:
        labels += [TOKENS.index("|" if letter == " " else letter)] * 2 + [0]
    logits = rng.normal(0, 0.1, (len(labels), len(TOKENS)))
    logits[np.arange(len(labels)), labels] += 6.0
    wrong = rng.random(len(labels)) < noise
    logits[wrong] = rng.normal(0, 1.0, (int(wrong.sum()), len(TOKENS)))
    return (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).astype(np.float32)


@pytest.fixture
def words(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("привет\nмир 5\nмирт\nДобрый\n\nутро\n123\n", encoding="utf-8")
    return str(path)


def test_words_are_read_normalized_and_romanized(words, tmp_path):
    found = read_words(words, "rus")
    assert found == {
        "добрый": roman_text("добрый", "rus"),
        "мир": "mir",
        "мирт": "mirt",
        "привет": "privet",
        "утро": "utro",
    }
    (tmp_path / "empty.txt").write_text("1\n2\n")
    with pytest.raises(LanguageModelError, match=r"empty.txt: holds no words that can be romanized"):
        read_words(str(tmp_path / "empty.txt"), "rus")
    with pytest.raises(LanguageModelError, match="no such file"):
        ZeroShotSettings("nowhere.txt", "rus")


def test_text_comes_back_in_its_own_script_with_times(words):
    decoder = ZeroShotDecoder(TOKENS, ZeroShotSettings(words, "rus"))
    text, found = decoder.decode(scores_of("privet mir "))
    assert text == "привет мир" and [word.text for word in found] == ["привет", "мир"]
    assert found[0].start < 0.1 < found[0].end <= found[1].start < found[1].end
    assert all(0.5 < word.score <= 1.0 for word in found)


def test_misheard_letters_are_mended_by_the_list(words):
    decoder = ZeroShotDecoder(TOKENS, ZeroShotSettings(words, "rus"))
    assert decoder.decode(scores_of("prifet mir "))[0] == "привет мир"
    assert decoder.decode(np.log(np.full((3, len(TOKENS)), 1 / len(TOKENS), np.float32)))[0] in ("", "мир")


def test_a_language_model_decides_between_words_that_sound_alike(tmp_path):
    path, lm = tmp_path / "words.txt", tmp_path / "lm.arpa"
    path.write_text("mir\nмир\nnow\n", encoding="utf-8")
    write_arpa(lm, [["now", "мир"]] * 9 + [["mir"]])
    settings = ZeroShotSettings(str(path), "rus", lm=str(lm))
    assert ZeroShotDecoder(TOKENS, settings).decode(scores_of("now mir "))[0] == "now мир"
    (tmp_path / "bad.arpa").write_text("nothing")
    with pytest.raises(LanguageModelError, match=r"bad.arpa: is no KenLM model"):
        ZeroShotDecoder(TOKENS, ZeroShotSettings(str(path), "rus", lm=str(tmp_path / "bad.arpa")))


def test_of_many_words_that_sound_alike_the_most_probable_are_found(tmp_path):
    """flashlight's lexicon holds six words of one spelling: with a language model, those that it prefers."""
    path, lm = tmp_path / "words.txt", tmp_path / "lm.arpa"
    words = ["妈", "麻", "马", "骂", "吗", "嘛", "码", "蚂", "玛"]
    path.write_text("\n".join(words) + "\n", encoding="utf-8")
    for preferred in words:
        write_arpa(lm, [[preferred]] * 20 + [[word] for word in words])
        decoder = ZeroShotDecoder(TOKENS, ZeroShotSettings(str(path), "cmn", lm=str(lm)))
        assert decoder.decode(scores_of("ma "))[0] == preferred


def test_a_recognizer_that_lacks_letters_is_named(words):
    with pytest.raises(LanguageModelError, match="needs a recognizer with a word boundary"):
        ZeroShotDecoder([token for token in TOKENS if token != "|"], ZeroShotSettings(words, "rus"))
    with pytest.raises(LanguageModelError, match="lacks letters of every word"):
        ZeroShotDecoder(("<pad>", "|", "x"), ZeroShotSettings(words, "rus"))
    few = ZeroShotDecoder(("<pad>", "|", "m", "i", "r"), ZeroShotSettings(words, "rus"))
    assert few._names == ["мир"]


def test_labels_are_roman_whatever_the_script():
    labels = RomanLabels.from_alphabets({"rus": "мирщ", "eng": "abc"})
    assert labels.languages == ("und",) and labels.language_index("rus") == 0
    tokens = labels.vocabulary.tokens_of("und")
    assert "".join(tokens[number] for number in labels.encode("мир abc", "rus")) == "mir|abc"
    assert labels.positions(3) >= len(labels.encode("щщщ", "rus"))
    assert is_romanized(labels.vocabulary)
    assert not is_romanized(VocabularyBank.from_alphabets({"und": "мир"}))
    assert not is_romanized(VocabularyBank.from_alphabets({"eng": "abc"}))


def test_a_romanized_recognizer_trains_and_reads_a_new_language(tone_config, tone_data, tmp_path, words, capsys):
    tone_config.labels.romanized = True
    tone_config.total_steps = 2
    train(tone_config, str(tmp_path / "run"))
    result = evaluate(tone_config, str(tmp_path / "run"))
    assert set(result["by_language"]) == {"eng", "swh"}
    model = mms_jax.load(tmp_path / "run")
    assert model.languages == ("und",)
    waveform = np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32)
    settings = ZeroShotSettings(words, "rus", word_score=0.0)
    [found] = model.transcribe([waveform], language="und", beam=settings)
    assert set(found.text.split()) <= {"привет", "мир", "мирт", "добрый", "утро"}
    import soundfile

    soundfile.write(tmp_path / "a.wav", waveform, 16_000)
    command = ["transcribe", str(tmp_path / "a.wav"), "--model", str(tmp_path / "run"), "--zero-shot", words]
    assert main([*command, "--lang", "rus"]) == 0
    capsys.readouterr()
    assert main([*command, "--lang", "russian"]) == 1
    assert "'russian' is no language code" in capsys.readouterr().err
    assert main([*command, "--lang", "rus", "--hot-words", "a"]) == 1
    assert "leave out --hot-words" in capsys.readouterr().err
    tone_config.adapters.width = 2
    with pytest.raises(ConfigError, match=r"config.labels.romanized makes one language of all"):
        train(tone_config, str(tmp_path / "other"))


def test_other_recognizers_cannot_read_without_training(fixture_file, words):
    model = mms_jax.load(fixture_file("huggingface") / "ctc")
    waveform = np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32)
    with pytest.raises(LanguageModelError, match="needs a recognizer of romanized text"):
        model.transcribe([waveform], language="swh", beam=ZeroShotSettings(words, "rus"))
