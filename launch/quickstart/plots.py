"""Pictures of a quickstart: loss curves and a posteriorgram."""

import json
import pathlib
from typing import Any

import matplotlib
import numpy as np

from launch.quickstart import RECOGNIZERS

matplotlib.use("Agg")

import matplotlib.pyplot as plt

import mms_jax
from mms_jax.audio.read import read_audio
from mms_jax.decoding.timestamps import FRAME_SECONDS


def plot_all(folder: pathlib.Path) -> list[pathlib.Path]:
    """Draws all pictures of a finished quickstart; returns the files."""
    transcript = json.loads((folder / "results.json").read_text())["transcripts"][0]
    return [plot_losses(folder), plot_posteriors(folder, transcript)]


def plot_losses(folder: pathlib.Path) -> pathlib.Path:
    """Training loss and dev error rate of all recognizers; cross-entropy and accuracy of masked prediction on both."""
    figure, ((loss, errors), (prediction, accuracy)) = plt.subplots(2, 2, figsize=(11, 7), constrained_layout=True)
    for number, (run, label) in enumerate(RECOGNIZERS.items()):
        _draw(loss, folder / run, "loss_per_character", f"C{number}", label)
        _draw(errors, folder / run, "eval/cer", f"C{number}", label, scale=100, marker="o")
    loss.set(title="CTC, training", ylabel="loss per character (nats)", ylim=(0, None))
    errors.set(title="CTC, development set", ylabel="character error rate (%)", ylim=(0, None))
    _draw(prediction, folder / "pretrain", "cross_entropy", "C3", "training")
    _draw(prediction, folder / "pretrain", "eval/cross_entropy", "C4", "development set", marker="o")
    prediction.set(title="pretraining", ylabel="cross-entropy (nats)")
    _draw(accuracy, folder / "pretrain", "accuracy", "C3", "training", scale=100)
    _draw(accuracy, folder / "pretrain", "eval/accuracy", "C4", "development set", scale=100, marker="o")
    _draw(accuracy, folder / "pretrain", "chance", "0.4", "a guess, training", scale=100)
    _draw(accuracy, folder / "pretrain", "eval/chance", "0.7", "a guess, development set", scale=100)
    accuracy.set(title="pretraining", ylabel="clusters of masked frames (%)", ylim=(0, None))
    for axis in (loss, errors, prediction, accuracy):
        axis.set(xlabel="step", xlim=(0, None))
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    return _save(figure, folder / "loss_curves.png")


def plot_posteriors(folder: pathlib.Path, transcript: dict[str, str]) -> pathlib.Path:
    """The probability of every symbol over time, for one held-out recording; its reference and transcript above."""
    file, language = transcript["file"], transcript["language"]
    model = mms_jax.load_recognizer(folder / "asr")
    logits = model.logits([read_audio(file)], language=language)[0]
    posteriors = np.exp(logits - logits.max(axis=1, keepdims=True))
    posteriors /= posteriors.sum(axis=1, keepdims=True)
    used = np.flatnonzero(posteriors.max(axis=0) > 0.05)
    tokens = ["blank" if number == 0 else model.vocabulary.tokens_of(language)[number] for number in used]
    figure, axis = plt.subplots(figsize=(11, 0.22 * len(used) + 1.7), constrained_layout=True)
    extent = (0, len(posteriors) * FRAME_SECONDS, len(used) - 0.5, -0.5)
    picture = axis.imshow(
        posteriors[:, used].T, aspect="auto", interpolation="nearest", cmap="Greys", extent=extent, vmin=0, vmax=1
    )
    axis.set_yticks(range(len(used)), tokens)
    title = f"{pathlib.Path(file).name}\nreference:  {transcript['reference']}\ntranscript: {transcript['text']}"
    axis.set_title(title, loc="left", fontsize=10, family="monospace")
    axis.set(xlabel="seconds", ylabel="symbol")
    figure.colorbar(picture, label="posterior", pad=0.01)
    return _save(figure, folder / "posteriorgram.png")


def _draw(
    axis: Any, run: pathlib.Path, name: str, color: str, label: str, *, scale: float = 1, marker: str = ""
) -> None:
    """One figure of a run by step; nothing where the run lacks it."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    rows = [row for row in rows if name in row]
    if rows:
        values = [scale * row[name] for row in rows]
        axis.plot([row["step"] for row in rows], values, color=color, label=label, marker=marker, markersize=4)


def _save(figure: Any, path: pathlib.Path) -> pathlib.Path:
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path
