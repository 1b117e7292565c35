"""The entry point for models of every kind: `load`."""

import os
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from mms_jax.checkpoint import StoredModel
from mms_jax.command import holding_signals
from mms_jax.errors import CheckpointError, InputError
from mms_jax.inference import export
from mms_jax.models.description import ENCODER, IDENTIFIER, RECOGNIZER, VOICE
from mms_jax.models.layers import compute_dtype

if TYPE_CHECKING:
    from mms_jax.inference.find import Model
    from mms_jax.inference.identifier import Identifier
    from mms_jax.inference.recognizer import Recognizer
    from mms_jax.inference.synthesizer import Synthesizer

_HINTS = {
    RECOGNIZER: "give a recognizer, such as facebook/mms-1b-all or a run of asr_folder",
    IDENTIFIER: "take one that identifies languages, such as facebook/mms-lid-126",
    VOICE: "take a voice, such as facebook/mms-tts-swh, or a run of tts_phrases",
    ENCODER: "take a pretrained model, such as facebook/mms-300m",
}


_FINE_TUNE = "fine-tune it first: python -m mms_jax.train --config=asr_folder --workdir=DIR --config.init_from={}"


def load(
    model: str | os.PathLike | StoredModel,
    *,
    languages: Sequence[str] | None = None,
    dtype: str = "float32",
    kind: str | None = None,
) -> "Model":
    """Loads a model for use; its kind decides the class.

    Args:
      model: the folder of a run of `mms_jax.train`, also gs://BUCKET/NAME, or of one of its checkpoints; a folder that
        Hugging Face's `save_pretrained` wrote; a .pt file of fairseq; a voice of the original's code, G_STEPS.pth; a
        Hugging Face repository, OWNER/NAME; the folder that `mms-jax export` wrote, whose languages and dtype are fixed; or
        the result of `mms_jax.inference.find.find_model`.
      languages: the languages to load of a recognizer with language adapters.
      dtype: the type in which the model computes: "float32", or "bfloat16" on accelerators.
      kind: the required kind, "recognizer", "identifier", "encoder" or "voice"; None for any.

    Raises:
      CheckpointError, ConversionError: no such model, one that cannot be read, or one of another kind.
      LanguageError: an unknown language. ConfigError: an unknown dtype.
    """
    precision = compute_dtype(dtype)
    if not isinstance(model, str | os.PathLike | StoredModel):
        raise InputError(f"{type(model).__name__} where the name of a model is expected")
    if isinstance(languages, str):
        raise InputError(f"languages={languages!r} is one string; write [{languages!r}]")
    if kind is not None and kind not in _HINTS:
        raise InputError(f"kind={kind!r}; choose one of {', '.join(_HINTS)}")
    if not isinstance(model, StoredModel) and export.is_folder(path := pathlib.Path(model).expanduser()):
        _check_kind(model, RECOGNIZER, kind)
        return export.load_program(path)
    with holding_signals():
        from mms_jax.inference.find import MAKERS, find_model  # here, so that exports load no model code

    stored = model if isinstance(model, StoredModel) else find_model(model, languages)
    found = stored.description["kind"]
    _check_kind(model, found, kind)
    if found not in MAKERS:
        raise CheckpointError(f"{model} is a model of kind {found!r}, which has no use but evaluation")
    return MAKERS[found](stored, precision)


def load_recognizer(model: str | os.PathLike, languages: Sequence[str] | None = None) -> "Recognizer":
    """Loads a recognizer for some languages, see `load`.

    Raises:
      CheckpointError: no such model, or one of another kind.
    """
    return cast("Recognizer", load(model, languages=languages, kind=RECOGNIZER))


def load_identifier(model: str | os.PathLike) -> "Identifier":
    """Loads an identifier, see `load`.

    Raises:
      CheckpointError: no such model, or one of another kind.
    """
    return cast("Identifier", load(model, kind=IDENTIFIER))


def load_voice(model: str | os.PathLike) -> "Synthesizer":
    """Loads a voice, see `load`.

    Raises:
      CheckpointError: no such model, or one of another kind.
    """
    return cast("Synthesizer", load(model, kind=VOICE))


def _check_kind(model: Any, found: str, wanted: str | None) -> None:
    if wanted not in (None, found):
        name = "this model" if isinstance(model, StoredModel) else model
        kinds = f"{_with_article(found)}, not {_with_article(str(wanted))}"
        hint = _FINE_TUNE.format(name) if (found, wanted) == (ENCODER, RECOGNIZER) else _HINTS[str(wanted)]
        raise CheckpointError(f"{name} is {kinds}; {hint}")


def _with_article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"
