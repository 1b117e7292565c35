"""`mms-jax align`: pairs of files in, alignments, subtitles and clips out; an interrupted folder is resumed."""

import argparse
import dataclasses
import json
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

from tqdm import tqdm

from input_pipeline.corpora.alignments import SETTINGS, file_checksum, read_records, write_record
from mms_jax.alignment.chapters import Chapter, align_chapters, to_json
from mms_jax.alignment.clips import write_clips
from mms_jax.alignment.formats import format_chapter
from mms_jax.alignment.pairs import Pair, find_pairs
from mms_jax.cli.common import MODEL_HELP, audio_progress, load_recognizer
from mms_jax.cli.outputs import check_folder
from mms_jax.errors import AlignmentError, AudioError, InputError
from mms_jax.files import read_json, write_text
from mms_jax.inference.recognizer import Recognizer
from mms_jax.text.mms_rules import TextRules

BY_FOLDER = "folder"  # --lang: each recording lies in a folder named by its language


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds its arguments."""
    parser.add_argument(
        "audio", metavar="AUDIO", help="a recording of any format, rate and length, or a folder of them"
    )
    parser.add_argument("text", metavar="TEXT", help="its text, one verse a line; or a folder, NAME.txt for NAME.mp3")
    parser.add_argument(
        "--lang", required=True,
        help="language, ISO 639-3 (any, for models of romanized text); or folder, where each recording lies in a "
        "folder named by its language",
    )  # fmt: skip
    parser.add_argument("--model", required=True, help=f"a CTC recognizer: {MODEL_HELP}")
    parser.add_argument(
        "--format", choices=("json", "textgrid", "srt", "vtt", "tsv"), default="json", help="default: json"
    )
    parser.add_argument(
        "--output-dir", type=pathlib.Path,
        help="folder for NAME.json, and for NAME in the --format; finished recordings are not aligned again",
    )  # fmt: skip
    parser.add_argument("--characters", action="store_true", help="the time of every character too, in JSON")
    parser.add_argument("--clips", type=pathlib.Path, metavar="DIR", help="write clips to DIR/NAME, with a manifest")
    parser.add_argument("--plot", type=pathlib.Path, metavar="PNG", help="plot ten seconds of a single recording")
    parser.add_argument("--plot-at", type=float, default=0.0, metavar="S", help="second at which to begin (default: 0)")
    parser.add_argument("--remove-brackets", action="store_true", help="ignore text in brackets, which was not read")
    parser.add_argument("--as-released", action="store_true", help="normalize text with the errors of MMS's release")


def run(arguments: argparse.Namespace) -> int:
    """Aligns; returns the exit status: 0 only if every pair was processed and is believed."""
    pairs, left_out, conflicts = find_pairs(arguments.audio, arguments.text)
    _check_arguments(arguments, len(pairs))
    for message in left_out:
        print(f"warning: {message}", file=sys.stderr)
    for message in conflicts:
        print(f"error: {message}", file=sys.stderr)
    failed, waiting = bool(conflicts), pairs
    if arguments.output_dir:
        _check_settings(arguments.output_dir, arguments)
        states = [(pair, _state(pair, arguments)) for pair in pairs]
        waiting = [pair for pair, state in states if state.waits]
        done = len(pairs) - len(waiting) - sum(bool(state.conflict) for _, state in states)
        if done:
            print(f"{done} of {len(pairs)} are done already", file=sys.stderr)
        for _, state in states:
            if state.conflict or state.doubt:
                failed = True
                print(f"error: {state.conflict or state.doubt}", file=sys.stderr)
    if not waiting:
        return int(failed)
    recognizer = load_recognizer(arguments.model, sorted({_language(pair, arguments) for pair in waiting}))
    with audio_progress("align", [str(pair.audio) for pair in waiting]) as progress:
        for pair, result in _aligned(recognizer, waiting, arguments, progress):
            try:
                if isinstance(result, Exception):
                    raise result
                _finish(pair, result, recognizer, arguments)
                if result.doubt:
                    raise AlignmentError(_disbelief(pair, result.confidence, result.doubt))
            except (AudioError, AlignmentError) as error:
                failed = True
                tqdm.write(f"error: {error}", file=sys.stderr)
    if arguments.output_dir and (arguments.output_dir / SETTINGS).exists():
        _write_dropped(arguments.output_dir)
    return int(failed)


def _check_arguments(arguments: argparse.Namespace, pairs: int) -> None:
    if arguments.plot and arguments.plot.suffix not in (".png", ".pdf", ".svg"):
        raise InputError(f"--plot {arguments.plot}: name a file .png, .pdf or .svg")
    if arguments.plot and not arguments.plot.absolute().parent.is_dir():
        raise InputError(f"--plot {arguments.plot}: there is no folder {arguments.plot.parent}")
    if arguments.output_dir:
        check_folder(arguments.output_dir)
    if pairs > 1 and arguments.plot:
        raise AlignmentError("--plot draws one recording; name it and its text")
    if pairs > 1 and arguments.format != "json" and not arguments.output_dir:
        raise AlignmentError(f"--format {arguments.format} of several recordings needs --output-dir")


def _disbelief(pair: Pair, confidence: float | None, doubt: str) -> str:
    return f"{pair.audio}: the alignment is not believed (confidence {confidence or 0.0:.2f}): {doubt}"


def _aligned(
    recognizer: Recognizer, pairs: list[Pair], arguments: argparse.Namespace, progress: Callable[[float], None]
) -> Iterator[tuple[Pair, Chapter | AudioError | AlignmentError]]:
    """Every pair with its chapter or its error, in order."""
    texts: dict[str, list[str]] = {}
    unreadable: dict[str, AlignmentError] = {}
    for pair in pairs:
        try:
            texts[pair.name] = pair.lines()
        except AlignmentError as error:
            unreadable[pair.name] = error
    readable = [pair for pair in pairs if pair.name in texts]
    chapters = align_chapters(
        recognizer, [str(pair.audio) for pair in readable], list(texts.values()),
        [_language(pair, arguments) for pair in readable], TextRules(arguments.as_released, arguments.remove_brackets),
        progress=progress,
    )  # fmt: skip
    for pair in pairs:
        yield pair, next(chapters) if pair.name in texts else unreadable[pair.name]


def _language(pair: Pair, arguments: argparse.Namespace) -> str:
    return pair.audio.resolve().parent.name if arguments.lang == BY_FOLDER else arguments.lang


def _finish(pair: Pair, chapter: Chapter, recognizer: Recognizer, arguments: argparse.Namespace) -> None:
    """Writes the requested files. The JSON comes last, and marks the others as complete."""
    fields = to_json(chapter, characters=arguments.characters)
    record = {"file": str(pair.audio), "text_file": str(pair.text), **fields}
    if chapter.doubtful:
        count, shown = len(chapter.doubtful), ", ".join(map(str, chapter.doubtful[:10]))
        tqdm.write(
            f"warning: {pair.audio}: {count} of {len(chapter.verses)} verses are doubtful (lines {shown}"
            f"{', ...' if count > 10 else ''}): read differently, not read, or misplaced",
            file=sys.stderr,
        )
    if arguments.clips and not chapter.doubt:
        write_clips(record, arguments.clips / pair.name)
    if arguments.plot:
        from mms_jax.alignment.plot import plot_alignment

        plot_alignment(chapter, str(pair.audio), recognizer, arguments.plot, start=arguments.plot_at)
    as_json = arguments.format == "json"
    if not arguments.output_dir:
        tqdm.write(json.dumps(record, ensure_ascii=False) if as_json else format_chapter(chapter, arguments.format))
        return
    if not as_json:
        path = _output(pair, arguments, arguments.format)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, format_chapter(chapter, arguments.format) + "\n")
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    if not (arguments.output_dir / SETTINGS).exists():
        write_text(arguments.output_dir / SETTINGS, json.dumps(_settings(arguments)) + "\n")
    places = {"file": str(pair.audio.resolve()), "text_file": str(pair.text.resolve())}
    write_record(_output(pair, arguments, "json"), record | places | {"sha256": file_checksum(pair.audio)})


def _write_dropped(folder: pathlib.Path) -> None:
    """Writes dropped.tsv: the characters and words of each text without a symbol."""
    rows = [
        f"{name}\t{what}\t{times}"
        for name, record in (read_records(folder) if any(folder.rglob("*.json")) else {}).items()
        for what, times in sorted(record["dropped"].items(), key=lambda item: -item[1])
    ]
    write_text(folder / "dropped.tsv", "\n".join(["chapter\tdropped\ttimes", *rows]) + "\n")


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(arguments, name) for name in ("model", "lang", "as_released", "remove_brackets")}


def _check_settings(folder: pathlib.Path, arguments: argparse.Namespace) -> None:
    """Refuses a folder of alignments by another model or language, since a corpus is made from all of them."""
    path, settings = folder / SETTINGS, _settings(arguments)
    if path.exists() and (others := read_json(path, AlignmentError)) != settings:
        differing = ", ".join(f"{key}={others.get(key)!r}" for key in settings if others.get(key) != settings[key])
        raise AlignmentError(f"{folder} holds alignments made with {differing}; choose another --output-dir")


@dataclasses.dataclass(frozen=True)
class _State:
    """The state of a pair in the output folder: it waits, it is done, or another recording's result is in its place.

    Attributes:
      waits: whether it is to be aligned.
      conflict: why its result cannot be written; "" where it can.
      doubt: why the finished alignment is not believed; "" where it is, or is not finished.
    """

    waits: bool = False
    conflict: str = ""
    doubt: str = ""


def _state(pair: Pair, arguments: argparse.Namespace) -> _State:
    path = _output(pair, arguments, "json")
    if not path.exists():
        return _State(waits=True)
    record = read_json(path, AlignmentError)
    own = {"file": str(pair.audio.resolve()), "text_file": str(pair.text.resolve())}
    if record.get("file") != own["file"]:
        return _State(
            conflict=f"{pair.audio}: {path} holds the alignment of {record.get('file')}; choose another --output-dir"
        )
    if record.get("text_file") != own["text_file"] or not _is_done(pair, arguments, record):
        tqdm.write(f"replacing the older {path}", file=sys.stderr)
        return _State(waits=True)
    doubt = record.get("doubt", "")
    return _State(doubt=_disbelief(pair, record["confidence"], doubt) if doubt else "")


def _is_done(pair: Pair, arguments: argparse.Namespace, record: dict[str, Any]) -> bool:
    """Whether the alignment has everything that is asked for, and is newer than recording and text."""
    wanted = [_output(pair, arguments, form) for form in ("json", arguments.format)]
    if arguments.clips and not record.get("doubt"):
        wanted.append(arguments.clips / pair.name / "manifest.json")
    if not all(path.exists() for path in wanted) or not pair.audio.exists():
        return False
    words = [word for verse in record.get("verses", ()) for word in verse["words"]]
    if arguments.characters and not all("characters" in word for word in words):
        return False
    newest = max(pair.audio.stat().st_mtime, pair.text.stat().st_mtime)
    return all(path.stat().st_mtime >= newest for path in wanted)


def _output(pair: Pair, arguments: argparse.Namespace, form: str) -> pathlib.Path:
    suffix = {"textgrid": "TextGrid"}.get(form, form)
    return arguments.output_dir / f"{pair.name}.{suffix}"
