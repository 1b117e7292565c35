"""Error rates of transcripts: pooled, by language, with intervals, and the worst utterances."""

from collections.abc import Sequence
from typing import Any

import jiwer
import numpy as np

from mms_jax.errors import ConfigError
from mms_jax.tasks.asr.published import comparison

MMS, WHISPER = "mms", "whisper"
RESAMPLES = 1000  # of the bootstrap
CONFIDENCE = 0.95
WORST = 10  # utterances that are listed
_ENGLISH = "eng"


def normalized(texts: Sequence[str], languages: Sequence[str], way: str) -> list[str]:
    """Transcripts for comparison with published figures.

    Args:
      texts: as corpora store them, normalized by MMS's rules.
      languages: of each, ISO 639-3.
      way: MMS leaves them as they are; WHISPER applies Whisper's normalizer: its English one, and for other languages the
        one that removes all marks and signs (Radford et al. 2023, appendix C).

    Raises:
      ConfigError: another way, or a library that is missing.
    """
    if way == MMS:
        return list(texts)
    if way != WHISPER:
        raise ConfigError(f"config.scoring.normalization={way!r}; choose {MMS} or {WHISPER}")
    try:
        from whisper_normalizer.basic import BasicTextNormalizer
        from whisper_normalizer.english import EnglishTextNormalizer
    except ImportError as error:
        raise ConfigError("Whisper's normalizer is missing: pip install 'mms-jax[whisper]'") from error
    english, basic = EnglishTextNormalizer(), BasicTextNormalizer()
    return [
        " ".join((english if language.split("-")[0] == _ENGLISH else basic)(text).split())
        for text, language in zip(texts, languages)
    ]


def error_rates(references: Sequence[str], hypotheses: Sequence[str], languages: Sequence[str]) -> dict[str, Any]:
    """Edit distance over reference length, characters and words, pooled over utterances.

    Args:
      references: normalized transcripts; those that are empty are left out.
      hypotheses: in the same order.
      languages: ISO 639-3, in the same order.

    Returns:
      {"cer", "wer", "utterances", "macro_cer", "macro_wer", "cer_interval", "by_language", "worst"}. Rates are fractions,
      and can exceed 1; macro rates are means over languages. Intervals, [low, high], hold 95 % of a bootstrap over
      utterances. by_language has {"cer", "wer", "utterances", "cer_interval"}; worst lists utterances with the most
      character errors, {"language", "cer", "reference", "hypothesis"}, in which * marks a missing character.
    """
    kept = [number for number, reference in enumerate(references) if reference]
    counts = np.asarray([_counts(references[number], hypotheses[number]) for number in kept]).reshape(-1, 4)
    spoken = np.asarray([languages[number] for number in kept])
    by_language = {str(language): _rates(counts[spoken == language]) for language in sorted(set(spoken.tolist()))}
    means = {
        f"macro_{name}": float(np.mean([row[name] for row in by_language.values()])) if by_language else float("nan")
        for name in ("cer", "wer")
    }
    order = np.argsort(-counts[:, 0], kind="stable")[:WORST]
    worst = [_shown(references[kept[place]], hypotheses[kept[place]], languages[kept[place]]) for place in order]
    return {**_rates(counts), **means, "by_language": by_language, "worst": worst}


def _counts(reference: str, hypothesis: str) -> tuple[int, int, int, int]:
    """Character errors, characters, word errors, words."""
    characters, words = jiwer.process_characters(reference, hypothesis), jiwer.process_words(reference, hypothesis)
    return (
        characters.substitutions + characters.deletions + characters.insertions,
        characters.substitutions + characters.deletions + characters.hits,
        words.substitutions + words.deletions + words.insertions,
        words.substitutions + words.deletions + words.hits,
    )


def _rates(counts: np.ndarray) -> dict[str, Any]:
    if not len(counts):
        return {"cer": float("nan"), "wer": float("nan"), "utterances": 0, "cer_interval": [float("nan")] * 2}
    errors, characters, wrong, words = counts.sum(axis=0).tolist()
    return {
        "cer": errors / characters,
        "wer": wrong / words,
        "utterances": len(counts),
        "cer_interval": bootstrap(counts[:, 0], counts[:, 1]),
    }


