"""Finds models of all formats and sources: their descriptions and parameters, and the classes for inference."""

import os
from collections.abc import Callable, Sequence
from typing import Any

from mms_jax.checkpoint import StoredModel, is_best, load_model
from mms_jax.errors import CheckpointError
from mms_jax.files import in_bucket, open_path
from mms_jax.inference import export
from mms_jax.inference.encoder import Encoder
from mms_jax.inference.forward import make_forward
from mms_jax.inference.identifier import Identifier
from mms_jax.inference.recognizer import Recognizer
from mms_jax.inference.select import select_languages
from mms_jax.inference.synthesizer import Synthesizer
from mms_jax.inference.windows import for_inference
from mms_jax.interop import fairseq, hub, huggingface, torchaudio, vits
from mms_jax.interop.torch_files import read_torch
from mms_jax.models.description import ENCODER, IDENTIFIER, RECOGNIZER, VOICE, origin_of
from mms_jax.models.vits.config import VitsConfig
from mms_jax.models.wav2vec2.config import Wav2Vec2Config
from mms_jax.text.vocabulary import vocabulary_from_json
from mms_jax.text.voice_tokenizer import VoiceTokenizer

Model = Recognizer | Identifier | Encoder | Synthesizer


def find_model(
    model: str | os.PathLike, languages: Sequence[str] | None = None, *, skip_unknown: bool = False
) -> StoredModel:
    """Reads the description and parameters of a model of any format and source.

    Args:
      model: as for `load`, except an export.
      languages: the languages of a recognizer that are needed; None for all. Others are not read, where they have
        adapters of their own.
      skip_unknown: skip languages that the model lacks, instead of raising an error; without languages, a model with
        adapters is read as an encoder.

    Raises:
      CheckpointError, ConversionError: no such model, or one that cannot be read. LanguageError: an unknown language.
    """
    if is_best(model):
        return load_model(model)
    path = open_path(model)
    if in_bucket(model):
        if not path.exists():
            raise CheckpointError(
                f"{model}: no such run; give the --workdir of one. Models of other kinds are read from files: copy them "
                "here first (gcloud storage cp --recursive)"
            )
        return _load_run(path, languages, skip_unknown)
    if export.is_folder(path):
        raise CheckpointError(
            f"{model} is an export, which can be run, but not converted, exported or trained on; "
            "give the model that was exported"
        )
    if path.suffix == ".pth":
        return vits.load_original(path)
    if path.is_file():
        stored = read_torch(path)
        if torchaudio.is_state(stored):
            return torchaudio.load_state(stored, str(path))
        return fairseq.load_stored(stored, str(path), languages, skip_unknown=skip_unknown)
    if hub.is_remote(str(model)):
        # A stand-in for unknown languages, see `huggingface.wanted_languages`.
        path = hub.fetch(str(model), [*languages, huggingface.ENGLISH] if languages and skip_unknown else languages)
    if vits.is_folder(path):
        return vits.load_folder(path)
    if huggingface.is_folder(path):
        return huggingface.load_folder(path, languages, skip_unknown=skip_unknown)
    if not path.exists():
        blocked = hub.is_repository(str(model)) and path.parent.is_dir()
        hint = f"; a folder {path.parent} is here, so that {model} is not looked for on the hub" if blocked else ""
        raise CheckpointError(
            f"{model}: no such folder; give a run's --workdir, a Hugging Face folder, or OWNER/NAME{hint}"
        )
    return _load_run(path, languages, skip_unknown)


def _load_run(path: os.PathLike, languages: Sequence[str] | None, skip_unknown: bool) -> StoredModel:
    stored = load_model(path)
    return select_languages(stored, languages) if languages is not None and not skip_unknown else stored


def _make_recognizer(stored: StoredModel, dtype: Any) -> Recognizer:
    config = for_inference(Wav2Vec2Config.from_json(stored.description["model"]))
    vocabulary = vocabulary_from_json(stored.description["vocabulary"])
    return Recognizer(
        config, vocabulary, stored.params, make_forward(config, vocabulary, dtype), origin_of(stored.description)
    )


def _make_identifier(stored: StoredModel, dtype: Any) -> Identifier:
    config = for_inference(Wav2Vec2Config.from_json(stored.description["model"]))
    return Identifier(config, stored.description, stored.params, dtype)


def _make_encoder(stored: StoredModel, dtype: Any) -> Encoder:
    return Encoder(for_inference(Wav2Vec2Config.from_json(stored.description["model"])), stored.params, dtype)


def _make_voice(stored: StoredModel, dtype: Any) -> Synthesizer:
    config = VitsConfig.from_json(stored.description["model"])
    return Synthesizer(
        config,
        VoiceTokenizer.from_json(stored.description["text"]),
        stored.params["voice"],
        dtype,
        stored.description.get("speakers", ()),
    )


MAKERS: dict[str, Callable[..., Model]] = {
    RECOGNIZER: _make_recognizer,
    IDENTIFIER: _make_identifier,
    ENCODER: _make_encoder,
    VOICE: _make_voice,
}
