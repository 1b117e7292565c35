"""Language identification with a restored model: recordings or waveforms in, languages and probabilities out."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from mms_jax.audio.inputs import check_waveforms
from mms_jax.audio.waveform import SAMPLE_RATE
from mms_jax.errors import AudioError, InputError
from mms_jax.inference.windows import Progress, Recordings, Waveforms, WindowedModel, all_or_raise
from mms_jax.models.description import Description, origin_of
from mms_jax.models.functional import FunctionalModel, Params
from mms_jax.models.wav2vec2.config import Wav2Vec2Config
from mms_jax.models.wav2vec2.heads import Wav2Vec2ForIdentification


@dataclasses.dataclass(frozen=True)
class Identification:
    """The languages that a recording may be in.

    Attributes:
      languages: (ISO 639-3, probability), most probable first.
      seconds: the recording's length.
    """

    languages: list[tuple[str, float]]
    seconds: float

    def __repr__(self) -> str:
        best = ", ".join(f"{language} {probability:.3f}" for language, probability in self.languages)
        return f"Identification({best}; seconds={self.seconds:.2f})"


class Identifier:
    """A model that identifies languages, jitted once for each bucket of lengths.

    Attributes:
      languages: the languages that it distinguishes, in the order of its logits.
      origin: what it has learned from, where that is known; see `mms_jax.models.description`.
    """

    def __init__(
        self,
        config: Wav2Vec2Config,
        description: Description,
        params: Params,
        dtype: Any = jnp.float32,
    ):
        """Makes an identifier from restored parameters.

        Args:
          config: the geometry.
          description: of the checkpoint.
          params: as `find_model` gives them.
          dtype: the type in which the encoder computes.
        """
        self.languages: tuple[str, ...] = tuple(description["languages"])
        self.origin = origin_of(description)
        model = FunctionalModel.abstract(
            lambda key: Wav2Vec2ForIdentification(
                config, description["latent"], len(self.languages), activation=description["activation"],
                dtype=dtype, rngs=nnx.Rngs(params=key),
            )
        )  # fmt: skip

        def forward(params: Params, waveforms: jax.Array, lengths: jax.Array, _: jax.Array) -> jax.Array:
            return model.bind(params).project(waveforms, lengths)[0]

        params = jax.device_put(params)
        self._model = WindowedModel(config, params, forward)
        self._classify = jax.jit(lambda mean: model.bind(params).classify(mean))

    def __repr__(self) -> str:
        return f"Identifier({len(self.languages)} languages)"

    def identify(self, recordings: Recordings, *, top: int = 3, rate: int = SAMPLE_RATE) -> list[Identification]:
        """The most probable languages of recordings of any format, rate and length.

        Args:
          recordings: paths of files; or waveforms, float (samples,), mono, not normalized.
          top: how many languages, most probable first.
          rate: samples per second of the waveforms; files state their own.

        Raises:
          AudioError: a recording cannot be used; the message names it. `identify_each` continues with the others.
          InputError: a single path or array in place of a list, an array of another form, or `top` below 1.
        """
        return all_or_raise(self.identify_each(recordings, top=top, rate=rate))

    def identify_each(
        self, recordings: Recordings, *, top: int = 3, rate: int = SAMPLE_RATE, progress: Progress | None = None
    ) -> Iterator[Identification | AudioError]:
        """Like `identify`, but yields an AudioError in place of the answer for a recording that cannot be used.

        Args:
          recordings, top, rate: as for `identify`.
          progress: called with the seconds of audio of each piece that is done.
        """
        if top < 1:
            raise InputError(f"top={top}: ask for at least one language")

        def finish(_: int, sums: list[tuple[np.ndarray, int]], seconds: float) -> Identification:
            return Identification(self._best(sums, top), seconds)

        return self._model.on_recordings(recordings, _sum_over_frames, finish, rate=rate, progress=progress)

    def logits(self, waveforms: Waveforms, *, rate: int = SAMPLE_RATE) -> list[np.ndarray]:
        """Scores of every language: float32 (languages,) for each waveform; see `Recognizer.logits` for these."""
        check_waveforms(waveforms, rate)
        latents = self._model.on_waveforms(waveforms, rate=rate)
        return [np.asarray(self._classify(latent.mean(axis=0))) for latent in latents]

    def _best(self, sums: Sequence[tuple[np.ndarray, int]], top: int) -> list[tuple[str, float]]:
        mean = sum(total for total, _ in sums) / sum(frames for _, frames in sums)
        probabilities = np.asarray(jax.nn.softmax(self._classify(np.asarray(mean, np.float32))))
        best = np.argsort(-probabilities)[:top]
        return [(self.languages[number], float(probabilities[number])) for number in best]


def _sum_over_frames(_: int, latent: np.ndarray) -> tuple[np.ndarray, int]:
    return latent.sum(axis=0, dtype=np.float64), len(latent)