def bootstrap(errors: np.ndarray, sizes: np.ndarray, seed: int = 0) -> list[float]:
    """The interval of a pooled rate over resampled utterances (Bisani and Ney 2004).

    Args:
      errors, sizes: int (utterances,), errors and reference length of each.
      seed: of the draws.

    Returns:
      [low, high].
    """
    rng = np.random.default_rng(seed)
    rates = []
    for _ in range(RESAMPLES):
        drawn = rng.integers(0, len(errors), len(errors))
        rates.append(errors[drawn].sum() / sizes[drawn].sum())
    tail = 100 * (1 - CONFIDENCE) / 2
    return [float(value) for value in np.percentile(rates, [tail, 100 - tail])]


def _shown(reference: str, hypothesis: str, language: str) -> dict[str, Any]:
    """An utterance with reference and hypothesis one below the other."""
    found = jiwer.process_characters(reference, hypothesis)
    above, below = "", ""
    for chunk in found.alignments[0]:
        said = reference[chunk.ref_start_idx : chunk.ref_end_idx]
        heard = hypothesis[chunk.hyp_start_idx : chunk.hyp_end_idx]
        size = max(len(said), len(heard))
        above, below = above + said.ljust(size, "*"), below + heard.ljust(size, "*")
    return {"language": language, "cer": found.cer, "reference": above, "hypothesis": below}


def format_table(result: dict[str, Any]) -> str:
    """The error rates as a table for people, in percent."""
    lines = [f"{'language':<10}{'CER %':>8}{'95 %':>16}{'WER %':>8}{'utterances':>12}"]
    for language, row in [*result["by_language"].items(), ("all", result)]:
        low, high = row["cer_interval"]
        interval = f"{100 * low:.2f} - {100 * high:.2f}"
        lines.append(
            f"{language:<10}{100 * row['cer']:>8.2f}{interval:>16}{100 * row['wer']:>8.2f}{row['utterances']:>12}"
        )
    if len(result["by_language"]) > 1:
        lines.append(f"{'mean':<10}{100 * result['macro_cer']:>8.2f}{'':>16}{100 * result['macro_wer']:>8.2f}")
    return "\n".join([*lines, *comparison(result)])


def to_tsv(result: dict[str, Any]) -> str:
    """A row for each language, and "all"; rates are fractions."""
    lines = ["language\tcer\tcer_low\tcer_high\twer\tutterances"]
    for language, row in [*result["by_language"].items(), ("all", result)]:
        numbers = (row["cer"], *row["cer_interval"], row["wer"])
        lines.append("\t".join([language, *(f"{number:.6f}" for number in numbers), str(row["utterances"])]))
    return "\n".join(lines) + "\n"


def to_markdown(result: dict[str, Any]) -> str:
    """The table and the worst utterances, for a report."""
    lines = ["| language | CER % | 95 % interval | WER % | utterances |", "|---|---|---|---|---|"]
    for language, row in [*result["by_language"].items(), ("all", result)]:
        low, high = row["cer_interval"]
        lines.append(
            f"| {language} | {100 * row['cer']:.2f} | {100 * low:.2f} to {100 * high:.2f} | {100 * row['wer']:.2f} | "
            f"{row['utterances']} |"
        )
    lines.append(
        f"\nMean over languages: CER {100 * result['macro_cer']:.2f} %, WER {100 * result['macro_wer']:.2f} %."
    )
    if compared := comparison(result):
        lines.append("\n```\n" + "\n".join(compared) + "\n```")
    lines.append("\nThe utterances with the most errors; `*` marks a missing character:\n")
    for row in result["worst"]:
        lines.append(
            f"```\n{row['language']}  CER {100 * row['cer']:.1f} %\n{row['reference']}\n{row['hypothesis']}\n```"
        )
    return "\n".join(lines) + "\n"
