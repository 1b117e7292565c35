"""The weights by which candidates are ranked: applied, tuned on recordings of known languages, stored.

The released tuner of the original measures its accuracy against the languages of the wrong list; here, accuracy is measured
against the languages that were spoken.
"""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from mms_jax.errors import InputError
from mms_jax.files import read_json, write_json
from mms_jax.reranking.candidates import FEATURES, Candidate

DRAWS = 10_000
# The ranges from which weights are drawn, those of the original; the identifier alone is the first draw.
_RANGES = {"identifier": (0.0, 100.0), "recognizer": (0.0, 10.0), "alignment": (0.0, 10.0), "length": (-0.5, 0.5)}
_CHUNK = 500


@dataclasses.dataclass(frozen=True)
class Weights:
    """Factors of the features; the language with the highest sum is chosen.

    Attributes:
      identifier, recognizer, alignment, length: see `Candidate.features`.
    """

    identifier: float = 1.0
    recognizer: float = 0.0
    alignment: float = 0.0
    length: float = 0.0

    def best(self, candidates: Sequence[Candidate]) -> Candidate:
        """The candidate with the highest sum; of equals the first."""
        factors = [getattr(self, name) for name in FEATURES]
        return max(candidates, key=lambda one: float(np.dot(factors, one.features)))

    def save(self, path: pathlib.Path) -> None:
        """Writes a JSON file."""
        write_json(path, dataclasses.asdict(self))

    @classmethod
    def load(cls, path: pathlib.Path) -> "Weights":
        """The inverse of `save`. Raises InputError for another file."""
        fields = read_json(path, InputError)
        if not isinstance(fields, dict) or set(fields) != set(FEATURES):
            raise InputError(f"{path}: holds no weights of mms-jax rerank, which are {', '.join(FEATURES)}")
        if not all(isinstance(value, int | float) for value in fields.values()):
            raise InputError(f"{path}: a weight is no number")
        return cls(**{name: float(value) for name, value in fields.items()})


def tune_weights(
    candidates: Sequence[Sequence[Candidate]],
    spoken: Sequence[str],
    errors: Sequence[Sequence[int]] | None = None,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Weights:
    """The weights, of many random ones, that name the most languages rightly; of equals, with the fewest errors.

    Args:
      candidates: of each recording.
      spoken: the language of each.
      errors: for each candidate the character errors of its transcript; None to tune for the language alone.
      draws: number of random weights; the identifier alone is one of them, so that the result is never worse on these.
      seed: of the draws.
    """
    if not candidates:
        raise InputError("no recording to tune on")
    rng = np.random.default_rng(seed)
    low, high = (np.asarray([_RANGES[name][side] for name in FEATURES]) for side in (0, 1))
    drawn = rng.uniform(low, high, (draws, len(FEATURES)))
    drawn[0] = [1.0, 0.0, 0.0, 0.0]
    most = max(map(len, candidates))
    features = np.zeros((len(candidates), most, len(FEATURES)))
    absent = np.ones((len(candidates), most), bool)
    right, cost = np.zeros(absent.shape), np.zeros(absent.shape)
    for row, own in enumerate(candidates):
        features[row, : len(own)] = [one.features for one in own]
        absent[row, : len(own)] = False
        right[row, : len(own)] = [one.language == spoken[row] for one in own]
        if errors is not None:
            cost[row, : len(own)] = errors[row]
    drawn[:, ~np.any(features, axis=(0, 1))] = 0.0  # a feature that was not measured gets no weight
    best: tuple[float, float] | None = None
    chosen = drawn[0]
    for first in range(0, draws, _CHUNK):
        part = drawn[first : first + _CHUNK]
        scores = np.where(absent[:, :, None], -np.inf, features @ part.T)
        picked = scores.argmax(axis=1)  # (recordings, draws)
        rows = np.arange(len(candidates))[:, None]
        found = np.stack([right[rows, picked].sum(axis=0), -cost[rows, picked].sum(axis=0)])
        for column, value in enumerate(zip(*found.tolist())):
            if best is None or value > best:
                best, chosen = value, part[column]
    return Weights(**dict(zip(FEATURES, chosen.tolist())))
