"""`mms-jax transcribe`: transcribes recordings to text, JSON or subtitles."""

import argparse
import collections
import pathlib
from collections.abc import Sequence

from tqdm import tqdm

from mms_jax.audio.inputs import audio_files
from mms_jax.cli.common import FILES_HELP, MODEL_HELP, json_line, text_line, write_each
from mms_jax.decoding.beam import BeamSettings
from mms_jax.decoding.subtitles import cues, to_srt, to_vtt
from mms_jax.errors import AudioError, InputError
from mms_jax.inference.load import load_identifier, load_recognizer
from mms_jax.inference.recognizer import Transcript

AUTO = "auto"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds its arguments."""
    parser.add_argument("files", nargs="+", metavar="AUDIO", help=FILES_HELP)
    parser.add_argument("--model", required=True, help=MODEL_HELP)
    parser.add_argument(
        "--lang", required=True, help="language, ISO 639-3 (swh); one for each file (swh,yor); or auto, with --lid"
    )
    parser.add_argument("--lid", metavar="MODEL", help="language identifier for --lang auto")
    parser.add_argument("--format", choices=("text", "json", "srt", "vtt"), default="text", help="default: text")
    parser.add_argument("--output-dir", type=pathlib.Path, help="folder for one file per recording; nothing is printed")

    search = parser.add_argument_group("beam search", "with any of --lm, --hot-words and --beam; for one language")
    search.add_argument("--lm", metavar="FILE", help="KenLM model, .arpa or binary")
    search.add_argument("--lm-unit", choices=("word", "character"), help="unit of the language model (default: word)")
    search.add_argument("--lexicon", metavar="FILE", help="words, one per line (default: those of an .arpa file)")
    search.add_argument("--hot-words", metavar="W1,W2", help="words to prefer, such as names")
    search.add_argument("--lm-weight", type=float, help="weight of the language model (default: 0.5)")
    search.add_argument("--word-score", type=float, help="added for each word (default: 1.5)")
    search.add_argument("--beam", type=int, help="hypotheses to keep (default: 100)")


def run(arguments: argparse.Namespace) -> int:
    """Transcribes; returns the exit status."""
    beam = _beam_settings(arguments)
    with audio_files(arguments.files) as named:
        paths = [path for _, path in named]
        languages = _identified(arguments, paths) if arguments.lang == AUTO else arguments.lang.split(",")
        if len(languages) == 1:
            languages *= len(paths)
        wanted = sorted(set(languages))
        if beam and beam.lm and len(wanted) > 1:
            raise InputError(f"--lm is a model of one language, not of {', '.join(wanted)}; run once for each")
        model = load_recognizer(arguments.model, wanted)
        results = model.transcribe_each(paths, language=languages, beam=beam)
        write = _TranscriptWriter(arguments.format, arguments.output_dir, single=len(named) == 1)
        return write_each("transcribe", [name for name, _ in named], results, write)


def _beam_settings(arguments: argparse.Namespace) -> BeamSettings | None:
    of_lm = {"unit": arguments.lm_unit, "lexicon": arguments.lexicon, "lm_weight": arguments.lm_weight,
             "word_score": arguments.word_score}  # fmt: skip
    given = {name: value for name, value in of_lm.items() if value is not None}
    if given and not arguments.lm:
        raise InputError("--lm-unit, --lexicon, --lm-weight and --word-score belong to a language model; give --lm")
    if arguments.hot_words:
        given["hot_words"] = tuple(arguments.hot_words.split(","))
    if arguments.beam is not None:
        given["beam"] = arguments.beam
    return BeamSettings(lm=arguments.lm, **given) if given or arguments.lm else None


def _identified(arguments: argparse.Namespace, paths: Sequence[str]) -> list[str]:
    """The language of each recording, by the identifier; an unreadable recording gets the first one found."""
    if not arguments.lid:
        raise InputError("--lang auto needs an identifier: --lid facebook/mms-lid-126, or its folder")
    results = list(load_identifier(arguments.lid).identify_each(paths, top=1))
    found = [None if isinstance(result, AudioError) else result.languages[0][0] for result in results]
    known = [language for language in found if language]
    if not known:
        raise next(result for result in results if isinstance(result, AudioError))
    return [language or known[0] for language in found]


class _TranscriptWriter:
    """Prints transcripts, or writes each to a file named after its recording."""

    def __init__(self, form: str, folder: pathlib.Path | None, *, single: bool):
        self._form, self._folder, self._single = form, folder, single
        self._taken: collections.Counter[str] = collections.Counter()
        if folder:
            folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, name: str, transcript: Transcript) -> None:
        text = self._formatted(name, transcript)
        if self._folder is None:
            tqdm.write(text_line(name, text, single=self._single or self._form != "text"))
            return
        stem = "stdin" if name == "-" else pathlib.Path(name).stem
        self._taken[stem] += 1
        again = f"-{self._taken[stem]}" if self._taken[stem] > 1 else ""
        suffix = {"text": "txt"}.get(self._form, self._form)
        (self._folder / f"{stem}{again}.{suffix}").write_text(text + "\n", encoding="utf-8")

    def _formatted(self, name: str, transcript: Transcript) -> str:
        match self._form:
            case "json":
                return json_line(name, transcript)
            case "srt":
                return to_srt(cues(transcript.words))
            case "vtt":
                return to_vtt(cues(transcript.words))
        return transcript.text
