"""Figures of an identifier: accuracies, confusions, calibration, and the threshold below which a language is unknown."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.optimize
import scipy.special

TOP = 3
REFUSED = 0.05  # largest share of the right answers that a chosen threshold refuses
_HOTTEST = 20.0  # largest temperature; its inverse is the smallest
_BINS = 15  # of the calibration error, as in Guo et al. 2017


def fit_temperature(logits: np.ndarray, truth: np.ndarray) -> float:
    """The temperature under which the probabilities of the true languages are highest (Guo et al. 2017, section 4.2).

    As if one recording more had been wrong (Platt 1999, section 2.2): without any error, all certainty would be too little.

    Args:
      logits: float (recordings, languages).
      truth: int (recordings,), the language of each.

    Returns:
      By which logits are divided, from 0.05 to 20.
    """

    wrong = 1.0 / (len(truth) + 2)

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        target = (1.0 - wrong) * scaled[np.arange(len(truth)), truth] + wrong * scaled.mean(axis=1)
        return float(np.mean(scipy.special.logsumexp(scaled, axis=1) - target))

    bound = np.log(_HOTTEST)
    return float(np.exp(scipy.optimize.minimize_scalar(loss, bounds=(-bound, bound), method="bounded").x))


def calibration_error(probability: np.ndarray, right: np.ndarray) -> float:
    """The mean distance between the probability of an answer and the share of right answers, over fifteen bins.

    Args:
      probability: float (recordings,), of the best language.
      right: bool (recordings,).
    """
    places = np.minimum((probability * _BINS).astype(int), _BINS - 1)
    error = 0.0
    for place in np.unique(places):
        inside = places == place
        error += inside.mean() * abs(probability[inside].mean() - right[inside].mean())
    return float(error)


def operating_point(probability: np.ndarray, right: np.ndarray, threshold: float | None = None) -> dict[str, float]:
    """What a threshold on the best language's probability accepts and refuses.

    Args:
      probability: float (recordings,), of the best language.
      right: bool (recordings,); False for wrong answers, and for languages that the model lacks.
      threshold: None to choose one half, below which an answer is more probably wrong than right; or less, where that
        would refuse more than a twentieth of the right answers.

    Returns:
      "threshold"; "false_reject", the share of right answers below it; "false_accept", the share of wrong answers above.
    """
    if threshold is None:
        threshold = min(0.5, float(np.quantile(probability[right], REFUSED))) if right.any() else 0.0
    accepted = probability >= threshold
    return {
        "threshold": threshold,
        "false_reject": float(np.mean(~accepted[right])) if right.any() else 0.0,
        "false_accept": float(np.mean(accepted[~right])) if (~right).any() else 0.0,
    }


def identification_scores(
    logits: np.ndarray, truth: np.ndarray, spoken: Sequence[str], languages: Sequence[str],
    calibration: dict[str, float] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The figures of an evaluation.

    Args:
      logits: float (recordings, languages).
      truth: int (recordings,), negative for a language that the model lacks.
      spoken: the language of each recording, ISO 639-3.
      languages: of the model, in the order of the logits.
      calibration: "temperature" and "threshold" from other recordings; None fits them to these.

    Returns:
      Shares from 0 to 1: "accuracy"; "macro_accuracy", the mean over languages; "top3"; "chance", of always naming the
      language that is most frequent here; "calibration_error" before and "calibrated_error" after the temperature; the
      operating point; "by_language" and "confusions", counts of wrong answers by true and named language. Accuracies are
      over recordings in languages of the model; others, counted by "unknown_languages", should be below the threshold.
    """
    known = truth >= 0
    inside, wanted = logits[known], truth[known]
    best = logits.argmax(axis=1)
    right = best == truth
    order = np.argsort(-inside, axis=1)[:, :TOP]
    temperature = (
        calibration["temperature"] if calibration else (fit_temperature(inside, wanted) if known.any() else 1.0)
    )
    plain, cooled = (scipy.special.softmax(logits / heat, axis=1).max(axis=1) for heat in (1.0, temperature))
    by_language: dict[str, dict[str, float]] = {}
    confusions: dict[str, dict[str, int]] = {}
    for language in sorted(set(spoken)):
        rows = np.asarray([other == language for other in spoken])
        named = [languages[number] for number in best[rows & ~right]]
        if named:
            confusions[language] = {name: named.count(name) for name in sorted(set(named))}
        if known[rows].any():
            by_language[language] = {"accuracy": float(right[rows].mean()), "utterances": int(rows.sum())}
    counts = np.bincount(wanted, minlength=len(languages))
    return {
        "accuracy": float(right[known].mean()) if known.any() else 0.0,
        "macro_accuracy": float(np.mean([row["accuracy"] for row in by_language.values()])) if by_language else 0.0,
        f"top{TOP}": float((order == wanted[:, None]).any(axis=1).mean()) if known.any() else 0.0,
        "chance": float(counts.max() / max(1, counts.sum())),
        "utterances": int(known.sum()),
        "unknown_languages": int((~known).sum()),
        "temperature": temperature,
        "calibration_error": calibration_error(plain[known], right[known]),
        "calibrated_error": calibration_error(cooled[known], right[known]),
        **operating_point(cooled, right, calibration["threshold"] if calibration else None),
        "by_language": by_language,
        "confusions": confusions,
    }
