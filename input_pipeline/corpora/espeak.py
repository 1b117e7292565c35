"""Speech from text with eSpeak NG, called through ctypes from the `espeakng-loader` wheel.

eSpeak NG (GPL 3.0) is a formant synthesizer of about a hundred languages: no weights, milliseconds per utterance. It
replaces readers wherever a corpus must exist without a download. It carries state from one utterance to the
next, so that speaking a text twice gives the same words at the same pace, but not the same samples.
"""

import ctypes
import functools

import espeakng_loader
import numpy as np

from mms_jax.errors import CorpusError

_SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS: the callback runs inside the call
_UTF8 = 1  # espeakCHARS_UTF8
_RATE, _PITCH = 1, 3  # espeak_PARAMETER
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


@functools.cache
def espeak() -> "Espeak":
    """The engine of this process. Starting eSpeak NG a second time makes it use freed memory and crash."""
    return Espeak()


class Espeak:
    """One eSpeak NG engine; get it from `espeak`.

    Attributes:
      rate: samples a second of its output (22,050).
    """

    def __init__(self) -> None:
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        number, unsigned, pointer = ctypes.c_int, ctypes.c_uint, ctypes.c_void_p
        self._library.espeak_Synth.argtypes = [
            ctypes.c_char_p, ctypes.c_size_t, unsigned, number, unsigned, unsigned, pointer, pointer,
        ]  # fmt: skip
        self.rate: int = self._library.espeak_Initialize(_SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), 0)
        if self.rate <= 0:
            raise CorpusError("eSpeak NG did not start; reinstall the package espeakng-loader")
        self._chunks: list[np.ndarray] = []
        # The library holds a bare pointer: this reference keeps the callback alive.
        self._callback = _CALLBACK(self._collect)
        self._library.espeak_SetSynthCallback(self._callback)

    def _collect(self, samples, count, events) -> int:
        del events
        if samples and count > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    def speak(self, text: str, voice: str, speed: int = 165, pitch: int = 50) -> np.ndarray:
        """Synthesizes one utterance.

        Args:
          text: of the utterance.
          voice: an eSpeak voice, optionally with a variant: "sw", "en+f2".
          speed: words a minute, 80 to 450.
          pitch: 0 to 100; 50 is the voice's own.

        Returns:
          float32 (samples,) at `self.rate`, silence at both ends removed.

        Raises:
          CorpusError: eSpeak NG has no such voice, or gave no audio.
        """
        # The default voice is set first, since a variant's settings otherwise persist in the next voice.
        self._library.espeak_SetVoiceByName(b"en")
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise CorpusError(f"eSpeak NG has no voice {voice!r}")
        self._library.espeak_SetParameter(_RATE, speed, 0)
        self._library.espeak_SetParameter(_PITCH, pitch, 0)
        self._chunks.clear()
        encoded = text.encode()
        self._library.espeak_Synth(encoded, len(encoded) + 1, 0, 0, 0, _UTF8, None, None)
        self._library.espeak_Synchronize()
        samples = np.concatenate(self._chunks) if self._chunks else np.zeros(0, np.int16)
        loud = np.flatnonzero(np.abs(samples) > 64)
        if loud.size == 0:
            raise CorpusError(f"eSpeak NG gave no audio for {text!r} with voice {voice!r}")
        return samples[loud[0] : loud[-1] + 1].astype(np.float32) / 32768.0
