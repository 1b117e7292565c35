"""Corpora and batches of the right shapes without any speech, from which a task and its training step are made."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from input_pipeline.corpora.index import Index
from input_pipeline.corpora.storage import Corpus, make_utterance
from input_pipeline.dataset import training_data
from mms_jax import sharding
from mms_jax.audio.waveform import SAMPLE_RATE
from mms_jax.tasks.base import Task

CHARACTERS_PER_SECOND = 15  # of transcripts, about those of read speech
_FIRST_LETTER = 0x4E00  # letters of any number: a block without cases or marks


@dataclasses.dataclass(frozen=True)
class Noise:
    """Records of one length; each is as good as any other.

    Attributes:
      languages: of the records, in turn.
      text: of each record.
      seconds: of each record.
      count: of the records.
    """

    languages: tuple[str, ...]
    text: str
    seconds: float
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, place: Any) -> Mapping[str, Any]:
        noise = np.random.default_rng(place).normal(0, 0.1, int(self.seconds * SAMPLE_RATE)).astype(np.float32)
        language = self.languages[place % len(self.languages)]
        return make_utterance(noise, identity=str(place), text=self.text, language=language, speaker="one")


def stand_in_corpus(config: ConfigDict, languages: int, symbols: int) -> Corpus:
    """A corpus whose utterances all have the length of the config's longest bucket.

    Args:
      config: `config.input`.
      languages: their number; their codes mean nothing.
      symbols: letters of each language.
    """
    seconds = float(config.bucket_seconds[-1])
    count = max(languages, config.batch_rows, int(config.batch_seconds / seconds), 1)
    letters = "".join(chr(_FIRST_LETTER + number) for number in range(symbols))
    limit = config.max_characters or round(CHARACTERS_PER_SECOND * seconds)
    characters = min(limit, round(CHARACTERS_PER_SECOND * seconds))
    names = tuple(_code(number) for number in range(languages))
    records = Noise(names, (letters * characters)[:characters], seconds, count)
    index = Index.from_records(
        np.full(count, seconds, np.float32),
        (names, np.arange(count) % languages),
        np.full(count, characters, np.int32),
        (("one",), np.zeros(count, int)),
        dict.fromkeys(names, letters),
    )
    return Corpus("stand-in:train", records, index)  # type: ignore[arg-type]


def _code(number: int) -> str:
    """Three letters for each number below 26**3."""
    return "".join(chr(ord("a") + number // 26**place % 26) for place in (2, 1, 0))


def abstract_batch(config: ConfigDict, corpus: Corpus, task: Task, mesh: jax.sharding.Mesh) -> dict[str, Any]:
    """The largest batch of a config, as ShapeDtypeStructs on the mesh.

    Args:
      config: the experiment.
      corpus: of `stand_in_corpus`.
      task: made from it.
      mesh: over which the rows are spread.
    """
    plan, decoder = training_data(config.input, [corpus], task.needs, config.seed)
    planned = plan.batch(0)
    place = sharding.batch_sharding(mesh)
    one_row: dict[str, Any] = {**decoder(planned, [0])}
    return {
        name: jax.ShapeDtypeStruct((len(planned.items), *value.shape[1:]), value.dtype, sharding=place)
        for name, value in one_row.items()
    }
