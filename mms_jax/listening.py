"""Listens to a voice: how near what it says is to recordings of the same sentences, and whether it is understood."""

import pathlib
import tempfile
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import jiwer
import librosa
import numpy as np
import scipy.fft
import soundfile

from input_pipeline.corpora.storage import as_text
from mms_jax.audio.flac import decode_flac
from mms_jax.audio.spectrogram import log_mel, magnitudes
from mms_jax.audio.waveform import SAMPLE_RATE
from mms_jax.recognizer import Recognizer, Transcript
from mms_jax.text.normalize import normalize
from mms_jax.voice import Audio, Voice

CEPSTRA = 13
_FFT, _HOP = 1024, 256


def listen(voice: Voice, records: Sequence[dict], recogniser: Recognizer | None, *, seed: int = 0) -> dict[str, Any]:
    """Has a voice say the sentences of recordings, and compares.

    Args:
      voice: the voice.
      records: utterances of a corpus.
      recogniser: transcribes recordings and what the voice says; None for no error rates.
      seed: of what the voice draws.

    Returns:
      sentences; mcd, the mean mel-cepstral distortion in dB; duration_correlation, Pearson's, between seconds of recordings
      and of what is said; duration_ratio, of all seconds; and, with a recogniser, cer_natural and cer, character error
      rates of the recordings and of the voice, as shares.
    """
    texts = [normalize(as_text(record["text"])) for record in records]
    recordings = [decode_flac(record["audio"], as_text(record["id"]))[0] for record in records]
    said = [audio.samples for audio in voice.speak_each(texts, seed=seed) if isinstance(audio, Audio)]
    if len(said) != len(texts):
        raise ValueError(f"{len(texts) - len(said)} of {len(texts)} sentences cannot be said by this voice")
    seconds = np.asarray([(len(recording), len(audio)) for recording, audio in zip(recordings, said)]) / SAMPLE_RATE
    distortions = [mel_cepstral_distortion(recording, audio) for recording, audio in zip(recordings, said)]
    result: dict[str, Any] = {
        "sentences": len(texts),
        "mcd": float(np.mean(distortions)),
        "duration_correlation": float(np.asarray(np.corrcoef(seconds.T))[0, 1]) if len(texts) > 1 else float("nan"),
        "duration_ratio": float(seconds[:, 1].sum() / seconds[:, 0].sum()),
    }
    if recogniser is not None:
        language = as_text(records[0]["language"])
        result["cer_natural"] = float(jiwer.cer(texts, transcribed(recogniser, recordings, language)))
        result["cer"] = float(jiwer.cer(texts, transcribed(recogniser, said, language)))
    return result


def mel_cepstral_distortion(recording: np.ndarray, said: np.ndarray) -> float:
    """The mean distance of mel cepstra 1 to 13 along the best warping of time, in dB (Kubichek 1993).

    The cepstra are those of the 80 log mel energies of `mms_jax.audio.spectrogram`, so that figures compare with each
    other and not with those of other programs.

    Args:
      recording, said: float (samples,), 16 kHz.
    """
    one, other = _cepstra(recording), _cepstra(said)
    distances = np.asarray(10.0 / np.log(10.0) * np.sqrt(2.0 * ((one[:, None] - other[None]) ** 2).sum(axis=-1)))
    warping: Any = librosa.sequence.dtw(C=distances)
    path = warping[1]
    return float(np.mean([distances[row, column] for row, column in path]))


def format_table(result: dict[str, Any]) -> str:
    """The figures as a table for people."""
    lines = [
        f"mel-cepstral distortion {result['mcd']:8.2f} dB",
        f"duration correlation    {result['duration_correlation']:8.3f}",
        f"duration, said : read   {result['duration_ratio']:8.3f}",
    ]
    if "cer" in result:
        lines.append(f"CER of recordings       {100 * result['cer_natural']:8.2f} %")
        lines.append(f"CER of the voice        {100 * result['cer']:8.2f} %")
    return "\n".join(lines)


def _cepstra(waveform: np.ndarray) -> np.ndarray:
    whole = np.pad(waveform, (0, -len(waveform) % _HOP)).astype(np.float32)
    energies = np.asarray(log_mel(magnitudes(jnp.asarray(whole)[None], None, _FFT, _HOP)[0], SAMPLE_RATE))
    return scipy.fft.dct(energies, axis=-1)[:, 1 : CEPSTRA + 1] / energies.shape[-1]


def transcribed(recogniser: Recognizer, waveforms: Sequence[np.ndarray], language: str) -> list[str]:
    """What a recogniser hears in waveforms, float (samples,) at 16 kHz; "" where it can use one not at all."""
    with tempfile.TemporaryDirectory() as scratch:
        paths = [str(pathlib.Path(scratch) / f"{number}.flac") for number in range(len(waveforms))]
        for path, waveform in zip(paths, waveforms):
            soundfile.write(path, np.clip(waveform, -1.0, 1.0), SAMPLE_RATE, subtype="PCM_16")
        results = recogniser.transcribe_each(paths, language=[recogniser.own_name(language)] * len(paths))
        return [result.text if isinstance(result, Transcript) else "" for result in results]
