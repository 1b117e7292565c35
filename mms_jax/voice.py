"""A voice: text in, audio out. Texts of any length, many at a time, or streamed."""

import dataclasses
import functools
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from mms_jax.models.functional import FunctionalModel, Params
from mms_jax.models.vits.config import VitsConfig
from mms_jax.models.vits.model import Vits, speaking_params, symbol_of_frame
from mms_jax.text.normalize import has_digits
from mms_jax.text.sentences import split_sentences
from mms_jax.text.voice_text import VoiceText

Array = jax.Array

LONGEST = 190  # characters of a sentence, the longest that MMS trained with
PAUSE_SECONDS = 0.25  # between sentences
_BATCH_FRAMES = 2048  # generated at a time, all rows together
_STREAM_FRAMES = 64  # generated at a time when streaming: one second
_STEP = 32  # lengths are rounded up to multiples of it, since each is compiled once


class SpeechError(ValueError):
    """A text that cannot be said. The message says why, and what the voice can read."""


class SpeechWarning(UserWarning):
    """A text of which a part is not said, or not as one may expect."""


@dataclasses.dataclass(frozen=True)
class Audio:
    """A waveform.

    Attributes:
      samples: float32 (samples,), in [-1, 1].
      rate: samples a second.
    """

    samples: np.ndarray
    rate: int


@dataclasses.dataclass(frozen=True)
class Manner:
    """How a text is said.

    Attributes:
      seed: of all that is drawn; the same seed says a text in the same way, whatever else is said with it.
      noise_scale: variation of the sound; 0 for none.
      noise_scale_duration: variation of the rhythm; 0 for none.
      speaking_rate: 2.0 is twice as fast.
      speaker: which, of a voice that has several.
    """

    noise_scale: float
    noise_scale_duration: float
    speaking_rate: float
    seed: int = 0
    speaker: int = 0


@dataclasses.dataclass(frozen=True)
class _Sentence:
    """A sentence on its way: which text it belongs to, which of its sentences it is, and its symbols."""

    text: int
    place: int
    symbols: list[int]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Plan:
    """A sentence after the text encoder, in NumPy or in JAX: each symbol's prior (symbols, latent) and frames (symbols,)."""

    mean: Any
    log_std: Any
    durations: Any


