"""Language identification with a restored model: recordings or waveforms in, languages and probabilities out."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from mms_jax.audio.inputs import check_recordings, check_waveforms
from mms_jax.audio.read import Recording
from mms_jax.audio.waveform import SAMPLE_RATE
from mms_jax.errors import AudioError, InputError
from mms_jax.inference.windows import Progress, Recordings, Waveforms, WindowedModel, all_or_raise
from mms_jax.models.description import Description, origin_of
from mms_jax.models.functional import FunctionalModel, Params
from mms_jax.models.wav2vec2.config import Wav2Vec2Config
from mms_jax.models.wav2vec2.heads import Wav2Vec2ForIdentification

_WINDOW_SECONDS, _HOP_SECONDS = 4.0, 1.0  # of the windows that segments are found by, and from one to the next
_SWITCH = 2.0  # nats that a change of language costs


@dataclasses.dataclass(frozen=True)
class Identification:
    """The languages that a recording may be in.

    Attributes:
      languages: (ISO 639-3, probability), most probable first.
      seconds: the recording's length.
      unknown: whether the best probability is below the identifier's threshold, so that the language may be none of its.
    """

    languages: list[tuple[str, float]]
    seconds: float
    unknown: bool = False

    def __repr__(self) -> str:
        best = ", ".join(f"{language} {probability:.3f}" for language, probability in self.languages)
        return f"Identification({'unknown, perhaps ' if self.unknown else ''}{best}; seconds={self.seconds:.2f})"


@dataclasses.dataclass(frozen=True)
class LanguageSegment:
    """A stretch of a recording in one language.

    Attributes:
      start, end: in seconds.
      language: ISO 639-3.
      probability: mean over the stretch.
      unknown: see Identification.
    """

    start: float
    end: float
    language: str
    probability: float
    unknown: bool = False


@dataclasses.dataclass(frozen=True)
class Segmentation:
    """The languages of a recording over time.

    Attributes:
      segments: in order, without gaps.
      seconds: the recording's length.
    """

    segments: list[LanguageSegment]
    seconds: float


class Identifier:
    """A model that identifies languages, jitted once for each bucket of lengths.

    Attributes:
      languages: the languages that it distinguishes, in the order of its logits.
      temperature: by which logits are divided before they become probabilities; 1 where none was fitted.
      threshold: the probability below which a language is unknown; 0 where none was chosen.
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
        chosen = description.get("chosen", {})
        self.temperature = float(chosen.get("temperature", 1.0))
        self.threshold = float(chosen.get("threshold", 0.0))
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
            best = self._best(sums, top)
            return Identification(best, seconds, unknown=best[0][1] < self.threshold)

        return self._model.on_recordings(recordings, _sum_over_frames, finish, rate=rate, progress=progress)

    def segments_each(
        self, recordings: Recordings, *, rate: int = SAMPLE_RATE, progress: Progress | None = None
    ) -> Iterator[Segmentation | AudioError]:
        """The languages of recordings that may hold several, one after another.

        Every second is judged by the four seconds around it, alone: in a longer window, attention would spread one language
        over the others. The most probable sequence of languages is taken, see `likeliest_languages`. Stretches of a few
        seconds are found, single words are not.

        Args:
          recordings, rate, progress: as for `identify_each`; each recording is held in memory.
        """
        check_recordings(recordings, rate)
        for number, source in enumerate(recordings):
            try:
                recording = Recording(source, rate=rate, name=f"waveform {number}")
                waveform = recording.waveform()
            except AudioError as error:
                yield error
                continue
            yield self._segments(waveform, recording.seconds)
            if progress is not None:
                progress(recording.seconds)

    def _segments(self, waveform: np.ndarray, seconds: float) -> Segmentation:
        starts = np.arange(max(1, round(seconds / _HOP_SECONDS))) * _HOP_SECONDS
        pieces = self._model.reduced([window_around(waveform, start) for start in starts], _sum_over_frames)
        means = np.stack([total / frames for [(total, frames)] in pieces]).astype(np.float32)
        scores = np.asarray(self._classify(means)) / self.temperature
        found = likeliest_languages(scores, evidence=_WINDOW_SECONDS / _HOP_SECONDS)
        return Segmentation(
            self._merged(found, np.asarray(jax.nn.softmax(scores)), [*starts.tolist(), seconds]), seconds
        )

    def _merged(self, found: np.ndarray, probabilities: np.ndarray, edges: Sequence[float]) -> list[LanguageSegment]:
        """Equal neighbors as segments."""
        starts = [0, *(np.flatnonzero(np.diff(found)) + 1).tolist()]
        segments = []
        for start, end in zip(starts, [*starts[1:], len(found)]):
            probability = float(probabilities[start:end, found[start]].mean())
            language = self.languages[found[start]]
            unknown = probability < self.threshold
            segments.append(LanguageSegment(edges[start], edges[end], language, probability, unknown))
        return segments

    def logits(self, waveforms: Waveforms, *, rate: int = SAMPLE_RATE) -> list[np.ndarray]:
        """Scores of every language: float32 (languages,) for each waveform; see `Recognizer.logits` for these."""
        check_waveforms(waveforms, rate)
        latents = self._model.on_waveforms(waveforms, rate=rate)
        return [np.asarray(self._classify(latent.mean(axis=0))) for latent in latents]

    def _best(self, sums: Sequence[tuple[np.ndarray, int]], top: int) -> list[tuple[str, float]]:
        mean = sum(total for total, _ in sums) / sum(frames for _, frames in sums)
        probabilities = np.asarray(jax.nn.softmax(self._classify(np.asarray(mean, np.float32)) / self.temperature))
        best = np.argsort(-probabilities)[:top]
        return [(self.languages[number], float(probabilities[number])) for number in best]


def _sum_over_frames(_: int, latent: np.ndarray) -> tuple[np.ndarray, int]:
    return latent.sum(axis=0, dtype=np.float64), len(latent)


def window_around(waveform: np.ndarray, start: float) -> np.ndarray:
    """The four seconds around the second that begins at `start`; fewer in a shorter recording.

    Args:
      waveform: float (samples,), 16 kHz.
      start: in seconds.
    """
    size = min(len(waveform), round(_WINDOW_SECONDS * SAMPLE_RATE))
    first = round((start - (_WINDOW_SECONDS - _HOP_SECONDS) / 2) * SAMPLE_RATE)
    first = min(max(first, 0), len(waveform) - size)
    return waveform[first : first + size]


def likeliest_languages(scores: np.ndarray, evidence: float) -> np.ndarray:
    """The most probable sequence of languages, in which every change costs two nats (Viterbi).

    Args:
      scores: float (windows, languages), logits.
      evidence: windows that overlap, whose evidence counts once.

    Returns:
      int (windows,).
    """
    shifted = scores - scores.max(axis=1, keepdims=True)
    log_probs = (shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))) / evidence
    best, before = log_probs[0], np.zeros(scores.shape, int)
    for place in range(1, len(scores)):
        leader = int(best.argmax())
        stays = best >= best[leader] - _SWITCH
        before[place] = np.where(stays, np.arange(len(best)), leader)
        best = np.where(stays, best, best[leader] - _SWITCH) + log_probs[place]
    found = np.zeros(len(scores), int)
    found[-1] = int(best.argmax())
    for place in range(len(scores) - 1, 0, -1):
        found[place - 1] = before[place, found[place]]
    return found
