"""Massively multilingual speech in JAX.

import mms_jax
asr = mms_jax.load("runs/asr")
asr.transcribe(["a.wav"], language="swh")
voice = mms_jax.load("facebook/mms-tts-swh")
voice.speak("habari ya asubuhi", seed=0)
mms_jax.align("chapter.mp3", ["verse one", "verse two"], language="swh", model=asr)
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mms_jax.alignment.api import align
    from mms_jax.alignment.spans import AlignedWord, Span, Verse
    from mms_jax.decoding.beam import BeamSettings
    from mms_jax.decoding.timestamps import Word
    from mms_jax.errors import MmsError
    from mms_jax.inference.encoder import Encoder
    from mms_jax.inference.identifier import Identification, Identifier
    from mms_jax.inference.load import load, load_identifier, load_recognizer, load_voice
    from mms_jax.inference.recognizer import Recognizer, Transcript
    from mms_jax.inference.synthesizer import Audio, Synthesizer

__version__ = "0.2.0"

# Loaded when asked for, so that programs that need only `mms_jax.audio` load no JAX, and --help none either.
_HOMES = {
    "AlignedWord": "mms_jax.alignment.spans",
    "Audio": "mms_jax.inference.synthesizer",
    "BeamSettings": "mms_jax.decoding.beam",
    "Encoder": "mms_jax.inference.encoder",
    "Identification": "mms_jax.inference.identifier",
    "Identifier": "mms_jax.inference.identifier",
    "MmsError": "mms_jax.errors",
    "Recognizer": "mms_jax.inference.recognizer",
    "Span": "mms_jax.alignment.spans",
    "Synthesizer": "mms_jax.inference.synthesizer",
    "Transcript": "mms_jax.inference.recognizer",
    "Verse": "mms_jax.alignment.spans",
    "Word": "mms_jax.decoding.timestamps",
    "align": "mms_jax.alignment.api",
    "load": "mms_jax.inference.load",
    "load_identifier": "mms_jax.inference.load",
    "load_recognizer": "mms_jax.inference.load",
    "load_voice": "mms_jax.inference.load",
}

__all__ = [
    "AlignedWord",
    "Audio",
    "BeamSettings",
    "Encoder",
    "Identification",
    "Identifier",
    "MmsError",
    "Recognizer",
    "Span",
    "Synthesizer",
    "Transcript",
    "Verse",
    "Word",
    "__version__",
    "align",
    "load",
    "load_identifier",
    "load_recognizer",
    "load_voice",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mms_jax' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
