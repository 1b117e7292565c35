"""`mms-jax transcribe`: transcribes recordings to text, JSON or subtitles."""

import argparse
import pathlib
from collections.abc import Sequence

from tqdm import tqdm

from mms_jax.audio.inputs import AudioInput, audio_files
from mms_jax.cli.common import (
    FILES_HELP,
    MODEL_HELP,
    audio_progress,
    json_line,
    load_identifier,
    load_recognizer,
    split_languages,
    text_line,
    write_each,
)
from mms_jax.cli.outputs import OUTPUT_HELP, output_files
from mms_jax.decoding.beam import BeamSettings
from mms_jax.decoding.subtitles import cues, to_srt, to_vtt
from mms_jax.decoding.zero_shot import ZeroShotSettings
from mms_jax.errors import AudioError, InputError
from mms_jax.inference.recognizer import Transcript
from mms_jax.text.language_list import spoken_language
from mms_jax.text.languages import ANY_LANGUAGE, check_code

SUBTITLES = ("srt", "vtt")
AUTO = "auto"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds its arguments."""
    parser.add_argument("files", nargs="+", metavar="AUDIO", help=FILES_HELP)
    parser.add_argument("--model", required=True, help=MODEL_HELP)
    parser.add_argument(
        "--lang", required=True, help="language, ISO 639-3 (swh); one for each file (swh,yor); or auto, with --lid"
    )
    auto = parser.add_argument_group("with --lang auto")
    auto.add_argument("--lid", metavar="MODEL", help="language identifier")
    auto.add_argument("--candidates", metavar="L1,L2", help="the only languages in question (default: all it knows)")
    auto.add_argument(
        "--weights", metavar="FILE", type=pathlib.Path,
        help="from mms-jax rerank: the language is chosen by identifier and transcripts together",
    )  # fmt: skip
    auto.add_argument("--aligner", metavar="MODEL", help="recognizer of romanized text, where the weights need one")
    auto.add_argument("--top", type=int, help="languages of a recording that are tried with --weights (default: 10)")
    parser.add_argument("--format", choices=("text", "json", "srt", "vtt"), default="text", help="default: text")
    parser.add_argument("--output-dir", type=pathlib.Path, help=OUTPUT_HELP)

    parser.add_argument(
        "--zero-shot", metavar="WORDS", help="file of words of a language that the recognizer of romanized text never "
        "learned, in its own script; with --lm, --lm-weight (1.48), --word-score (-3.5; -0.18 with --lm), --beam (500)",
    )  # fmt: skip

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
    beam: BeamSettings | ZeroShotSettings | None = None if arguments.zero_shot else _beam_settings(arguments)
    suffix = {"text": "txt"}.get(arguments.format, arguments.format)
    with audio_files(arguments.files) as given:
        if arguments.format in SUBTITLES and len(given) > 1 and not arguments.output_dir:
            raise InputError(f"--format {arguments.format} of several recordings needs --output-dir")
        languages = _languages(arguments, given)
        with output_files(arguments.output_dir, given, suffix) as (chosen, write):
            inputs = [given[number] for number in chosen]
            spoken = [languages[number] for number in chosen] if languages else _identified(arguments, inputs)
            if arguments.zero_shot:
                beam, spoken = _zero_shot_settings(arguments, spoken), [ANY_LANGUAGE] * len(spoken)
            wanted = sorted(set(spoken))
            if beam and beam.lm and len(wanted) > 1:
                raise InputError(f"--lm is a model of one language, not of {', '.join(wanted)}; run once for each")
            model = load_recognizer(arguments.model, wanted)

            def write_result(place: int, transcript: Transcript) -> None:
                name, text = inputs[place].name, _formatted(inputs[place].name, transcript, arguments.format)
                if write:
                    write(chosen[place], text)
                else:
                    tqdm.write(text_line(name, text, single=len(given) == 1 or arguments.format != "text"))

            paths = [each.path for each in inputs]
            with audio_progress("transcribe", paths) as progress:
                results = model.transcribe_each(paths, language=spoken, beam=beam, progress=progress)
                status = write_each(inputs, results, write_result)
    return max(status, int(len(chosen) < len(given)))


def _languages(arguments: argparse.Namespace, given: Sequence[AudioInput]) -> list[str]:
    """The language of each input; empty where they are to be identified."""
    if arguments.lang == AUTO:
        if not arguments.lid:
            raise InputError("--lang auto needs an identifier: --lid facebook/mms-lid-126, or its folder")
        if not arguments.weights and (arguments.aligner or arguments.top):
            raise InputError("--aligner and --top belong to re-ranking; give the --weights of mms-jax rerank")
        return []
    if arguments.lid or arguments.candidates or arguments.weights or arguments.aligner or arguments.top:
        raise InputError("--lid, --candidates, --weights, --aligner and --top belong to --lang auto")
    languages = arguments.lang.split(",")
    if len(languages) == 1:
        languages *= len(given)
    if len(languages) != len(given):
        raise InputError(f"{len(languages)} languages for {len(given)} recordings; give one, or one for each")
    return languages


def _zero_shot_settings(arguments: argparse.Namespace, languages: Sequence[str]) -> ZeroShotSettings:
    if arguments.hot_words or arguments.lexicon or arguments.lm_unit:
        raise InputError("--zero-shot takes its words from one file; leave out --hot-words, --lexicon and --lm-unit")
    if len(set(languages)) != 1:
        raise InputError("--zero-shot is for one language: name it with --lang, for the rules of romanization")
    check_code(languages[0])
    more = {} if arguments.beam is None else {"beam": arguments.beam}
    return ZeroShotSettings(
        arguments.zero_shot, languages[0], arguments.lm, arguments.lm_weight, arguments.word_score, **more
    )


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


def _identified(arguments: argparse.Namespace, inputs: Sequence[AudioInput]) -> list[str]:
    """The language of each recording; an unreadable recording gets the first one found."""
    # Here, so that an exported recognizer loads no model code.
    from mms_jax.reranking.candidates import Shortlist, find_candidates, shortlist
    from mms_jax.reranking.weights import Weights

    paths = [each.path for each in inputs]
    identifier, wanted = load_identifier(arguments.lid), split_languages(arguments.candidates)
    weights = Weights.load(arguments.weights) if arguments.weights else Weights()
    if weights.alignment and not arguments.aligner:
        raise InputError(f"{arguments.weights} was tuned with an aligner; give the same --aligner")
    found: list[str | None]
    with audio_progress("identify", paths) as progress:
        if arguments.weights:
            recognizer = load_recognizer(arguments.model, wanted)
            choice = shortlist(identifier, recognizer.languages, wanted, arguments.top or 10)
            aligner = load_recognizer(arguments.aligner) if arguments.aligner else None
            results: list = list(find_candidates(paths, choice, recognizer, aligner, progress))
            found = [None if isinstance(own, AudioError) else weights.best(own).language for own in results]
        else:
            if strange := [name for name in wanted or () if spoken_language(name) not in identifier.languages]:
                raise InputError(
                    f"--candidates {','.join(strange)}: the identifier does not know them; name others, or choose by "
                    "transcripts too, with --weights"
                )
            choice = Shortlist(identifier, tuple(wanted or identifier.languages), 1)
            results = list(choice.of_each(paths, progress))
            found = [None if isinstance(own, AudioError) else own[0][0] for own in results]
    known = [language for language in found if language]
    if not known and results:
        raise next(result for result in results if isinstance(result, AudioError))
    return [language or known[0] for language in found]


def _formatted(name: str, transcript: Transcript, form: str) -> str:
    match form:
        case "json":
            return json_line(name, transcript)
        case "srt":
            return to_srt(cues(transcript.words))
        case "vtt":
            return to_vtt(cues(transcript.words))
    return transcript.text
