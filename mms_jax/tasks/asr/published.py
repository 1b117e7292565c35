"""Published error rates, printed beside ours for the same test."""

import dataclasses
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from mms_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Published:
    """Results of one test set.

    Attributes:
      source: the publication, the test set and its languages.
      corpora: the corpora of this test, as regular expression of "NAME:SPLIT".
      measure: "cer" or "wer", the mean over languages.
      figures: rates in percent by model.
      by_language: of the model `best`, where the publication lists them; ISO 639-3.
      best: the model of `by_language`.
      by_characters: languages that the publication scores by CER, where `measure` is "wer".
    """

    source: str
    corpora: str
    measure: str
    figures: Mapping[str, float]
    by_language: Mapping[str, float] = dataclasses.field(default_factory=dict)
    best: str = ""
    by_characters: Collection[str] = ()


_MULTI, _SINGLE = "MMS, all domains (mms-1b-all), language model", "MMS, this domain alone, language model"

PUBLISHED = {
    "fleurs": Published(
        "Pratap et al. 2023, FLEURS test, 102 languages",
        r"catalog/fleurs_.*:test",
        "cer",
        {_MULTI: 6.2, _SINGLE: 6.4, "USM-M": 6.5},
        {"eng": 4.3, "ita": 1.4, "spa": 2.1, "fin": 2.4, "cmn-script_simplified": 14.9, "jpn": 14.6, "lao": 24.1,
         "gle": 19.5, "yor": 16.1},
        "MMS FL-102, a fine-tuned model for each language, language model",
    ),
    "fleurs54": Published(
        "Pratap et al. 2023, FLEURS test, 54 languages that Whisper reads, Whisper's normalization",
        r"catalog/fleurs_.*:test",
        "wer",
        {"MMS, 1,107 languages, adapters": 32.5, "MMS, 1,107 languages, adapters, language model": 18.7,
         "MMS, 61 languages, adapters": 31.0, "Whisper large-v2": 44.3},
        {"eng": 27.8, "spa": 14.0, "hin": 21.2, "amh": 53.3, "swh": 23.7, "tel": 22.1, "yor": 64.2},
        "MMS, 1,107 languages, adapters",
        by_characters=("khm", "lao", "mya", "tha"),
    ),
    "common_voice": Published(
        "Pratap et al. 2023, Common Voice 9.0 test, 76 languages", r"catalog/common_voice_.*:test", "wer",
        {_MULTI: 19.6, _SINGLE: 19.7}
    ),
    "mls": Published(
        "Pratap et al. 2023, MLS test, 8 languages", r"catalog/mls_.*:test", "wer",
        {_MULTI: 9.0, _SINGLE: 8.7, "Whisper": 7.3, "RNN-T 1B": 7.9},
    ),
    "voxpopuli": Published(
        "Pratap et al. 2023, VoxPopuli test, 14 languages", r"catalog/voxpopuli_.*:test", "wer",
        {_MULTI: 10.6, _SINGLE: 10.3, "Maestro": 8.1, "Whisper": 13.6},
    ),
    # The paper of MMS has no figures of LibriSpeech.
    "librispeech": Published(
        "Baevski et al. 2020, LibriSpeech test-clean", r"catalog/librispeech_eng:test", "wer",
        {"wav2vec 2.0 Large, 960 h of labels": 2.2, "the same, Transformer language model": 1.8},
    ),
}  # fmt: skip


def check_published(name: str, corpora: Sequence[str] = ()) -> None:
    """Raises ConfigError where there are no figures of this name ("" is none), or they are of other corpora."""
    if not name:
        return
    if name not in PUBLISHED:
        raise ConfigError(f"config.scoring.published={name!r}; choose {', '.join(PUBLISHED)}")
    for corpus in corpora:
        if not re.fullmatch(PUBLISHED[name].corpora, corpus):
            raise ConfigError(
                f"config.scoring.published={name!r} has no figures of {corpus}; with --config.scoring.published= none are "
                "printed"
            )


def comparison(result: Mapping[str, Any]) -> list[str]:
    """Ours beside the published figures, a line each; none where the result names no published test.

    Args:
      result: of `scores.error_rates`, with "published".
    """
    if not result.get("published"):
        return []
    published = PUBLISHED[result["published"]]
    rows, measure = result["by_language"], published.measure
    ours = {language: row["cer" if language in published.by_characters else measure] for language, row in rows.items()}
    lines = [f"{published.source}: {measure.upper()} %, mean over languages"]
    lines += [f"{name:<70}{value:>8.1f}" for name, value in published.figures.items()]
    mean = sum(ours.values()) / max(1, len(ours))
    lines.append(f"{f'this model, {len(rows)} languages, greedy':<70}{100 * mean:>8.1f}")
    for language in sorted(rows.keys() & published.by_language.keys()):
        lines.append(
            f"{f'{language}: {published.best}':<70}{published.by_language[language]:>8.1f}"
            f"   this model {100 * ours[language]:.1f}"
        )
    return lines
