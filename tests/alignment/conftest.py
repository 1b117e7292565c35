"""An aligner without training: it hears four tones, by Fourier analysis, and is always right."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile

from mms_jax.inference.recognizer import Recognizer
from mms_jax.models.wav2vec2.config import Wav2Vec2Config
from mms_jax.text.vocabulary import Vocabulary

RATE = 16_000
TONES = (400.0, 800.0, 1200.0, 1600.0)
TONE_SECONDS, GAP_SECONDS, WORD_SECONDS, VERSE_SECONDS = 0.2, 0.06, 0.2, 0.6


def hear_tones(params, waveforms, lengths, language):
    """Logits (batch, frames, 6): blank, word boundary, four tones, each seen on the frame where it begins, as CTC does."""
    del params, lengths, language
    frames = (waveforms.shape[1] - 400) // 320 + 1
    pieces = waveforms[:, 320 * np.arange(frames)[:, None] + np.arange(400)]
    angles = 2 * np.pi * np.asarray(TONES) * np.arange(400)[:, None] / RATE
    power = jnp.square(pieces @ np.cos(angles)) + jnp.square(pieces @ np.sin(angles))
    loud = power.sum(axis=-1, keepdims=True) > 2000.0
    begins = loud & ~jnp.pad(loud, ((0, 0), (1, 0), (0, 0)))[:, :-1]
    tones = jnp.where(begins, 10.0 * power / (power.sum(axis=-1, keepdims=True) + 1e-6), 0.0)
    blank = jnp.where(begins, 0.0, 10.0)
    return jnp.concatenate([blank, blank - 5.0, tones], axis=-1)


def tone_recognizer(letters: str) -> Recognizer:
    """An aligner whose four tones are written with these letters; its languages are eng and swh."""
    vocabulary = Vocabulary(("<pad>", "|", *letters), {"eng": letters, "swh": letters})
    return Recognizer(Wav2Vec2Config(), vocabulary, {"none": jnp.zeros(())}, hear_tones)


@dataclasses.dataclass(frozen=True)
class Spoken:
    """A chapter of tones: waveform, lines of text, start and end of each verse in seconds."""

    waveform: np.ndarray
    lines: list[str]
    times: np.ndarray


def speak(lines: list[str], letters: str, seed: int = 0) -> Spoken:
    """Reads lines: every letter is a tone; other characters are silent."""
    rng = np.random.default_rng(seed)
    pieces: list[np.ndarray] = []

    def now() -> float:
        return sum(map(len, pieces)) / RATE

    def silence(seconds: float) -> None:
        pieces.append(np.zeros(int(seconds * RATE)))

    silence(VERSE_SECONDS)
    times = []
    for line in lines:
        start, end = now(), now()
        for word in line.split():
            for letter in word:
                if letter in letters:
                    seconds = np.arange(int(TONE_SECONDS * RATE)) / RATE
                    pieces.append(0.4 * np.sin(2 * np.pi * TONES[letters.index(letter)] * seconds))
                    end = now()
                    silence(GAP_SECONDS)
            silence(WORD_SECONDS)
        times.append((start, end))
        silence(VERSE_SECONDS)
    waveform = np.concatenate(pieces)
    return Spoken((waveform + rng.normal(0, 1e-3, len(waveform))).astype(np.float32), lines, np.asarray(times))


@pytest.fixture(scope="session")
def greek():
    """An aligner whose letters are not Latin, so that nothing is romanized."""
    return tone_recognizer("αβγδ")


@pytest.fixture(scope="session")
def latin():
    """An aligner of Latin letters, which hears romanized text."""
    return tone_recognizer("kmai")


@pytest.fixture
def write_audio(tmp_path):
    """Writes a waveform; returns its path."""

    def write(waveform: np.ndarray, name: str = "chapter.flac", rate: int = RATE) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, waveform, rate)
        return str(path)

    return write


def verse_times(verses) -> np.ndarray:
    """(verses, 2), seconds."""
    return np.asarray([(verse.start, verse.end) for verse in verses])


def random_lines(count: int, letters: str, seed: int = 0) -> list[str]:
    """Lines of two to four words of two to five letters."""
    rng = np.random.default_rng(seed)

    def word() -> str:
        return "".join(rng.choice(list(letters), rng.integers(2, 6)))

    return [" ".join(word() for _ in range(rng.integers(2, 5))) for _ in range(count)]


assert jax.default_backend() == "cpu"
