"""Corpora and batches of the right shapes without any speech, from which a task and its training step are made."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from input_pipeline.corpora.storage import Corpus, Index, make_utterance
from input_pipeline.dataset import training_data
from mms_jax import sharding
from mms_jax.audio.waveform import SAMPLE_RATE
from mms_jax.tasks.base import Task

CHARACTERS_PER_SECOND = 15  # of transcripts, about those of read speech
_FIRST_LETTER = 0x4E00  # letters of any number: a block without cases or marks


@dataclasses.dataclass(frozen=True)
class Noise:
    """Records of one length; each is as good as any other."""

    index: Index

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, place: Any) -> Mapping[str, Any]:
        seconds, letters = float(self.index.seconds[place]), self.index.alphabets[str(self.index.language[place])]
        noise = np.random.default_rng(place).normal(0, 0.1, int(seconds * SAMPLE_RATE)).astype(np.float32)
        return make_utterance(
            noise,
            identity=str(place),
            text=(letters * int(self.index.characters[place]))[: int(self.index.characters[place])],
            language=str(self.index.language[place]),
            speaker=str(self.index.speaker[place]),
        )


def stand_in_corpus(config: ConfigDict, languages: int, symbols: int) -> Corpus:
    """A corpus whose utterances all have the length of the config's longest bucket.

    Args:
      config: `config.input`.
      languages: their number; their codes mean nothing.
      symbols: letters of each language.
    """
    seconds = float(config.bucket_seconds[-1])
    count = max(languages, config.batch_rows, int(config.batch_seconds / seconds), 1)
    names = [_code(number) for number in range(languages)]
    letters = "".join(chr(_FIRST_LETTER + number) for number in range(symbols))
    limit = config.max_characters or round(CHARACTERS_PER_SECOND * seconds)
    index = Index(
        seconds=np.full(count, seconds, np.float32),
        language=np.asarray([names[number % languages] for number in range(count)]),
        characters=np.full(count, min(limit, round(CHARACTERS_PER_SECOND * seconds)), np.int32),
        alphabets=dict.fromkeys(names, letters),
        speaker=np.full(count, "one"),
    )
    return Corpus("stand-in:train", Noise(index), index)  # type: ignore[arg-type]


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
    one_row: dict[str, Any] = {**decoder(planned, slice(0, 1))}
    return {
        name: jax.ShapeDtypeStruct((len(planned.items), *value.shape[1:]), value.dtype, sharding=place)
        for name, value in one_row.items()
    }
