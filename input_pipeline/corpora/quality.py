"""Selection of aligned verses for a corpus: reasons to drop them, times of clips, splits.

The selection uses the JSON of `mms-jax align --output-dir`, so that thresholds can be changed without aligning again.
"""

import dataclasses
import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

Record = Mapping[str, Any]

SPLITS = ("train", "validation", "test")
_SHARE, _MOST_SECONDS = 0.1, 2 * 3600.0  # of a recording that validation and test get each, whichever is less
_MARK = re.compile(r"(?<![A-Z])(MRK(?![A-Z])|B02(?!\d))")
_JOHN = re.compile(r"(?<![A-Z])(JHN(?![A-Z])|B04(?!\d))")


@dataclasses.dataclass(frozen=True)
class Rules:
    """Conditions for keeping a verse; the defaults are those of MMS (Pratap et al. 2023, section 3.1).

    Attributes:
      min_score: of a verse's alignment, see Span.
      min_confidence: of a verse's alignment, and of its chapter's, where `align` gave one.
      max_cer: of a recognizer's transcript of it, where `mms-jax verify` made one.
      max_recording_cer: over all verses of a recording; above it, none of them is kept.
      min_seconds, max_seconds: of a clip.
      max_silence: seconds of silence that a clip keeps before and after the speech, at most (MMS keeps all).
    """

    min_score: float = -0.2
    min_confidence: float = 0.5
    max_cer: float = 0.1
    max_recording_cer: float = 0.05
    min_seconds: float = 0.5
    max_seconds: float = 60.0
    max_silence: float = 0.5


def clip_times(verse: Mapping[str, Any], rules: Rules) -> tuple[float, float]:
    """Start and end of a verse's clip in seconds."""
    start = max(verse["cut_start"], verse["start"] - rules.max_silence)
    return start, min(verse["cut_end"], verse["end"] + rules.max_silence)


def judge(record: Record, rules: Rules) -> list[str]:
    """The reason for dropping each verse of a chapter; "" for verses that are kept."""
    believed = _confident(record, rules)
    return [_reason(verse, rules) or ("" if believed else "chapter not believed") for verse in record["verses"]]


def _confident(aligned: Mapping[str, Any], rules: Rules) -> bool:
    confidence = aligned.get("confidence")
    return confidence is None or confidence >= rules.min_confidence


def _reason(verse: Mapping[str, Any], rules: Rules) -> str:
    if not verse["normalized"]:
        return "no text"
    if not verse["readable"]:
        return "unreadable words"
    start, end = clip_times(verse, rules)
    if not rules.min_seconds <= end - start <= rules.max_seconds:
        return "length"
    if verse["score"] < rules.min_score:
        return "score"
    if not _confident(verse, rules):
        return "confidence"
    if verse.get("cer") is not None and verse["cer"] > rules.max_cer:
        return "CER"
    return ""


def too_many_errors(records: Mapping[str, Record], rules: Rules) -> dict[str, float]:
    """The recordings whose verses, as kept by the other rules, have too high a CER when pooled.

    A recording is a folder of chapters (one reader, one edition); chapters without a folder are one recording.

    Returns:
      CER by recording.
    """
    errors: dict[str, float] = {}
    characters: dict[str, int] = {}
    for name, record in records.items():
        recording = recording_of(name)
        for verse, reason in zip(record["verses"], judge(record, rules)):
            if not reason and verse.get("cer") is not None:
                length = len(verse["normalized"])
                errors[recording] = errors.get(recording, 0.0) + verse["cer"] * length
                characters[recording] = characters.get(recording, 0) + length
    rates = {recording: errors[recording] / characters[recording] for recording in errors}
    return {recording: rate for recording, rate in rates.items() if rate > rules.max_recording_cer}


def recording_of(name: str) -> str:
    """The folder part of a chapter's name."""
    return name.rpartition("/")[0]


def split_by_book(name: str) -> str:
    """The split of a chapter of the New Testament: Mark for validation, John for testing (Pratap et al. 2023, section
    3.1.5).

    Books are recognized by their USFM code (MRK, JHN) or by Faith Comes By Hearing's number (B02, B04) in the file's name.
    """
    stem = name.rpartition("/")[2]
    return "validation" if _MARK.search(stem) else "test" if _JOHN.search(stem) else "train"


def split_by_chapters(seconds: Mapping[str, float]) -> dict[str, str]:
    """Splits by whole chapters, where there are no such books; the split is deterministic.

    Chapters of each recording go to the test split, and then to the validation split, until each holds a tenth of the
    recording or two hours, whichever is less (Pratap et al. 2023, section 3.1.5). Their names determine which chapters
    these are. A recording of fewer than three chapters is all training data.

    Args:
      seconds: of each chapter, by name.
    """
    splits = dict.fromkeys(seconds, "train")
    for recording in sorted({recording_of(name) for name in seconds}):
        names = sorted((name for name in seconds if recording_of(name) == recording), key=_draw)
        wanted = min(_SHARE * sum(seconds[name] for name in names), _MOST_SECONDS)
        if len(names) < len(SPLITS):
            continue
        for split in ("test", "validation"):
            held = 0.0
            while names and held < wanted:
                splits[names[0]] = split
                held += seconds[names.pop(0)]
    return splits


def _draw(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def reasons_table(records: Mapping[str, Record], reasons: Mapping[str, list[str]], rules: Rules) -> str:
    """A table of the numbers of verses and minutes of clips that are kept, and dropped by reason."""
    verses: dict[str, int] = {}
    seconds: dict[str, float] = {}
    for name, record in records.items():
        for verse, reason in zip(record["verses"], reasons[name]):
            key = f"dropped: {reason}" if reason else "kept"
            verses[key] = verses.get(key, 0) + 1
            start, end = clip_times(verse, rules)
            seconds[key] = seconds.get(key, 0.0) + end - start
    lines = [f"{'':<28}{'verses':>8}{'minutes':>10}"]
    lines += [
        f"{key:<28}{verses[key]:>8}{seconds[key] / 60:>10.1f}" for key in sorted(verses, key=lambda k: (k != "kept", k))
    ]
    return "\n".join(lines)


def report_rows(records: Mapping[str, Record], reasons: Mapping[str, list[str]]) -> Iterable[str]:
    """A tab-separated table with a line for every verse: its times, scores, and the reason if it is dropped."""
    yield "chapter\tverse\tstart\tend\tscore\tcer\tdropped\ttext"
    for name, record in records.items():
        for number, (verse, reason) in enumerate(zip(record["verses"], reasons[name]), start=1):
            score, cer = ("" if verse.get(key) is None else f"{verse[key]:.4f}" for key in ("score", "cer"))
            text = " ".join(verse["text"].split())
            yield f"{name}\t{number}\t{verse['start']:.3f}\t{verse['end']:.3f}\t{score}\t{cer}\t{reason}\t{text}"
