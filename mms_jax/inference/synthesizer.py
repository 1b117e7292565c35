"""Speech synthesis with a restored voice: texts of any length in, audio out, many at a time or streamed."""

import dataclasses
import functools
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from mms_jax.errors import InputError, SpeechError
from mms_jax.models.functional import FunctionalModel, Params
from mms_jax.models.vits.config import VitsConfig
from mms_jax.models.vits.model import Vits, fold_weight_norm, symbol_of_frame
from mms_jax.text.normalize import has_digits
from mms_jax.text.sentences import split_sentences
from mms_jax.text.voice_tokenizer import VoiceTokenizer

Array = jax.Array

LONGEST = 190  # characters of the longest sentence in MMS's training
PAUSE_SECONDS = 0.25  # between sentences
_BATCH_FRAMES = 2048  # generated at a time, all rows together
_STREAM_FRAMES = 64  # generated at a time when streaming: one second
_STEP = 32  # lengths are rounded up to multiples of it, since each length is compiled separately


class SpeechWarning(UserWarning):
    """A text that is spoken only in part, or not as expected."""


@dataclasses.dataclass(frozen=True)
class Audio:
    """A waveform.

    Attributes:
      samples: float32 (samples,), in [-1, 1].
      rate: samples a second.
    """

    samples: np.ndarray
    rate: int

    @property
    def seconds(self) -> float:
        """Its length."""
        return len(self.samples) / self.rate

    def __repr__(self) -> str:
        return f"Audio({self.seconds:.2f} s at {self.rate} Hz)"


@dataclasses.dataclass(frozen=True)
class SynthesisOptions:
    """Settings of synthesis.

    Attributes:
      noise_scale: standard deviation of the latents, relative to the prior's; 0 for no variation of the sound.
      noise_scale_duration: the same for durations; 0 for no variation of the rhythm.
      speaking_rate: 2.0 is twice as fast.
      seed: of all random draws; a text sounds the same with the same seed, whatever other texts share its batch.
      speaker: number or name of the speaker, for a voice with several.
    """

    noise_scale: float
    noise_scale_duration: float
    speaking_rate: float
    seed: int = 0
    speaker: int | str = 0


@dataclasses.dataclass(frozen=True)
class _Sentence:
    """A sentence: number of its text, its place in it, and its symbols."""

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


