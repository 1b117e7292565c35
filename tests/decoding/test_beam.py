"""Beam search: with a language model, noisy scores read better; lexicon, hot words, bad files."""

import collections
import itertools
import math

import jiwer
import numpy as np
import pytest

from mms_jax.decoding.beam import BeamDecoder, BeamSettings
from mms_jax.decoding.greedy import collapse
from mms_jax.errors import LanguageModelError
from mms_jax.text.vocabulary import spell

TOKENS = ("<pad>", "<s>", "</s>", "<unk>", "|", *"abcdefghijklmnopqrstuvwxyz")
UNIQUE = [
    "a",
    "and",
    "bell",
    "goats",
    "his",
    "home",
    "man",
    "near",
    "new",
    "old",
    "ran",
    "river",
    "seven",
    "son",
    "the",
]


def sentences(count, seed):
    """Sentences in which one word decides which may follow."""
    rng = np.random.default_rng(seed)
    followers = {
        word: [UNIQUE[(7 * place + step) % len(UNIQUE)] for step in (1, 2)] for place, word in enumerate(UNIQUE)
    }
    for _ in range(count):
        words = [str(rng.choice(UNIQUE))]
        while len(words) < 6:
            words.append(str(rng.choice(followers[words[-1]])))
        yield words


def write_arpa(path, lines):
    """A bigram model by relative frequency, with a constant backoff."""
    unigrams, bigrams = collections.Counter(), collections.Counter()
    for line in lines:
        marked = ["<s>", *line, "</s>"]
        unigrams.update(marked[1:])
        bigrams.update(itertools.pairwise(marked))
    total, before = sum(unigrams.values()), collections.Counter(first for first, _ in bigrams.elements())
    rows = ["-99\t<s>\t-1", "-5\t<unk>\t0"]
    rows += [f"{math.log10(count / total):.4f}\t{word}\t-1" for word, count in sorted(unigrams.items())]
    pairs = [f"{math.log10(0.9 * n / before[a]):.4f}\t{a} {b}" for (a, b), n in sorted(bigrams.items())]
    header = f"\\data\\\nngram 1={len(rows)}\nngram 2={len(pairs)}\n"
    path.write_text(
        header + "\n\\1-grams:\n" + "\n".join(rows) + "\n\n\\2-grams:\n" + "\n".join(pairs) + "\n\n\\end\\\n"
    )
    return str(path)


def noisy_scores(text, noise, seed):
    """Log probabilities of frames that say `text`, two frames a symbol and a blank, under Gaussian noise."""
    path = [number for symbol in text.replace(" ", "|") for number in (TOKENS.index(symbol),) * 2 + (0,)]
    logits = np.random.default_rng(seed).normal(0, noise, (len(path), len(TOKENS)))
    logits[np.arange(len(path)), path] += 5
    return (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).astype(np.float32)


def greedy(scores):
    return spell(collapse(scores.argmax(axis=1)).tolist(), TOKENS)


@pytest.mark.parametrize("unit", ["word", "character"])
def test_language_model_beats_greedy_on_noisy_scores(tmp_path, unit):
    training = list(sentences(400, seed=1))
    lines = training if unit == "word" else [list("|".join(words)) for words in training]
    settings = BeamSettings(lm=write_arpa(tmp_path / "lm.arpa", lines), unit=unit, lm_weight=1.0)
    decoder = BeamDecoder(TOKENS, settings)
    texts = [" ".join(words) for words in sentences(20, seed=2)]
    scores = [noisy_scores(text, 1.6, seed) for seed, text in enumerate(texts)]
    before = jiwer.wer(texts, [greedy(each) for each in scores])
    after = jiwer.wer(texts, [decoder.decode(each)[0] for each in scores])
    assert before > 0.3 and after < (0.1 if unit == "word" else 0.8 * before), (before, after)


@pytest.mark.parametrize("unit", ["word", "character"])
def test_clear_scores_give_text_and_times(tmp_path, unit):
    lines = list(sentences(50, seed=1))
    lm = write_arpa(tmp_path / "lm.arpa", lines if unit == "word" else [list("|".join(words)) for words in lines])
    text, words = BeamDecoder(TOKENS, BeamSettings(lm=lm, unit=unit)).decode(noisy_scores("old goats ran", 0.1, 0))
    assert text == "old goats ran" == " ".join(word.text for word in words)
    # Three frames a symbol: "goats" begins with the fifth symbol and ends before the tenth.
    assert words[1].start == pytest.approx(4 * 3 * 0.02, abs=0.021) and words[1].end == pytest.approx(
        9 * 3 * 0.02, abs=0.041
    )
    assert all(0.5 < word.score <= 1 for word in words)


def test_lexicon_and_hot_words_decide_between_spellings(tmp_path):
    scores = noisy_scores("son", 0.01, 0)
    sound = scores[6].copy()  # the first frame of the n
    for frame in (6, 7):
        scores[frame, TOKENS.index("n")], scores[frame, TOKENS.index("m")] = np.log([0.55, 0.44])
    assert sound.argmax() == TOKENS.index("n") and greedy(scores) == "son"
    assert BeamDecoder(TOKENS, BeamSettings()).decode(scores)[0] == "son"
    assert BeamDecoder(TOKENS, BeamSettings(hot_words=("som",))).decode(scores)[0] == "som"
    lm = write_arpa(tmp_path / "lm.arpa", [["som"], ["river"]])
    (tmp_path / "words.txt").write_text("som s o m |\nriver r i v e r |\n")
    settings = BeamSettings(lm=lm, lexicon=str(tmp_path / "words.txt"))
    assert BeamDecoder(TOKENS, settings).decode(scores)[0] == "som"


def test_silence_says_nothing():
    silence = np.full((20, len(TOKENS)), -20, np.float32)
    silence[:, 0] = 0
    assert BeamDecoder(TOKENS, BeamSettings()).decode(silence) == ("", [])


@pytest.mark.parametrize("unit", ["word", "character"])
def test_what_cannot_be_used_is_named(tmp_path, unit):
    (tmp_path / "junk.arpa").write_text("no model")
    with pytest.raises(LanguageModelError, match=r"junk\.arpa: is no KenLM model"):
        BeamDecoder(TOKENS, BeamSettings(lm=str(tmp_path / "junk.arpa"), unit=unit))
    with pytest.raises(LanguageModelError, match=r"gone\.arpa: no such file"):
        BeamSettings(lm=str(tmp_path / "gone.arpa"), unit=unit)
    with pytest.raises(LanguageModelError, match="lack é"):
        BeamDecoder(TOKENS, BeamSettings(hot_words=("café",)))
    with pytest.raises(LanguageModelError, match="give one"):
        BeamSettings(lexicon="words.txt")
