"""The JSON by which a checkpoint describes its model: enough to build it again, whoever trained or converted it."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict, cast

from mms_jax.errors import CheckpointError

RECOGNIZER, IDENTIFIER, ENCODER, VOICE = "recognizer", "identifier", "encoder", "voice"

ORIGIN = ("history", "evaluation")  # fields that travel with a model when it is converted


class Description(TypedDict):
    """Fields of a model's description.

    kind: RECOGNIZER, IDENTIFIER, ENCODER (pretraining heads or none) or VOICE; decides how inference uses the model.
    model: the geometry, fields of Wav2Vec2Config or VitsConfig.
    task: name of the task that trained it; absent from converted models.
    vocabulary: of a recognizer, see `mms_jax.text.vocabulary.vocabulary_from_json`.
    languages: of an identifier, ISO 639-3, in the order of the logits.
    latent, activation: of an identifier, see Wav2Vec2ForIdentification.
    text: of a voice, see `mms_jax.text.voice_tokenizer.VoiceTokenizer.from_json`.
    speakers: names of the speakers of a voice with several, by number; absent where they have none.
    history: the data that it was trained on, of models trained here; see `mms_jax.training.history`.
    chosen: of a best checkpoint, its scores on the dev corpora, and the one that it was chosen "by".
    evaluation: its scores on corpora, from the last `mms_jax.evaluate` of its step.
    """

    kind: str
    model: dict[str, Any]
    task: NotRequired[str]
    vocabulary: NotRequired[dict[str, Any]]
    languages: NotRequired[list[str]]
    latent: NotRequired[int]
    activation: NotRequired[str]
    text: NotRequired[dict[str, Any]]
    speakers: NotRequired[list[str]]
    history: NotRequired[dict[str, Any]]
    chosen: NotRequired[dict[str, Any]]
    evaluation: NotRequired[dict[str, Any]]


def upgraded(stored: Mapping[str, Any]) -> Description:
    """A stored description with today's fields. Checkpoints of version 0.1 name no kind; their fields imply it."""
    kind = ENCODER
    for field, implied in (("text", VOICE), ("vocabulary", RECOGNIZER), ("languages", IDENTIFIER)):
        if field in stored:
            kind = implied
            break
    return cast(Description, {"kind": kind, **stored})


def check_fields(fields: Mapping[str, Any], geometry: type) -> None:
    """Raises CheckpointError where a stored geometry has fields that its class does not know."""
    unknown = sorted(set(fields) - {field.name for field in dataclasses.fields(geometry)})
    if unknown:
        raise CheckpointError(
            f"the model's description has unknown fields ({', '.join(unknown)}): a newer version wrote it; update mms_jax"
        )


def origin_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that say where a model comes from."""
    return {name: fields[name] for name in ORIGIN if name in fields}
