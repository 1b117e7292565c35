"""Errors of aligned verses against reference times, from JSON or Praat's TextGrid."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mms_jax.errors import AlignmentError

TIER = "verses"
LOST_SECONDS = 1.0  # a verse that is further off is lost
_CLOSE_SECONDS = 0.2
Times = Sequence[tuple[float, float]]  # start and end of each verse, in seconds


def read_times(path: pathlib.Path, tier: str = TIER) -> list[tuple[float, float]]:
    """The verses of a reference.

    Args:
      path: a .json file, a list of {"start", "end"} or an object with such a list as "verses", as `mms-jax align` writes
        them; or a .TextGrid file.
      tier: of a TextGrid; intervals without text are pauses.

    Raises:
      AlignmentError: another file, or no such tier.
    """
    if path.suffix.lower() == ".textgrid":
        return _tier_times(path, tier)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        verses = content["verses"] if isinstance(content, dict) else content
        return [(float(verse["start"]), float(verse["end"])) for verse in verses]
    except (ValueError, KeyError, TypeError) as error:
        raise AlignmentError(
            f"{path}: holds no verses with start and end ({error}); give JSON or a TextGrid"
        ) from error


def _tier_times(path: pathlib.Path, tier: str) -> list[tuple[float, float]]:
    from praatio import textgrid
    from praatio.utilities.errors import PraatioException

    try:
        grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=False)
    except (PraatioException, ValueError, IndexError, UnicodeError) as error:
        raise AlignmentError(f"{path}: is no TextGrid that can be read ({error})") from error
    if tier not in grid.tierNames:
        raise AlignmentError(f"{path}: has no tier {tier!r}; it has {', '.join(grid.tierNames)}; name one with --tier")
    return [(float(entry.start), float(entry.end)) for entry in grid.getTier(tier).entries]


def boundary_errors(found: Mapping[str, Times], wanted: Mapping[str, Times]) -> dict[str, Any]:
    """Compares verses with their reference, by chapter; the verses of a chapter are compared in order.

    Args:
      found: verses of aligned chapters, by name.
      wanted: of the references, by name; a chapter that is not in `found` is lost as a whole.

    Returns:
      median_ms and p95_ms of the absolute error over all starts and ends, within_200_ms as a share, verses, and lost: verses
      that are missing or more than a second off; and by_chapter {"median_ms", "verses", "lost"}.
    """
    every: list[np.ndarray] = []
    by_chapter: dict[str, dict[str, Any]] = {}
    for name, times in wanted.items():
        there = np.asarray(found.get(name, ())).reshape(-1, 2)
        exact = np.asarray(times).reshape(-1, 2)
        count = min(len(there), len(exact))
        own = np.abs(there[:count] - exact[:count])
        lost = abs(len(there) - len(exact)) + int((own.max(axis=1, initial=0.0) > LOST_SECONDS).sum())
        by_chapter[name] = {"median_ms": _milliseconds(own, 50), "verses": count, "lost": lost}
        every.append(own)
    error = np.concatenate(every) if every else np.zeros((0, 2))
    return {
        "median_ms": _milliseconds(error, 50),
        "p95_ms": _milliseconds(error, 95),
        "within_200_ms": round(float((error <= _CLOSE_SECONDS).mean()), 4) if error.size else 0.0,
        "verses": len(error),
        "lost": sum(row["lost"] for row in by_chapter.values()),
        "by_chapter": by_chapter,
    }


def _milliseconds(error: np.ndarray, percentile: float) -> float:
    return round(1000 * float(np.percentile(error, percentile)), 1) if error.size else float("nan")


def format_boundary_errors(scores: dict[str, Any]) -> str:
    """A line for each chapter, the worst first, and one for all."""
    lines = [f"{'chapter':<40}{'median ms':>10}{'verses':>8}{'lost':>6}"]
    rows = sorted(
        scores["by_chapter"].items(), key=lambda item: (-item[1]["lost"], -np.nan_to_num(item[1]["median_ms"]))
    )
    for name, row in rows:
        lines.append(f"{name:<40}{row['median_ms']:>10.1f}{row['verses']:>8}{row['lost']:>6}")
    lines.append(f"{'all':<40}{scores['median_ms']:>10.1f}{scores['verses']:>8}{scores['lost']:>6}")
    lines.append(f"95 % below {scores['p95_ms']:.1f} ms, {100 * scores['within_200_ms']:.1f} % within 200 ms")
    return "\n".join(lines)
