"""Aligned chapters as files: Praat TextGrid, tables, subtitles."""

from collections.abc import Sequence

from mms_jax.alignment.chapters import Chapter
from mms_jax.alignment.spans import Span
from mms_jax.decoding.subtitles import Cue, to_srt, to_vtt
from mms_jax.errors import InputError


def format_chapter(chapter: Chapter, form: str) -> str:
    """The chapter as "textgrid", "srt", "vtt" or "tsv"."""
    match form:
        case "textgrid":
            return to_textgrid(chapter)
        case "srt":
            return to_srt(_cues(chapter))
        case "vtt":
            return to_vtt(_cues(chapter))
        case "tsv":
            return to_tsv(chapter)
    raise InputError(f"no format {form!r}; choose textgrid, srt, vtt or tsv")


def to_tsv(chapter: Chapter) -> str:
    """A table of verses and words, tab-separated with a header line; a missing score is left empty."""
    lines = ["kind\tverse\tstart\tend\tscore\ttext"]
    for number, verse in enumerate(chapter.verses, start=1):
        for kind, span in [("verse", verse), *(("word", word) for word in verse.words)]:
            score = "" if span.score is None else f"{span.score:.4f}"
            text = " ".join(span.text.split())
            lines.append(f"{kind}\t{number}\t{span.start:.3f}\t{span.end:.3f}\t{score}\t{text}")
    return "\n".join(lines)


def to_textgrid(chapter: Chapter) -> str:
    """A Praat TextGrid in its long form, with the tiers verses, words and characters."""
    verses = chapter.verses
    words = [word for verse in verses for word in verse.words]
    tiers: dict[str, Sequence[Span]] = {
        "verses": verses,
        "words": words,
        "characters": [span for word in words for span in word.characters],
    }
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {chapter.seconds:.4f}"]
    lines += ["tiers? <exists>", f"size = {len(tiers)}", "item []:"]
    for number, (name, spans) in enumerate(tiers.items(), start=1):
        intervals = _covering(spans, chapter.seconds)
        lines += [f"    item [{number}]:", '        class = "IntervalTier"', f'        name = "{name}"']
        lines += ["        xmin = 0", f"        xmax = {chapter.seconds:.4f}"]
        lines += [f"        intervals: size = {len(intervals)}"]
        for place, (start, end, text) in enumerate(intervals, start=1):
            quoted = text.replace('"', '""')
            lines += [f"        intervals [{place}]:", f"            xmin = {start:.4f}"]
            lines += [f"            xmax = {end:.4f}", f'            text = "{quoted}"']
    return "\n".join(lines)


def _covering(spans: Sequence[Span], seconds: float) -> list[Cue]:
    """The spans with empty intervals between: Praat requires tiers without gaps and without intervals of length 0."""
    intervals, position = [], 0.0
    for span in spans:
        start, end = max(span.start, position), min(span.end, seconds)
        if end - start < 1e-4:
            continue
        if start - position > 1e-4:
            intervals.append(Cue(position, start, ""))
            position = start
        intervals.append(Cue(position, end, span.text))
        position = end
    if seconds - position > 1e-4:
        intervals.append(Cue(position, seconds, ""))
    return intervals


def _cues(chapter: Chapter) -> list[Cue]:
    return [Cue(verse.start, verse.end, verse.text.strip()) for verse in chapter.verses if verse.words]
