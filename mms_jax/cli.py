"""The command `mms-jax`: parses, calls, prints."""

import argparse
import collections
import contextlib
import dataclasses
import json
import pathlib
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from mms_jax.audio.errors import AudioError
from mms_jax.audio.inputs import audio_files
from mms_jax.errors import CheckpointError

if TYPE_CHECKING:
    from mms_jax.decoding.beam import BeamSettings
    from mms_jax.recognizer import Transcript

AUTO = "auto"
_MODEL = "a run's folder, a Hugging Face folder or repository (OWNER/NAME), a .pt file of fairseq or MMS_FA"
_FILES = "recordings of any format, rate and length; folders of them; - for standard input"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a subcommand; returns the exit status: 0 only if every input was done."""
    parser = argparse.ArgumentParser(prog="mms-jax", description="Massively multilingual speech in JAX.")
    commands = parser.add_subparsers(dest="command", required=True)
    _add_transcribe(commands)
    _add_identify(commands)
    _add_align(commands)
    _add_verify(commands)
    _add_speak(commands)
    _add_convert(commands)
    _add_export(commands)
    arguments = parser.parse_args(argv)
    try:
        return arguments.run(arguments)
    except (CheckpointError, OSError, ValueError) as error:  # what this project raises for wrong input
        print(f"error: {error}", file=sys.stderr)
        return 1


def _add_transcribe(commands: Any) -> None:
    transcribe = commands.add_parser("transcribe", help="recordings to text")
    transcribe.set_defaults(run=_transcribe)
    transcribe.add_argument("files", nargs="+", metavar="AUDIO", help=_FILES)
    transcribe.add_argument("--model", required=True, help=_MODEL)
    transcribe.add_argument(
        "--lang", required=True, help="language, ISO 639-3 (swh); one for each file (swh,yor); or auto, with --lid"
    )
    transcribe.add_argument("--lid", metavar="MODEL", help="identifier that --lang auto asks")
    transcribe.add_argument("--format", choices=("text", "json", "srt", "vtt"), default="text", help="default: text")
    transcribe.add_argument("--output-dir", type=pathlib.Path, help="write a file for each recording, print nothing")

    search = transcribe.add_argument_group("beam search", "with any of --lm, --hot-words and --beam; for one language")
    search.add_argument("--lm", metavar="FILE", help="KenLM model, .arpa or binary")
    search.add_argument("--lm-unit", choices=("word", "character"), help="what it counts (default: word)")
    search.add_argument("--lexicon", metavar="FILE", help="its known words, one a line (default: those of an .arpa)")
    search.add_argument("--hot-words", metavar="W1,W2", help="words to prefer, such as names")
    search.add_argument("--lm-weight", type=float, help="factor on its log probabilities (default: 0.5)")
    search.add_argument("--word-score", type=float, help="added for each word (default: 1.5)")
    search.add_argument("--beam", type=int, help="hypotheses to keep (default: 100)")


def _add_identify(commands: Any) -> None:
    identify = commands.add_parser("identify", help="which languages recordings are in")
    identify.set_defaults(run=_identify)
    identify.add_argument("files", nargs="+", metavar="AUDIO", help=_FILES)
    identify.add_argument("--model", required=True, help=_MODEL)
    identify.add_argument("--top", type=int, default=3, help="how many languages to print (default: 3)")
    identify.add_argument("--format", choices=("text", "json"), default="text", help="default: text")


def _add_align(commands: Any) -> None:
    align = commands.add_parser("align", help="when each verse, word and character of a text was said")
    align.set_defaults(run=_align)
    align.add_argument("audio", metavar="AUDIO", help="a recording of any format, rate and length, or a folder of them")
    align.add_argument("text", metavar="TEXT", help="its text, one verse a line; or a folder, NAME.txt for NAME.mp3")
    align.add_argument(
        "--lang", required=True,
        help="language, ISO 639-3 (any, for models of romanised text); or folder: recordings lie in folders named by it",
    )  # fmt: skip
    align.add_argument("--model", required=True, help=f"a CTC recogniser: {_MODEL}")
    align.add_argument(
        "--format", choices=("json", "textgrid", "srt", "vtt", "tsv"), default="json", help="default: json"
    )
    align.add_argument("--output-dir", type=pathlib.Path, help="write NAME.json, and NAME in the --format, here; what is "
                       "done is not done again")  # fmt: skip
    align.add_argument("--clips", type=pathlib.Path, metavar="DIR", help="cut verses to DIR/NAME, with a manifest")
    align.add_argument("--plot", type=pathlib.Path, metavar="PNG", help="draw ten seconds of the (one) recording")
    align.add_argument("--plot-at", type=float, default=0.0, metavar="S", help="where they begin (default: 0)")
    align.add_argument("--remove-brackets", action="store_true", help="what stands in brackets was not read")
    align.add_argument("--as-released", action="store_true", help="normalise text with the slips of MMS's release")


def _add_verify(commands: Any) -> None:
    verify = commands.add_parser("verify", help="compare aligned verses with what a recogniser hears")
    verify.set_defaults(run=_verify)
    verify.add_argument("folder", metavar="DIR", help="the --output-dir of align; its verses get their error rate")
    verify.add_argument("--model", required=True, help=f"a recogniser of the language: {_MODEL}")


def _add_speak(commands: Any) -> None:
    speak = commands.add_parser("speak", help="text to audio")
    speak.set_defaults(run=_speak)
    speak.add_argument("text", nargs="?", metavar="TEXT", help="what to say; - for standard input")
    speak.add_argument("--file", type=pathlib.Path, metavar="FILE", help="a text file to say instead")
    speak.add_argument(
        "--model", required=True,
        help="a voice: a run's folder, a Hugging Face folder or repository (OWNER/NAME), or G_STEPS.pth with its files",
    )  # fmt: skip
    output = speak.add_mutually_exclusive_group(required=True)
    output.add_argument("--out", metavar="FILE", help="NAME.wav, .flac or .ogg; - streams WAV to standard output")
    output.add_argument("--output-dir", type=pathlib.Path, help="say each line by itself, to 0001.wav, 0002.wav, ...")
    speak.add_argument("--seed", type=int, default=0, help="of all that is drawn (default: 0)")
    speak.add_argument("--speed", type=float, help="2 is twice as fast (default: the voice's)")
    speak.add_argument("--noise", type=float, help="variation of the sound, 0 for none (default: the voice's)")
    speak.add_argument(
        "--noise-duration", type=float, help="variation of the rhythm, 0 for none (default: the voice's)"
    )
    speak.add_argument("--speaker", type=int, default=0, help="which, of a voice that has several (default: 0)")


def _add_convert(commands: Any) -> None:
    convert = commands.add_parser("convert", help="models of other programs to this one's form, and back")
    convert.set_defaults(run=_convert)
    convert.add_argument("source", metavar="SRC", help=_MODEL)
    convert.add_argument("target", metavar="DST", help="a new folder")
    convert.add_argument("--to", choices=("orbax", "huggingface"), default="orbax", help="its form (default: orbax)")
    convert.add_argument("--lang", metavar="L1,L2", help="of a model with language adapters, those to keep")


def _add_export(commands: Any) -> None:
    export = commands.add_parser("export", help="a recogniser as one StableHLO program, for serving")
    export.set_defaults(run=_export)
    export.add_argument("source", metavar="SRC", help=_MODEL)
    export.add_argument("target", metavar="DST", help="a new folder; `transcribe --model DST` runs it")
    export.add_argument("--lang", metavar="L1,L2", help="of a model with language adapters, those to hold")
    export.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="in which it computes")


def _transcribe(arguments: argparse.Namespace) -> int:
    import mms_jax

    beam = _beam_settings(arguments)
    with audio_files(arguments.files) as named:
        paths = [path for _, path in named]
        languages = _identified(arguments, paths) if arguments.lang == AUTO else arguments.lang.split(",")
        if len(languages) == 1:
            languages *= len(paths)
        wanted = sorted(set(languages))
        if beam and beam.lm and len(wanted) > 1:
            raise ValueError(f"--lm is a model of one language, these are {', '.join(wanted)}; call once for each")
        model = mms_jax.load_recognizer(arguments.model, wanted)
        results = model.transcribe_each(paths, language=languages, beam=beam)
        write = _TranscriptWriter(arguments.format, arguments.output_dir, single=len(named) == 1)
        return _each("transcribe", [name for name, _ in named], results, write)


def _beam_settings(arguments: argparse.Namespace) -> "BeamSettings | None":
    from mms_jax.decoding.beam import BeamSettings

    of_lm = {"unit": arguments.lm_unit, "lexicon": arguments.lexicon, "lm_weight": arguments.lm_weight,
             "word_score": arguments.word_score}  # fmt: skip
    given = {name: value for name, value in of_lm.items() if value is not None}
    if given and not arguments.lm:
        raise ValueError("--lm-unit, --lexicon, --lm-weight and --word-score belong to a language model; give --lm")
    if arguments.hot_words:
        given["hot_words"] = tuple(arguments.hot_words.split(","))
    if arguments.beam is not None:
        given["beam"] = arguments.beam
    return BeamSettings(lm=arguments.lm, **given) if given or arguments.lm else None


def _identified(arguments: argparse.Namespace, paths: Sequence[str]) -> list[str]:
    """The language of each recording, by the identifier; a recording that cannot be read takes the first."""
    if not arguments.lid:
        raise ValueError("--lang auto needs an identifier: --lid facebook/mms-lid-126, or its folder")
    results = list(_identifier(arguments.lid).identify_each(paths, top=1))
    found = [None if isinstance(result, AudioError) else result.languages[0][0] for result in results]
    known = [language for language in found if language]
    if not known:
        raise next(result for result in results if isinstance(result, AudioError))
    return [language or known[0] for language in found]


class _TranscriptWriter:
    """Prints transcripts, or writes each beside its name in a folder."""

    def __init__(self, form: str, folder: pathlib.Path | None, *, single: bool):
        self._form, self._folder, self._single = form, folder, single
        self._taken: collections.Counter[str] = collections.Counter()
        if folder:
            folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, name: str, transcript: "Transcript") -> None:
        text = self._formatted(name, transcript)
        if self._folder is None:
            tqdm.write(_titled(name, text, single=self._single or self._form != "text"))
            return
        stem = "stdin" if name == "-" else pathlib.Path(name).stem
        self._taken[stem] += 1
        again = f"-{self._taken[stem]}" if self._taken[stem] > 1 else ""
        suffix = {"text": "txt"}.get(self._form, self._form)
        (self._folder / f"{stem}{again}.{suffix}").write_text(text + "\n", encoding="utf-8")

    def _formatted(self, name: str, transcript: "Transcript") -> str:
        from mms_jax.decoding.subtitles import cues, to_srt, to_vtt

        match self._form:
            case "json":
                return _json_line(name, transcript)
            case "srt":
                return to_srt(cues(transcript.words))
            case "vtt":
                return to_vtt(cues(transcript.words))
        return transcript.text


def _json_line(name: str, result: Any) -> str:
    return json.dumps({"file": name, **dataclasses.asdict(result)}, ensure_ascii=False)


def _titled(name: str, text: str, *, single: bool) -> str:
    """A line for people; which file it is about is said where there are several."""
    return text if single else f"{name}\t{text}"


def _identify(arguments: argparse.Namespace) -> int:
    model = _identifier(arguments.model)

    with audio_files(arguments.files) as named:

        def write(name: str, result: Any) -> None:
            if arguments.format == "json":
                tqdm.write(_json_line(name, result))
            else:
                found = "  ".join(f"{language} {probability:.4f}" for language, probability in result.languages)
                tqdm.write(_titled(name, found, single=len(named) == 1))

        results = model.identify_each([path for _, path in named], top=arguments.top)
        return _each("identify", [name for name, _ in named], results, write)


def _identifier(name: str):
    import mms_jax
    from mms_jax.encoders import Identifier

    model = mms_jax.load(name)
    if not isinstance(model, Identifier):
        raise CheckpointError(f"{name} does not identify languages; take one that does, such as facebook/mms-lid-126")
    return model


def _align(arguments: argparse.Namespace) -> int:
    import mms_jax
    from mms_jax.alignment import command

    return command.run(arguments, mms_jax.load_recognizer)


def _verify(arguments: argparse.Namespace) -> int:
    import mms_jax
    from mms_jax.alignment import verify

    return verify.run(arguments, mms_jax.load_recognizer)


def _speak(arguments: argparse.Namespace) -> int:
    from mms_jax import speaking

    return speaking.run(arguments)


def _convert(arguments: argparse.Namespace) -> int:
    from mms_jax.checkpoint import save_model
    from mms_jax.interop import huggingface, vits
    from mms_jax.loading import find_model

    stored = find_model(arguments.source, arguments.lang.split(",") if arguments.lang else None)
    if arguments.to == "orbax":
        save_model(pathlib.Path(arguments.target), stored)
    else:
        kind = vits if stored.description["task"] == "tts" else huggingface
        kind.save_folder(stored, pathlib.Path(arguments.target))
    print(arguments.target)
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from mms_jax.interop.stablehlo import save_program
    from mms_jax.loading import find_model

    stored = find_model(arguments.source, arguments.lang.split(",") if arguments.lang else None)
    save_program(stored, pathlib.Path(arguments.target), arguments.dtype)
    print(arguments.target)
    return 0


def _each(title: str, names: Sequence[str], results: Iterable[Any], write: Callable[[str, Any], None]) -> int:
    """Writes results as they come, in input order; a bad file is reported and does not stop the others."""
    failed = False
    progress = tqdm(results, total=len(names), desc=title, unit="file", disable=None, leave=False)
    with contextlib.closing(progress):
        for name, result in zip(names, progress):
            if isinstance(result, AudioError):
                failed = True
                tqdm.write(f"error: {result}", file=sys.stderr)
            else:
                write(name, result)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
