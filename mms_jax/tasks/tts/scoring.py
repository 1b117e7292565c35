"""Distances of synthesized speech from recordings of the same sentences, and error rates of a recognizer on both."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import jiwer
import librosa
import numpy as np
import scipy.fft

from input_pipeline.corpora.storage import as_text
from mms_jax.audio.flac import decode_flac
from mms_jax.audio.spectrogram import log_mel, magnitudes
from mms_jax.audio.waveform import SAMPLE_RATE
from mms_jax.errors import SpeechError
from mms_jax.models.description import RECOGNIZER
from mms_jax.tasks.base import Result
from mms_jax.text.normalize import normalize

CEPSTRA = 13
_FFT, _HOP = 1024, 256


def score_voice(
    voice: Any, records: Sequence[dict], recognizer: str, load: Callable[..., Any], *, seed: int = 0
) -> Result:
    """Synthesizes the sentences of recordings, and compares the two.

    Args:
      voice: a Synthesizer.
      records: utterances of a corpus, in one language.
      recognizer: a model that transcribes recordings and synthesized speech; "" for no error rates.
      load: `mms_jax.load`.
      seed: of the voice's random draws.

    Returns:
      sentences; mcd, the mean mel-cepstral distortion in dB; duration_correlation, Pearson's, between seconds of recorded
      and of synthesized sentences; duration_ratio, synthesized over recorded seconds; and, with a recognizer, cer_natural
      and cer, character error rates of the recordings and of the voice, as shares.

    Raises:
      SpeechError: sentences that the voice cannot speak. CheckpointError: no such recognizer.
    """
    language = as_text(records[0]["language"])
    model = load(recognizer, languages=[language], kind=RECOGNIZER) if recognizer else None  # first: it may be missing
    texts = [normalize(as_text(record["text"]), as_text(record["language"])) for record in records]
    recordings = [decode_flac(record["audio"], as_text(record["id"]))[0] for record in records]
    answers = _speak(voice, texts, [as_text(record["speaker"]) for record in records], seed)
    synthesized = [answer.samples for answer in answers if not isinstance(answer, SpeechError)]
    if len(synthesized) != len(texts):
        raise SpeechError(
            f"{len(texts) - len(synthesized)} of {len(texts)} sentences have no symbol of this voice; evaluate it on a "
            "corpus in its language"
        )
    seconds = np.asarray([(len(one), len(other)) for one, other in zip(recordings, synthesized)]) / SAMPLE_RATE
    distortions = [mel_cepstral_distortion(one, other) for one, other in zip(recordings, synthesized)]
    result: Result = {
        "sentences": len(texts),
        "mcd": float(np.mean(distortions)),
        "duration_correlation": float(np.asarray(np.corrcoef(seconds.T))[0, 1]) if len(texts) > 1 else float("nan"),
        "duration_ratio": float(seconds[:, 1].sum() / seconds[:, 0].sum()),
    }
    if model is not None:
        for name, waveforms in (("cer_natural", recordings), ("cer", synthesized)):
            result[name] = float(jiwer.cer(texts, model.transcribe_waveforms(waveforms, language=language)))
    return result


def _speak(voice: Any, texts: Sequence[str], speakers: Sequence[str], seed: int) -> list[Any]:
    """Each text by its speaker, as `speak_each` gives them."""
    if voice.config.speakers == 1:
        return list(voice.speak_each(texts, seed=seed))
    answers: list[Any] = [None] * len(texts)
    for speaker in sorted(set(speakers)):
        rows = [row for row, name in enumerate(speakers) if name == speaker]
        for row, answer in zip(rows, voice.speak_each([texts[row] for row in rows], seed=seed, speaker=speaker)):
            answers[row] = answer
    return answers


def mel_cepstral_distortion(recorded: np.ndarray, synthesized: np.ndarray) -> float:
    """The mean distance of mel cepstra 1 to 13 along the best time warping, in dB (Kubichek 1993).

    The cepstra are those of the 80 log mel energies of `mms_jax.audio.spectrogram`, so that figures are comparable
    with each other, but not with those of other programs.

    Args:
      recorded, synthesized: float (samples,), 16 kHz.
    """
    one, other = _cepstra(recorded), _cepstra(synthesized)
    distances = np.asarray(10.0 / np.log(10.0) * np.sqrt(2.0 * ((one[:, None] - other[None]) ** 2).sum(axis=-1)))
    warping: Any = librosa.sequence.dtw(C=distances)
    path = warping[1]
    return float(np.mean([distances[row, column] for row, column in path]))


def format_table(result: Result) -> str:
    """The figures as a table for people."""
    lines = [
        f"mel-cepstral distortion {result['mcd']:8.2f} dB",
        f"duration correlation    {result['duration_correlation']:8.3f}",
        f"synthesized : recorded  {result['duration_ratio']:8.3f}   (seconds)",
    ]
    if "cer" in result:
        lines.append(f"CER of recordings       {100 * result['cer_natural']:8.2f} %")
        lines.append(f"CER of the voice        {100 * result['cer']:8.2f} %")
    return "\n".join(lines)


def _cepstra(waveform: np.ndarray) -> np.ndarray:
    whole = np.pad(waveform, (0, -len(waveform) % _HOP)).astype(np.float32)
    energies = np.asarray(log_mel(magnitudes(jnp.asarray(whole)[None], None, _FFT, _HOP)[0], SAMPLE_RATE))
    return scipy.fft.dct(energies, axis=-1)[:, 1 : CEPSTRA + 1] / energies.shape[-1]
