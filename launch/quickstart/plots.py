"""Pictures of a quickstart: loss curves and a posteriorgram."""

import json
import pathlib

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
    return [plot_losses(folder), plot_posteriors(folder, transcript["file"], transcript["language"])]


def plot_losses(folder: pathlib.Path) -> pathlib.Path:
    """CTC loss of all recognizers, and the contrastive loss of pretraining, by step."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), constrained_layout=True)
    for run, label in RECOGNIZERS.items():
        steps, values = _curve(folder / run, "loss_per_character")
        left.plot(steps, values, label=label)
    left.set(title="CTC fine-tuning", xlabel="step", ylabel="loss per character (nats)", ylim=(0, None))
    left.legend()
    steps, values = _curve(folder / "pretrain", "contrastive")
    right.plot(steps, values, color="tab:green", label="contrastive loss (nats)")
    right.set(title="pretraining", xlabel="step", ylabel="contrastive loss (nats)")
    accuracy = right.twinx()
    steps, values = _curve(folder / "pretrain", "accuracy")
    accuracy.plot(steps, 100 * np.asarray(values), color="tab:gray", linestyle=":")
    accuracy.set_ylabel("accuracy (%), dotted")
    path = folder / "loss_curves.png"
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


def plot_posteriors(folder: pathlib.Path, file: str, language: str) -> pathlib.Path:
    """The probability of every symbol over time, for one held-out recording."""
    model = mms_jax.load_recognizer(folder / "asr")
    logits = model.logits([read_audio(file)], language=language)[0]
    posteriors = np.exp(logits - logits.max(axis=1, keepdims=True))
    posteriors /= posteriors.sum(axis=1, keepdims=True)
    used = np.flatnonzero(posteriors.max(axis=0) > 0.05)
    tokens = ["blank" if number == 0 else model.vocabulary.tokens_of(language)[number] for number in used]
    figure, axis = plt.subplots(figsize=(11, 0.22 * len(used) + 1.5), constrained_layout=True)
    extent = (0, len(posteriors) * FRAME_SECONDS, len(used) - 0.5, -0.5)
    picture = axis.imshow(
        posteriors[:, used].T, aspect="auto", interpolation="nearest", cmap="magma", extent=extent, vmin=0, vmax=1
    )
    axis.set_yticks(range(len(used)), tokens)
    text = model.transcribe([file], language=language)[0].text
    axis.set(xlabel="seconds", title=f"{pathlib.Path(file).name}: {text}")
    figure.colorbar(picture, label="posterior")
    path = folder / "posteriorgram.png"
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


def _curve(run: pathlib.Path, name: str) -> tuple[list[int], list[float]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    rows = [row for row in rows if name in row]
    return [row["step"] for row in rows], [row[name] for row in rows]
