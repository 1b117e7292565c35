"""Claim: a recognizer of romanized text reads languages that it has never learned, given a list of their words.

One recognizer learns 32 languages of synthetic names in romanized letters, and reads two others of these, and natural Dutch
by one reader, with the words of their transcripts. Chance is the word error rate of the same answers in another order.
"""

import pathlib
from collections.abc import Sequence

import jiwer
import matplotlib.pyplot as plt
import numpy as np

import mms_jax
from benchmarks.paper import label_minutes, languages
from benchmarks.paper.study import Comparison, Results, Study, draw_bars, save_figure, steps_arguments
from input_pipeline.corpora.spoken_names import LANGUAGES
from input_pipeline.corpora.storage import as_text, open_corpus, open_splits
from launch.steps import trains_on
from mms_jax.audio.flac import decode_flac
from mms_jax.decoding.zero_shot import ZeroShotSettings
from mms_jax.files import write_text
from mms_jax.text.roman_labels import roman_text

TITLE = "reading languages that were never learned"
LEARNED = 32
UNSEEN = ("nld", "bul")
READER = "a reader of nld"
WORD_SCORES = (-3.5, -1.0, 0.0)  # tried on the validation split
BEAM = 100
FIGURES = ("wer", "chance", "cer", "greedy_cer")


def run(study: Study) -> Results:
    """Error rates of each unseen language: with its word list, by chance, and of the greedy romanized text."""
    label_minutes.encoder(study, study.budget.encoders[0])
    label_minutes.prepare(study)
    for language in (*list(LANGUAGES)[:LEARNED], *UNSEEN):
        languages.prepare(study, language)
    model = mms_jax.load_recognizer(f"{recognizer(study)}@best")
    sets = {language: f"spoken_names/{language}" for language in UNSEEN} | {READER: "audio_folder/labels"}
    return {name: _read(study, model, name, corpus) for name, corpus in sets.items()}


def recognizer(study: Study) -> pathlib.Path:
    """The folder of the romanized recognizer."""
    learned = list(LANGUAGES)[:LEARNED]
    dev = tuple(f"spoken_names/{language}:validation" for language in languages.SCORED)
    study.evaluated(
        "roman",
        "asr_minutes",
        *steps_arguments(study.budget.updates),
        "--config.labels.romanized=True",
        "--config.input.bucket_seconds=(4.0,8.0,12.0)",
        trains_on(*(f"spoken_names/{language}:train" for language in learned)),
        f"--config.input.dev_corpora={dev!r}",
        f"--config.input.eval_corpora={dev!r}",
        f"--config.init_from={study.folder / study.budget.encoders[0]}",
        best=True,
    )
    return study.folder / "roman"


def _read(study: Study, model: mms_jax.Recognizer, name: str, corpus: str) -> dict[str, float]:
    language = name.split()[-1]
    words = study.folder / "words" / f"{corpus.replace('/', '_')}.txt"
    words.parent.mkdir(exist_ok=True)
    texts = [as_text(row["text"]) for part in open_splits(corpus, str(study.data)).values() for row in part.source]
    write_text(words, "\n".join(sorted({word for text in texts for word in text.split()})) + "\n")
    tuning, test = (_waveforms(study, corpus, split) for split in ("validation", "test"))

    def decode(data: tuple[list[np.ndarray], list[str]], word_score: float) -> list[str]:
        settings = ZeroShotSettings(str(words), language, word_score=word_score, beam=BEAM)
        return [one.text for one in model.transcribe(data[0], language="und", beam=settings)]

    best = min(WORD_SCORES, key=lambda score: jiwer.wer(tuning[1], decode(tuning, score)))
    found = decode(test, best)
    greedy = [one.text for one in model.transcribe(test[0], language="und")]
    return {
        "wer": jiwer.wer(test[1], found),
        "chance": jiwer.wer(test[1], found[1:] + found[:1]),
        "cer": jiwer.cer(test[1], found),
        "greedy_cer": jiwer.cer([roman_text(text, language) for text in test[1]], greedy),
        "words": len(words.read_text().split()),
        "word_score": best,
    }


def _waveforms(study: Study, corpus: str, split: str) -> tuple[list[np.ndarray], list[str]]:
    records = list(open_corpus(corpus, split, study.data).source)
    return [decode_flac(row["audio"], as_text(row["id"]))[0] for row in records], [
        as_text(row["text"]) for row in records
    ]


def format_table(results: Results) -> str:
    """Error rates in percent."""
    lines = [f"{'%':<18}{'WER':>8}{'chance':>8}{'CER':>8}{'romanized CER, greedy':>24}{'words':>8}"]
    for name, row in results.items():
        cells = "".join(f"{100 * row[figure]:>{width}.1f}" for figure, width in zip(FIGURES, (8, 8, 8, 24)))
        lines.append(f"{name:<18}{cells}{row['words']:>8}")
    return "\n".join(lines)


def compare(results: Results) -> Comparison:
    """The word error rate against that of shuffled answers."""
    told = ", ".join(
        f"{100 * row['wer']:.0f} % for {name} (chance {100 * row['chance']:.0f})" for name, row in results.items()
    )
    gains = [row["chance"] - row["wer"] for row in results.values()]
    return Comparison(
        "unseen languages are read with 2.5 times the CER of supervised models",
        f"WER {told}",
        True if min(gains) > 0.2 else False if max(gains) < 0.05 else None,
    )


def plot(results: Results, path: pathlib.Path) -> None:
    """Word error rates beside chance."""
    figure, axis = plt.subplots(figsize=(7, 4), constrained_layout=True)
    bars: dict[str, Sequence[float]] = {
        name: [row[key] for row in results.values()] for name, key in (("with word list", "wer"), ("chance", "chance"))
    }
    draw_bars(axis, bars, list(results))
    axis.set(ylabel="word error rate (%)")
    save_figure(figure, path)