class Voice:
    """A VITS voice for inference.

    Attributes:
      config: its geometry and default manner.
      text: what it reads.
    """

    def __init__(self, config: VitsConfig, text: VoiceText, params: Params, dtype: jnp.dtype):
        """Folds the weights.

        Args:
          config: from the checkpoint.
          text: from the checkpoint.
          params: of a trained voice.
          dtype: in which convolutions and matrix products compute.
        """
        self.config, self.text = config, text
        self._model = FunctionalModel.abstract(
            lambda key: Vits(config, speaking=True, dtype=dtype, rngs=nnx.Rngs(params=key))
        )
        self._params = jax.jit(speaking_params)(params)

    def speak(self, text: str, *, warn: Callable[[str], None] | None = None, **manner: Any) -> Audio:
        """Says a text of any length.

        Args:
          text: long ones are said sentence by sentence.
          warn: as for `speak_each`.
          **manner: fields of Manner; the voice's own defaults otherwise.

        Returns:
          The audio, sentences joined with short pauses.

        Raises:
          SpeechError: nothing of it can be said. ValueError: an impossible manner.
        """
        [audio] = self.speak_each([text], warn=warn, **manner)
        if isinstance(audio, SpeechError):
            raise audio
        return audio

    def speak_each(
        self, texts: Sequence[str], *, warn: Callable[[str], None] | None = None, **manner: Any
    ) -> Iterator[Audio | SpeechError]:
        """Says many texts; sentences of like length share a batch, whatever text they belong to.

        Args:
          texts: each as for `speak`.
          warn: is told of what is not said; a SpeechWarning where None.
          **manner: fields of Manner.

        Yields:
          For each text, in order, its audio, or why it cannot be said.
        """
        how = self._manner(manner)
        sentences: list[_Sentence] = []
        problems: dict[int, SpeechError] = {}
        for number, text in enumerate(texts):
            try:
                sentences += self._sentences(number, text, warn)
            except SpeechError as error:
                problems[number] = error
        plans = self._plans(sentences, how)
        said: dict[int, np.ndarray] = {}
        for batch in _batches([int(plan.durations.sum()) for plan in plans], _BATCH_FRAMES):
            for member, waveform in zip(
                batch, self._generate([sentences[n] for n in batch], [plans[n] for n in batch], how)
            ):
                said[member] = waveform
        parts: list[list[np.ndarray]] = [[] for _ in texts]
        for number, sentence in enumerate(sentences):
            parts[sentence.text].append(said[number])
        for number, own in enumerate(parts):
            yield problems[number] if number in problems else Audio(self._joined(own), self.config.rate)

    def stream(self, text: str, *, warn: Callable[[str], None] | None = None, **manner: Any) -> Iterator[np.ndarray]:
        """Says a text piece by piece, each as soon as it is there; together they are what `speak` returns.

        Args:
          text: as for `speak`.
          warn: as for `speak_each`.
          **manner: fields of Manner.

        Yields:
          float32 (samples,), about a second each.
        """
        how = self._manner(manner)
        sentences = self._sentences(0, text, warn)
        for number, sentence in enumerate(sentences):
            if number:
                yield self._pause()
            [plan] = self._plans([sentence], how)
            frames = int(plan.durations.sum())
            latents, end = self._latents([sentence], [plan], how)
            reach = self.config.decoder_reach
            # Room on either side, so that every window has the same size; what is not a real frame is seen as nothing.
            room = np.pad(np.asarray(latents), ((0, 0), (reach, reach + _STREAM_FRAMES), (0, 0)))
            for start in range(0, frames, _STREAM_FRAMES):
                window = room[:, start : start + _STREAM_FRAMES + 2 * reach]
                begin = np.asarray([max(0, reach - start)])
                waveforms = self._generator(self._params, window, begin, end + reach - start, self._speakers(1, how))
                size = min(_STREAM_FRAMES, frames - start) * self.config.hop
                yield np.asarray(waveforms)[0, reach * self.config.hop :][:size]

    def _manner(self, given: dict[str, Any]) -> Manner:
        defaults = ("noise_scale", "noise_scale_duration", "speaking_rate")
        how = Manner(**{name: getattr(self.config, name) for name in defaults} | given)  # type: ignore[arg-type]
        if how.speaking_rate <= 0 or how.noise_scale < 0 or how.noise_scale_duration < 0:
            raise ValueError("speaking_rate must be above 0, noise scales 0 or more")
        if not 0 <= how.speaker < self.config.speakers:
            raise ValueError(f"speaker={how.speaker}: this voice has speakers 0 to {self.config.speakers - 1}")
        return how

    def _sentences(self, number: int, text: str, warn: Callable[[str], None] | None) -> list[_Sentence]:
        """The sentences of a text that have something to say. Raises SpeechError where none has."""
        warn = warn or functools.partial(warnings.warn, category=SpeechWarning, stacklevel=4)
        if not text.strip():
            raise SpeechError("the text is empty; give some words")
        prepared = [self.text.prepare(piece) for piece in split_sentences(text, LONGEST)]
        dropped = "".join(dict.fromkeys("".join(unknown for _, unknown in prepared)))
        readable = [piece for piece, _ in prepared if piece.strip("".join(self.text.tokens[:1]) + " ")]
        known = "".join(sorted(token for token in self.text.tokens[1:] if not token.isspace()))
        if not readable:
            raise SpeechError(f"nothing of {_short(text)!r} can be said: this voice reads only {known}")
        letters = "".join(character for character in dropped if character.isalnum())
        if letters:
            warn(f"this voice has no symbol for {' '.join(letters)}: left out. It reads {known}")
        if has_digits(text):
            warn("the text holds digits, which voices do not know how to read: write numbers as words")
        return [_Sentence(number, place, self.text.encode(piece)) for place, piece in enumerate(readable)]

    def _plans(self, sentences: Sequence[_Sentence], how: Manner) -> list[_Plan]:
        """Runs the text encoder and draws durations, in batches of like length."""
        plans: dict[int, _Plan] = {}
        for batch in _batches([len(sentence.symbols) for sentence in sentences], _BATCH_FRAMES):
            members = [sentences[n] for n in batch]
            size = _rounded(max(len(sentence.symbols) for sentence in members))
            symbols = np.zeros((len(members), size), np.int32)
            for row, sentence in enumerate(members):
                symbols[row, : len(sentence.symbols)] = sentence.symbols
            lengths = np.asarray([len(sentence.symbols) for sentence in members])
            scales = (np.float32(how.noise_scale_duration), np.float32(1.0 / how.speaking_rate))
            found = self._encoder(
                self._params, symbols, lengths, self._keys(members, how), scales, self._speakers(len(members), how)
            )
            found = jax.device_get(found)
            for row, number in enumerate(batch):
                length = lengths[row]
                plans[number] = _Plan(
                    found.mean[row, :length], found.log_std[row, :length], found.durations[row, :length]
                )
        return [plans[number] for number in range(len(sentences))]

    def _latents(self, sentences: Sequence[_Sentence], plans: Sequence[_Plan], how: Manner) -> tuple[Array, np.ndarray]:
        """Latent frames of sentences of like length, and how many each has."""
        symbols = _rounded(max(len(plan.durations) for plan in plans))
        ends = np.asarray([plan.durations.sum() for plan in plans])
        stacked = _Plan(*(
            np.stack([_padded(getattr(plan, field.name), symbols) for plan in plans]) for field in dataclasses.fields(_Plan)
        ))  # fmt: skip
        latents = self._flow(
            self._params, stacked, self._keys(sentences, how), np.float32(how.noise_scale),
            self._speakers(len(plans), how), _rounded(int(ends.max())),
        )  # fmt: skip
        return latents, ends

    def _generate(self, sentences: Sequence[_Sentence], plans: Sequence[_Plan], how: Manner) -> Iterator[np.ndarray]:
        latents, ends = self._latents(sentences, plans, how)
        waveforms = self._generator(self._params, latents, np.zeros_like(ends), ends, self._speakers(len(plans), how))
        for waveform, end in zip(np.asarray(waveforms), ends):
            yield waveform[: end * self.config.hop]

    @functools.cached_property
    def _encoder(self) -> Callable[..., _Plan]:
        def run(params: Params, symbols, lengths, keys, scales, speakers) -> _Plan:
            voice = self._model.bind(params)
            speaker = voice.speaker(speakers)
            text = voice.text_encoder(symbols, lengths)
            noise = scales[0] * _normal(jax.vmap(lambda key: jax.random.fold_in(key, 0))(keys), symbols.shape[1], 2)
            durations = voice.draw_durations(text, speaker, noise, scales[1])
            # Something is said even of a text that a voice would swallow.
            durations = durations.at[:, 0].add(jnp.sum(durations, axis=1) == 0)
            return _Plan(text.mean, text.log_std, durations)  # type: ignore[arg-type]

        return jax.jit(run)

    @functools.cached_property
    def _flow(self) -> Callable[..., Array]:
        def run(params: Params, plan: _Plan, keys, noise_scale, speakers, frames: int) -> Array:
            voice = self._model.bind(params)
            symbol = symbol_of_frame(plan.durations, frames)
            keys = jax.vmap(lambda key: jax.random.fold_in(key, 1))(keys)
            noise = noise_scale * _normal(keys, frames, self.config.latent)
            return voice.latents(plan.mean, plan.log_std, symbol, voice.speaker(speakers), noise)

        return jax.jit(run, static_argnums=5)

    @functools.cached_property
    def _generator(self) -> Callable[..., Array]:
        def run(params: Params, latents, begin, end, speakers) -> Array:
            voice = self._model.bind(params)
            return voice.generator(latents, voice.speaker(speakers), begin=begin, end=end)

        return jax.jit(run)

    def _keys(self, sentences: Sequence[_Sentence], how: Manner) -> Array:
        """A key for each sentence, which depends on the seed and its place in its text and on nothing else."""
        places = np.asarray([sentence.place for sentence in sentences])
        return _fold_places(how.seed, places)

    def _speakers(self, rows: int, how: Manner) -> np.ndarray:
        return np.full(rows, how.speaker, np.int32)

    def _joined(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        pieces = [piece for part in parts for piece in (self._pause(), part)]
        return np.concatenate(pieces[1:])

    def _pause(self) -> np.ndarray:
        return np.zeros(round(PAUSE_SECONDS * self.config.rate), np.float32)


@jax.jit
def _fold_places(seed: int, places: Array) -> Array:
    return jax.vmap(lambda place: jax.random.fold_in(jax.random.key(seed), place))(places)


def _normal(keys: Array, length: int, width: int) -> Array:
    """Standard normal (rows, length, width). A row's first entries do not depend on the length."""
    return jax.vmap(lambda key: jax.random.normal(key, (length, width)))(keys)


def _batches(lengths: Sequence[int], total: int) -> Iterator[list[int]]:
    """Positions grouped by like length, each group 1, 2, 4, ... long and at most `total` all together."""
    order = sorted(range(len(lengths)), key=lambda number: -lengths[number])
    while order:
        fitting = max(1, min(len(order), total // max(1, lengths[order[0]])))
        rows = 1 << (fitting.bit_length() - 1)
        yield order[:rows]
        order = order[rows:]


def _rounded(length: int) -> int:
    """The next of a few lengths: multiples of 32, of twice that beyond 16 of them, and so on."""
    step = _STEP
    while length > 16 * step:
        step *= 2
    return -(-length // step) * step


def _padded(array: np.ndarray, length: int) -> np.ndarray:
    return np.pad(array, [(0, length - len(array)), *[(0, 0)] * (array.ndim - 1)])


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
