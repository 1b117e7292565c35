"""Claim: a language model of text alone makes a recognizer better.

The recognizer of four languages decodes each test greedily, by beam search without a language model, and with a bigram model
of sentences of the same kind. Like text of the web, they hold most names of the test, four fifths, though not its sentences.
The weights are chosen on the validation split.
"""

import collections
import itertools
import math
import pathlib
from collections.abc import Iterable

import jiwer
import matplotlib.pyplot as plt
import numpy as np

import mms_jax
from benchmarks.paper import label_minutes, languages
from benchmarks.paper.study import Comparison, Results, Study, draw_bars, percent, save_figure
from input_pipeline.corpora.spoken_names import sample_sentences, split_names
from input_pipeline.corpora.storage import as_text, open_corpus
from mms_jax.audio.flac import decode_flac
from mms_jax.decoding.beam import BeamSettings
from mms_jax.files import write_text

TITLE = "greedy against beam search with a language model"
SENTENCES = 5000  # of the text
UNKNOWN_EVERY = 5  # one of so many names of the test is missing in the text
WEIGHTS = (0.25, 0.5, 1.0, 2.0)
WORD_SCORES = (0.0, 1.5)
WAYS = ("greedy", "beam", "with language model")
_DISCOUNT = 0.5


def run(study: Study) -> Results:
    """WER and CER by language and way of decoding, one recognizer."""
    label_minutes.encoder(study, study.budget.encoders[0])
    for language in languages.SCORED:
        languages.prepare(study, language)
    languages.recognizer(study, languages.SCORED, languages.SCORED, 0)
    model = mms_jax.load_recognizer(f"{study.folder / languages.run_name(languages.SCORED, 0)}@best")
    return {language: _decode(study, model, language) for language in languages.SCORED}


def _decode(study: Study, model: mms_jax.Recognizer, language: str) -> Results:
    arpa = study.folder / "language_models" / f"{language}.arpa"
    tuning, test = (_read(study, language, split) for split in ("validation", "test"))
    heldout = {*tuning[1], *test[1]}
    rng = np.random.default_rng(0)
    names = split_names(language)
    known = [
        *names["train"],
        *names["validation"],
        *(name for n, name in enumerate(names["test"]) if n % UNKNOWN_EVERY),
    ]
    text = [line for line in sample_sentences(known, SENTENCES, rng) if line not in heldout]
    words = {word for line in text for word in line.split()}
    spoken = " ".join(test[1]).split()
    arpa.parent.mkdir(exist_ok=True)
    write_bigrams(arpa, text)

    def score(data: tuple[list[np.ndarray], list[str]], beam: BeamSettings | None) -> dict[str, float]:
        found = [one.text for one in model.transcribe(data[0], language=language, beam=beam)]
        return {"wer": jiwer.wer(data[1], found), "cer": jiwer.cer(data[1], found)}

    grid = [
        BeamSettings(lm=str(arpa), lm_weight=weight, word_score=word_score)
        for weight, word_score in itertools.product(WEIGHTS, WORD_SCORES)
    ]
    best = min(grid, key=lambda beam: score(tuning, beam)["wer"])
    ways = dict(zip(WAYS, (None, BeamSettings(), best)))
    return {
        **{way: score(test, beam) for way, beam in ways.items()},
        "lm_weight": best.lm_weight,
        "word_score": best.word_score,
        "unknown_words": sum(word not in words for word in spoken) / len(spoken),
    }


def _read(study: Study, language: str, split: str) -> tuple[list[np.ndarray], list[str]]:
    waveforms, texts = [], []
    for record in open_corpus(f"spoken_names/{language}", split, study.data).source:
        waveforms.append(decode_flac(record["audio"], as_text(record["id"]))[0])
        texts.append(as_text(record["text"]))
    return waveforms, texts


def write_bigrams(path: pathlib.Path, sentences: Iterable[str]) -> None:
    """Writes a bigram model of words as an ARPA file, smoothed by absolute discounting with backoff.

    Args:
      path: of the file.
      sentences: words separated by spaces.
    """
    pairs: collections.Counter = collections.Counter()
    for sentence in sentences:
        pairs.update(itertools.pairwise(["<s>", *sentence.split(), "</s>"]))
    before: collections.Counter = collections.Counter()
    after: collections.Counter = collections.Counter()
    followers: dict[str, list[str]] = collections.defaultdict(list)
    for (first, second), count in sorted(pairs.items()):
        before[first] += count
        after[second] += count
        followers[first].append(second)
    total = sum(after.values())
    unigrams = {word: (count - _DISCOUNT) / total for word, count in after.items()}
    unigrams["<unk>"] = _DISCOUNT * len(after) / total
    backoff = {
        word: _DISCOUNT * len(seen) / before[word] / (1 - sum(unigrams[second] for second in seen))
        for word, seen in followers.items()
    }
    rows = [f"-99\t<s>\t{math.log10(backoff['<s>']):.5f}"]
    for word, probability in sorted(unigrams.items()):
        rows.append(f"{math.log10(probability):.5f}\t{word}\t{math.log10(backoff.get(word, 1.0)):.5f}")
    seen_pairs = [
        f"{math.log10((count - _DISCOUNT) / before[first]):.5f}\t{first} {second}"
        for (first, second), count in sorted(pairs.items())
    ]
    header = f"\\data\\\nngram 1={len(rows)}\nngram 2={len(seen_pairs)}\n"
    body = "\n".join(["", "\\1-grams:", *rows, "", "\\2-grams:", *seen_pairs, "", "\\end\\", ""])
    write_text(path, header + body)


def _means(results: Results, figure: str) -> dict[str, float]:
    return {way: sum(row[way][figure] for row in results.values()) / len(results) for way in WAYS}


def format_table(results: Results) -> str:
    """Test WER and CER in percent by language; one column for each way of decoding."""
    lines = [f"{'WER / CER, %':<14}" + "".join(f"{way:>22}" for way in WAYS)]
    table = {**results, "mean": {way: {name: _means(results, name)[way] for name in ("wer", "cer")} for way in WAYS}}
    for language, row in table.items():
        cells = [f"{percent([row[way]['wer']])} / {percent([row[way]['cer']])}" for way in WAYS]
        lines.append(f"{language:<14}" + "".join(f"{cell:>22}" for cell in cells))
    return "\n".join(lines)


def compare(results: Results) -> Comparison:
    """The mean WER, greedy and with the language model; no verdict where the languages differ."""
    means = _means(results, "wer")
    fell = [row[WAYS[2]]["wer"] < row[WAYS[0]]["wer"] for row in results.values()]
    unknown = sum(row["unknown_words"] for row in results.values()) / len(results)
    return Comparison(
        "WER 33.3 % without, 20.7 % with a 5-gram model: -38 % (FLEURS, 61 languages, dense model)",
        f"WER {100 * means[WAYS[0]]:.1f} % greedy, {100 * means[WAYS[1]]:.1f} % beam, {100 * means[WAYS[2]]:.1f} % with a "
        f"bigram model that lacks {100 * unknown:.0f} % of the words: {100 * (means[WAYS[2]] / means[WAYS[0]] - 1):+.0f} %",
        all(fell) if len(set(fell)) == 1 else None,
    )


def plot(results: Results, path: pathlib.Path) -> None:
    """WER by language, a bar for each way of decoding."""
    figure, axis = plt.subplots(figsize=(7, 4.5), constrained_layout=True)
    draw_bars(axis, {way: [row[way]["wer"] for row in results.values()] for way in WAYS}, list(results))
    axis.set(ylabel="word error rate (%)")
    save_figure(figure, path)
