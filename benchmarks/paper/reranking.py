"""Claim: an identifier's choice of language is mended by how well the transcript of each language fits the recording.

The identifier of ten languages names candidates, the recognizer of eight of them transcribes in each, and the
romanized recognizer aligns the transcripts. Weights are tuned on the validation splits of the eight languages.
"""

import pathlib

import jiwer
import matplotlib.pyplot as plt
import numpy as np

import mms_jax
from benchmarks.paper import identification, label_minutes, languages, zero_shot
from benchmarks.paper.study import Comparison, Results, Study, draw_bars, save_figure
from input_pipeline.corpora.spoken_names import LANGUAGES
from input_pipeline.corpora.storage import as_text, open_corpus
from mms_jax.audio.flac import decode_flac
from mms_jax.errors import AudioError
from mms_jax.reranking.candidates import Candidate, find_candidates, shortlist
from mms_jax.reranking.scores import ALONE, RANKED, TRUTH, accuracy, character_errors, choices
from mms_jax.reranking.weights import Weights, tune_weights

TITLE = "identifier alone against re-ranking by transcripts"
READ = tuple(LANGUAGES)[:8]
TOP = 5
WAYS = (ALONE, RANKED, TRUTH)


def run(study: Study) -> Results:
    """Language accuracy and CER on the test, by way of choosing; and the weights."""
    label_minutes.encoder(study, study.budget.encoders[0])
    for language in LANGUAGES:
        languages.prepare(study, language)
    scored: Results = {"names": {str(min(identification.COUNTS)): {}}}
    identification.names(study, scored, min(identification.COUNTS), 0)
    languages.recognizer(study, READ, languages.SCORED, 0)
    identifier = mms_jax.load(f"{study.folder / f'lid_{min(identification.COUNTS)}_0'}@best", kind="identifier")
    recognizer = mms_jax.load_recognizer(f"{study.folder / languages.run_name(READ, 0)}@best")
    aligner = mms_jax.load_recognizer(f"{zero_shot.recognizer(study)}@best")
    choice = shortlist(identifier, recognizer.languages, READ, TOP)  # type: ignore[arg-type]
    tables = {}
    for split in ("validation", "test"):
        waveforms, texts, spoken = _recordings(study, split)
        tables[split] = (list(find_candidates(waveforms, choice, recognizer, aligner)), texts, spoken)
    candidates, texts, spoken = tables["validation"]
    errors = [[character_errors(text, one) for one in own] for text, own in zip(texts, _good(candidates))]
    weights = tune_weights(_good(candidates), spoken, errors)
    candidates, texts, spoken = tables["test"]
    return {
        "weights": vars(weights),
        "ways": _score(_good(candidates), texts, spoken, weights),
        "recordings": len(spoken),
    }


def _recordings(study: Study, split: str) -> tuple[list[np.ndarray], list[str], list[str]]:
    waveforms, texts, spoken = [], [], []
    for language in READ:
        for row in open_corpus(f"spoken_names/{language}", split, study.data).source:
            waveforms.append(decode_flac(row["audio"], as_text(row["id"]))[0])
            texts.append(as_text(row["text"]))
            spoken.append(language)
    return waveforms, texts, spoken


def _good(candidates: list[list[Candidate] | AudioError]) -> list[list[Candidate]]:
    return [own for own in candidates if not isinstance(own, AudioError)]


def _score(
    candidates: list[list[Candidate]], texts: list[str], spoken: list[str], weights: Weights
) -> dict[str, dict[str, float]]:
    return {
        way: {"accuracy": accuracy(found, spoken), "cer": jiwer.cer(texts, [one.text for one in found])}
        for way, found in choices(candidates, spoken, weights).items()
    }


def format_table(results: Results) -> str:
    """Accuracy and CER in percent, and the weights."""
    lines = [f"{results['recordings']:>4} recordings{'language right %':>27}{'CER %':>9}"]
    for way, row in results["ways"].items():
        lines.append(f"{way:<26}{100 * row['accuracy']:>16.1f}{100 * row['cer']:>9.1f}")
    told = ", ".join(f"{name} {value:.3g}" for name, value in results["weights"].items())
    return "\n".join([*lines, f"weights: {told}"])


def compare(results: Results) -> Comparison:
    """Accuracy and CER, identifier alone and re-ranked."""
    alone, ranked = (results["ways"][way] for way in WAYS[:2])
    gain = ranked["accuracy"] - alone["accuracy"]
    return Comparison(
        "re-ranking raises the accuracy on FLEURS by 8.7 %, and lowers the WER by 3.3 %",
        f"accuracy {100 * alone['accuracy']:.1f} % alone, {100 * ranked['accuracy']:.1f} % re-ranked; CER "
        f"{100 * alone['cer']:.1f} % and {100 * ranked['cer']:.1f} %",
        None if abs(gain) * results["recordings"] < 3 else gain > 0,
    )


def plot(results: Results, path: pathlib.Path) -> None:
    """Accuracy and CER by way of choosing."""
    figure, axis = plt.subplots(figsize=(7, 4), constrained_layout=True)
    rows = results["ways"]
    draw_bars(
        axis,
        {
            "language wrong": [1 - rows[way]["accuracy"] for way in WAYS],
            "character error rate": [rows[way]["cer"] for way in WAYS],
        },
        WAYS,
    )
    axis.set(ylabel="%")
    save_figure(figure, path)
