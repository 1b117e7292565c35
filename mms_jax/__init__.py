"""Massively multilingual speech in JAX.

import mms_jax
asr = mms_jax.load("runs/asr")
asr.transcribe(["a.wav"], language="swh")
voice = mms_jax.load("facebook/mms-tts-swh")
voice.speak("habari ya asubuhi", seed=0)
mms_jax.align("chapter.mp3", ["verse one", "verse two"], language="swh", model=asr)
"""

import os
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mms_jax.alignment.spans import Verse
    from mms_jax.encoders import Encoder, Identifier
    from mms_jax.recognizer import Recognizer
    from mms_jax.voice import Voice


def align(
    file: str | os.PathLike, lines: Sequence[str], *, language: str, model: "Recognizer | str | os.PathLike"
) -> "list[Verse]":
    """Finds every verse, word and character of a text in its recording.

    Args:
      file: a recording of any format, rate and length.
      lines: its text, one verse a line.
      language: ISO 639-3. A model that reads romanised text and knows no languages takes any.
      model: a CTC recogniser, or what `load` takes for one.

    Returns:
      For each line a span with text, start and end in seconds, score, and its words; see mms_jax.alignment.spans.

    Raises:
      AudioError: the recording cannot be used. AlignmentError: the text cannot; the message says why.
      CheckpointError: the model is none, or does not recognise speech. ValueError: it does not know the language.
    """
    from mms_jax.alignment.chapters import align_chapters

    if isinstance(model, str | os.PathLike):
        model = load_recognizer(model, [language])
    [result] = align_chapters(model, [str(file)], [lines], language)
    if isinstance(result, Exception):
        raise result
    return result.verses


def load(
    model: str | os.PathLike, *, languages: Sequence[str] | None = None, dtype: str = "float32"
) -> "Recognizer | Identifier | Encoder | Voice":
    """Loads a recogniser, an identifier, an encoder or a voice; what the model is decides.

    Args:
      model: the folder of a run of `mms_jax.train`, or of one of its checkpoints; a folder that Hugging Face's
        `save_pretrained` wrote; a .pt file of fairseq; a voice of the original's code, G_STEPS.pth; a Hugging Face
        repository, OWNER/NAME; or the folder that `mms-jax export` wrote, which holds its languages and dtype already.
      languages: of a recogniser with language adapters, those to hold.
      dtype: in which the encoder computes: "float32", or "bfloat16" on accelerators.

    Raises:
      CheckpointError, ConversionError: nothing there that can be read. ValueError: an unknown language.
    """
    # Imported here, so that workers which need only `mms_jax.audio` do not load JAX, and exported models no model code.
    from mms_jax.interop import stablehlo

    path = pathlib.Path(model).expanduser()
    if stablehlo.is_folder(path):
        return stablehlo.load_program(path)

    import jax.numpy as jnp

    from mms_jax.encoders import Encoder, Identifier
    from mms_jax.loading import find_model, voice_of
    from mms_jax.models.wav2vec2.config import Wav2Vec2Config
    from mms_jax.recognizer import Recognizer, scorer
    from mms_jax.text.vocabulary import vocabulary_from_json
    from mms_jax.windowed import for_inference

    stored = find_model(model, languages)
    description = stored.description
    if description["task"] == "tts":
        return voice_of(stored, dtype)
    config = for_inference(Wav2Vec2Config.from_json(description["model"]))
    match description["task"]:
        case "asr":
            vocabulary = vocabulary_from_json(description["vocabulary"])
            return Recognizer(config, vocabulary, stored.params, scorer(config, vocabulary, jnp.dtype(dtype)))
        case "lid":
            return Identifier(config, description, stored.params, jnp.dtype(dtype))
    return Encoder(config, stored.params, jnp.dtype(dtype))


def load_recognizer(model: str | os.PathLike, languages: Sequence[str]) -> "Recognizer":
    """Loads a recogniser for some languages, see `load`.

    Raises:
      CheckpointError: nothing there, or a model of another kind.
    """
    from mms_jax.errors import CheckpointError
    from mms_jax.recognizer import Recognizer

    loaded = load(model, languages=languages)
    if not isinstance(loaded, Recognizer):
        raise CheckpointError(
            f"{model} does not recognise speech; fine-tune it first: python -m mms_jax.train "
            f"--config=configs/asr_phrases.py --workdir=DIR --config.init_from={model}"
        )
    return loaded


def load_voice(model: str | os.PathLike) -> "Voice":
    """Loads a voice, see `load`.

    Raises:
      CheckpointError: nothing there, or a model of another kind.
    """
    from mms_jax.errors import CheckpointError
    from mms_jax.voice import Voice

    loaded = load(model)
    if not isinstance(loaded, Voice):
        raise CheckpointError(f"{model} is no voice; take one, such as facebook/mms-tts-swh, or a run of a tts config")
    return loaded
