"""What restored models do besides recognising: features of an encoder, languages of recordings."""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from mms_jax.audio.errors import AudioError, all_or_raise
from mms_jax.models.functional import FunctionalModel, Params
from mms_jax.models.wav2vec2.config import Wav2Vec2Config
from mms_jax.models.wav2vec2.heads import Wav2Vec2ForIdentification
from mms_jax.models.wav2vec2.model import Wav2Vec2
from mms_jax.windowed import WindowedModel


class Encoder:
    """The backbone of any model: waveforms in, context vectors out."""

    def __init__(self, config: Wav2Vec2Config, params: Params, dtype: Any = jnp.float32):
        """Makes an encoder of restored parameters; heads among them are left out."""
        model = FunctionalModel.abstract(lambda key: Wav2Vec2(config, dtype=dtype, rngs=nnx.Rngs(params=key)))

        def forward(params: Params, waveforms: jax.Array, lengths: jax.Array, _: jax.Array) -> jax.Array:
            return model.bind(params)(waveforms, lengths).context.astype(jnp.float32)

        self._model = WindowedModel(config, params["backbone"], forward)

    def features(self, waveforms: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The encoder's output after its last norm.

        Args:
          waveforms: float (samples,), mono, 16 kHz, not normalised, any length from 400 samples on.

        Returns:
          float32 (frames, hidden) for each.
        """
        return self._model.on_waveforms(waveforms)


@dataclasses.dataclass(frozen=True)
class Identification:
    """The languages that a recording may be in.

    Attributes:
      languages: (ISO 639-3, probability), most probable first.
      seconds: the recording's length.
    """

    languages: list[tuple[str, float]]
    seconds: float


class Identifier:
    """Names the language of a recording.

    Attributes:
      languages: those it knows, in the order of its logits.
    """

    def __init__(self, config: Wav2Vec2Config, description: dict[str, Any], params: Params, dtype: Any = jnp.float32):
        """Makes an identifier of restored parameters.

        Args:
          config: the geometry.
          description: "languages", "latent" (width of the projection), "activation" (after the mean over frames).
          params: as `find_model` gives them.
          dtype: in which the encoder computes.
        """
        self.languages: tuple[str, ...] = tuple(description["languages"])
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

    def identify(self, files: Sequence[str | os.PathLike], *, top: int = 3) -> list[Identification]:
        """The most probable languages of recordings of any format, rate and length.

        Raises:
          AudioError: a file cannot be used; the message names it. `identify_each` goes on with the others.
        """
        return all_or_raise(self.identify_each(files, top=top))

    def identify_each(
        self, files: Sequence[str | os.PathLike], *, top: int = 3
    ) -> Iterator[Identification | AudioError]:
        """Like `identify`, but yields an AudioError in place of the answer for a file that cannot be used."""

        def finish(_: int, sums: list[tuple[np.ndarray, int]], seconds: float) -> Identification:
            return Identification(self._best(sums, top), seconds)

        return self._model.on_files(files, _sum_over_frames, finish)

    def logits(self, waveforms: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Scores of every language: float32 (languages,) for each 16 kHz waveform."""
        return [np.asarray(self._classify(latent.mean(axis=0))) for latent in self._model.on_waveforms(waveforms)]

    def _best(self, sums: Sequence[tuple[np.ndarray, int]], top: int) -> list[tuple[str, float]]:
        mean = sum(total for total, _ in sums) / sum(frames for _, frames in sums)
        probabilities = np.asarray(jax.nn.softmax(self._classify(np.asarray(mean, np.float32))))
        best = np.argsort(-probabilities)[:top]
        return [(self.languages[number], float(probabilities[number])) for number in best]


def _sum_over_frames(_: int, latent: np.ndarray) -> tuple[np.ndarray, int]:
    return latent.sum(axis=0, dtype=np.float64), len(latent)
