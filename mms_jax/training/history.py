"""The data that a model has learned from; its description holds it, so that users know what to expect of the model."""

from collections.abc import Sequence
from typing import Any

from input_pipeline.corpora.storage import Corpus
from input_pipeline.dataset import language_hours


def training_history(corpora: Sequence[Corpus], started_from: dict[str, Any] | None, init_from: str) -> dict[str, Any]:
    """The field "history" of a description.

    Args:
      corpora: of this run.
      started_from: the history of the model that it started from; None where that has none.
      init_from: the name of that model; "" where the run started afresh.

    Returns:
      corpora, their names; hours by language; synthetic, whether all speech that the model has heard, here and before, was
      synthesized; init_from and started_from, where the run started from another model.
    """
    synthetic = all(corpus.synthetic for corpus in corpora)
    history: dict[str, Any] = {
        "corpora": [corpus.name for corpus in corpora],
        "hours": {language: round(hours, 4) for language, hours in sorted(language_hours(corpora).items())},
        "synthetic": synthetic and (not init_from or bool(started_from and started_from.get("synthetic"))),
    }
    if init_from:
        history |= {"init_from": init_from, "started_from": started_from}
    return history