class Synthesizer:
    """A VITS voice for inference.

    Attributes:
      config: its geometry and default options.
      tokenizer: its symbols and language.
      speakers: names of its speakers, by number; () where it has one, or they have no names.
    """

    def __init__(
        self,
        config: VitsConfig,
        tokenizer: VoiceTokenizer,
        params: Params,
        dtype: Any = jnp.float32,
        speakers: Sequence[str] = (),
    ):
        """Folds the weight norm.

        Args:
          config: from the checkpoint.
          tokenizer: from the checkpoint.
          params: of a trained voice.
          dtype: the type in which convolutions and matrix products are computed.
          speakers: from the checkpoint.
        """
        self.config, self.tokenizer, self.speakers = config, tokenizer, tuple(speakers)
        self._model = FunctionalModel.abstract(
            lambda key: Vits(config, folded=True, dtype=dtype, rngs=nnx.Rngs(params=key))
        )
        self._params = jax.jit(fold_weight_norm)(params)

    def __repr__(self) -> str:
        language = self.tokenizer.language or "unknown language"
        return f"Synthesizer({language}, {len(self.tokenizer)} symbols, {self.config.rate} Hz)"

    def speak(self, text: str, *, warn: Callable[[str], None] | None = None, **changes: Any) -> Audio:
        """Synthesizes a text of any length.

        Args:
          text: long ones are synthesized sentence by sentence.
          warn: as for `speak_each`.
          **changes: fields of SynthesisOptions; the voice's own defaults otherwise.

        Returns:
          The audio, sentences joined with short pauses.

        Raises:
          SpeechError: none of its characters has a symbol. InputError: an option is out of range.
        """
        [audio] = self.speak_each([text], warn=warn, **changes)
        if isinstance(audio, SpeechError):
            raise audio
        return audio

    def speak_each(
        self, texts: Sequence[str], *, warn: Callable[[str], None] | None = None, **changes: Any
    ) -> Iterator[Audio | SpeechError]:
        """Synthesizes many texts; sentences of similar length share a batch, whatever text they belong to.

        Args:
          texts: each as for `speak`.
          warn: is called with a message for each text that is spoken only in part; None issues a SpeechWarning.
          **changes: fields of SynthesisOptions.

        Yields:
          For each text, in order, its audio, or a SpeechError where it has none.
        """
        if isinstance(texts, str):
            raise InputError("one text where a list of texts is expected; write [text], or call speak(text)")
        options = self._options(changes)
        sentences: list[_Sentence] = []
        problems: dict[int, SpeechError] = {}
        for number, text in enumerate(texts):
            try:
                sentences += self._sentences(number, text, warn)
            except SpeechError as error:
                problems[number] = error
        plans = self._plans(sentences, options)
        waveforms: dict[int, np.ndarray] = {}
        for batch in _batches([int(plan.durations.sum()) for plan in plans], _BATCH_FRAMES):
            for member, waveform in zip(
                batch, self._generate([sentences[n] for n in batch], [plans[n] for n in batch], options)
            ):
                waveforms[member] = waveform
        parts: list[list[np.ndarray]] = [[] for _ in texts]
        for number, sentence in enumerate(sentences):
            parts[sentence.text].append(waveforms[number])
        for number, own in enumerate(parts):
            yield problems[number] if number in problems else Audio(self._joined(own), self.config.rate)

    def stream(self, text: str, *, warn: Callable[[str], None] | None = None, **changes: Any) -> Iterator[np.ndarray]:
        """Synthesizes a text piece by piece; together the pieces equal the samples that `speak` returns.

        Args:
          text: as for `speak`.
          warn: as for `speak_each`.
          **changes: fields of SynthesisOptions.

        Yields:
          float32 (samples,), about a second each.
        """
        options = self._options(changes)
        sentences = self._sentences(0, text, warn)
        for number, sentence in enumerate(sentences):
            if number:
                yield self._pause()
            [plan] = self._plans([sentence], options)
            frames = int(plan.durations.sum())
            latents, end = self._latents([sentence], [plan], options)
            reach = self.config.decoder_reach
            # Padding on either side gives every window the same size; the generator masks it.
            room = np.pad(np.asarray(latents), ((0, 0), (reach, reach + _STREAM_FRAMES), (0, 0)))
            for start in range(0, frames, _STREAM_FRAMES):
                window = room[:, start : start + _STREAM_FRAMES + 2 * reach]
                begin = np.asarray([max(0, reach - start)])
                waveforms = self._generator(
                    self._params, window, begin, end + reach - start, self._speakers(1, options)
                )
                size = min(_STREAM_FRAMES, frames - start) * self.config.hop
                yield np.asarray(waveforms)[0, reach * self.config.hop :][:size]

    def _options(self, given: dict[str, Any]) -> SynthesisOptions:
        names = [field.name for field in dataclasses.fields(SynthesisOptions)]
        if unknown := sorted(set(given) - set(names)):
            raise InputError(f"no option {', '.join(unknown)}; there are {', '.join(names)}")
        defaults = ("noise_scale", "noise_scale_duration", "speaking_rate")
        values: dict[str, Any] = {name: getattr(self.config, name) for name in defaults} | given
        options = SynthesisOptions(**values)
        scales = (options.speaking_rate, options.noise_scale, options.noise_scale_duration)
        if not all(map(math.isfinite, scales)) or min(scales) < 0 or options.speaking_rate == 0:
            raise InputError("speaking_rate must be above 0, noise scales 0 or more, and all of them finite")
        if not isinstance(options.seed, int) or not 0 <= options.seed < 2**32:
            raise InputError(f"seed={options.seed!r} must be from 0 to {2**32 - 1}")
        return dataclasses.replace(options, speaker=self._speaker_number(options.speaker))

    def _speaker_number(self, speaker: int | str) -> int:
        """The number of a speaker given by name or number, also as digits."""
        if speaker in self.speakers:
            return self.speakers.index(str(speaker))
        number = int(speaker) if not isinstance(speaker, str) or speaker.isdecimal() else -1
        if not 0 <= number < self.config.speakers:
            names = f" ({', '.join(self.speakers[:20])})" if self.speakers else ""
            raise InputError(f"speaker={speaker}: this voice has speakers 0 to {self.config.speakers - 1}{names}")
        return number

    def _sentences(self, number: int, text: str, warn: Callable[[str], None] | None) -> list[_Sentence]:
        """The sentences of a text that hold a known symbol. Raises SpeechError where none does."""
        if not isinstance(text, str):
            raise InputError(f"{type(text).__name__} where a text is expected; speak_each takes a list of texts")
        warn = warn or functools.partial(warnings.warn, category=SpeechWarning, stacklevel=4)
        if not text.strip():
            raise SpeechError("the text is empty; give some words")
        prepared = [self.tokenizer.prepare(piece) for piece in split_sentences(text, LONGEST)]
        dropped = "".join(dict.fromkeys("".join(unknown for _, unknown in prepared)))
        readable = [piece for piece, _ in prepared if piece.strip("".join(self.tokenizer.tokens[:1]) + " ")]
        known = "".join(sorted(token for token in self.tokenizer.tokens[1:] if not token.isspace()))
        if not readable:
            raise SpeechError(f"no character of {_short(text)!r} has a symbol: this voice reads only {known}")
        letters = "".join(character for character in dropped if character.isalnum())
        if letters:
            warn(f"this voice has no symbol for {' '.join(letters)}: left out. It reads {known}")
        if has_digits(text):
            warn("the text holds digits, which no voice can read: write numbers as words")
        return [_Sentence(number, place, self.tokenizer.encode(piece)) for place, piece in enumerate(readable)]

    def _plans(self, sentences: Sequence[_Sentence], options: SynthesisOptions) -> list[_Plan]:
        """Runs the text encoder and draws durations, in batches of similar length."""
        plans: dict[int, _Plan] = {}
        for batch in _batches([len(sentence.symbols) for sentence in sentences], _BATCH_FRAMES):
            members = [sentences[n] for n in batch]
            size = _rounded(max(len(sentence.symbols) for sentence in members))
            symbols = np.zeros((len(members), size), np.int32)
            for row, sentence in enumerate(members):
                symbols[row, : len(sentence.symbols)] = sentence.symbols
            lengths = np.asarray([len(sentence.symbols) for sentence in members])
            scales = (np.float32(options.noise_scale_duration), np.float32(1.0 / options.speaking_rate))
            found = self._encoder(
                self._params,
                symbols,
                lengths,
                self._keys(members, options),
                scales,
                self._speakers(len(members), options),
            )
            found = jax.device_get(found)
            for row, number in enumerate(batch):
                length = lengths[row]
                plans[number] = _Plan(
                    found.mean[row, :length], found.log_std[row, :length], found.durations[row, :length]
                )
        return [plans[number] for number in range(len(sentences))]

    def _latents(
        self, sentences: Sequence[_Sentence], plans: Sequence[_Plan], options: SynthesisOptions
    ) -> tuple[Array, np.ndarray]:
        """The latent frames of sentences of similar length, and the number of frames of each."""
        symbols = _rounded(max(len(plan.durations) for plan in plans))
        ends = np.asarray([plan.durations.sum() for plan in plans])
        stacked = _Plan(*(
            np.stack([_padded(getattr(plan, field.name), symbols) for plan in plans]) for field in dataclasses.fields(_Plan)
        ))  # fmt: skip
        latents = self._flow(
            self._params, stacked, self._keys(sentences, options), np.float32(options.noise_scale),
            self._speakers(len(plans), options), _rounded(int(ends.max())),
        )  # fmt: skip
        return latents, ends

    def _generate(
        self, sentences: Sequence[_Sentence], plans: Sequence[_Plan], options: SynthesisOptions
    ) -> Iterator[np.ndarray]:
        latents, ends = self._latents(sentences, plans, options)
        waveforms = self._generator(
            self._params, latents, np.zeros_like(ends), ends, self._speakers(len(plans), options)
        )
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
            # A text whose durations are all zero gets one frame.
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

    def _keys(self, sentences: Sequence[_Sentence], options: SynthesisOptions) -> Array:
        """A key for each sentence, which depends only on the seed and on the sentence's position in its text."""
        places = np.asarray([sentence.place for sentence in sentences])
        return _fold_places(options.seed, places)

    def _speakers(self, rows: int, options: SynthesisOptions) -> np.ndarray:
        return np.full(rows, options.speaker, np.int32)

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
    """Yields groups of 1, 2, 4, ... positions of similar length, whose padded lengths sum to at most `total`."""
    order = sorted(range(len(lengths)), key=lambda number: -lengths[number])
    while order:
        fitting = max(1, min(len(order), total // max(1, lengths[order[0]])))
        rows = 1 << (fitting.bit_length() - 1)
        yield order[:rows]
        order = order[rows:]


def _rounded(length: int) -> int:
    """Rounds up to one of a few lengths: multiples of 32 up to 512, of 64 up to 1,024, and so on."""
    step = _STEP
    while length > 16 * step:
        step *= 2
    return -(-length // step) * step


def _padded(array: np.ndarray, length: int) -> np.ndarray:
    return np.pad(array, [(0, length - len(array)), *[(0, 0)] * (array.ndim - 1)])


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
