"""What can be wrong with a recording."""

from collections.abc import Iterable
from typing import TypeVar

Result = TypeVar("Result")


class AudioError(ValueError):
    """A recording that cannot be used. The message names the file, what is wrong and what to do about it."""


def all_or_raise(results: Iterable[Result | AudioError]) -> list[Result]:
    """The results, if none of them is an AudioError; otherwise raises the first."""
    kept = []
    for result in results:
        if isinstance(result, AudioError):
            raise result
        kept.append(result)
    return kept
