"""What a choice of languages is worth: by the identifier alone, re-ranked, and by somebody who knows."""

from collections.abc import Sequence

import jiwer

from mms_jax.reranking.candidates import Candidate
from mms_jax.reranking.weights import Weights

ALONE, RANKED, TRUTH = "identifier alone", "re-ranked", "right, where a candidate"


def choices(
    candidates: Sequence[Sequence[Candidate]], spoken: Sequence[str], weights: Weights
) -> dict[str, list[Candidate]]:
    """The chosen candidate of each recording, by way of choosing.

    Args:
      candidates: of each recording, the identifier's best first.
      spoken: the language of each.
      weights: for re-ranking.
    """
    known = [
        next((one for one in own if one.language == language), own[0]) for own, language in zip(candidates, spoken)
    ]
    return {
        ALONE: [Weights().best(own) for own in candidates],
        RANKED: [weights.best(own) for own in candidates],
        TRUTH: known,
    }


def accuracy(chosen: Sequence[Candidate], spoken: Sequence[str]) -> float:
    """The share of recordings whose language was chosen."""
    return sum(one.language == language for one, language in zip(chosen, spoken)) / len(chosen)


def character_errors(text: str, candidate: Candidate) -> int:
    """Character errors of a transcript; 0 where there is no text to compare with."""
    if not text:
        return 0
    counts = jiwer.process_characters(text, candidate.text)
    return counts.substitutions + counts.deletions + counts.insertions
