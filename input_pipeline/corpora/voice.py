"""A corpus for training a voice, made from any other: the steady utterances of one recording, trimmed and leveled.

    python -m input_pipeline.prepare voice --data_dir=data --name=swh --source=aligned_chapters/swh

MMS chose one recording per language, the one with a recognizer's lowest error rate, denoised it where it contained
music, and left out the 15 % of utterances whose voiced pitch varies most, which are acted (Pratap et al. 2023, section
7.1).
"""

import argparse
import concurrent.futures
import dataclasses
import functools
import hashlib
import importlib
import multiprocessing
from collections.abc import Callable, Sequence
from typing import Any

import librosa
import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from input_pipeline.corpora.storage import (
    Corpus,
    ErrorRate,
    MakeErrorRate,
    as_text,
    corpus_directory,
    make_utterance,
    open_corpus,
    open_splits,
    synthetic_mark,
    utterance_features,
)
from mms_jax.audio.flac import decode_flac
from mms_jax.audio.waveform import SAMPLE_RATE, resample
from mms_jax.errors import CorpusError
from mms_jax.text.normalize import normalize
from mms_jax.text.voice_tokenizer import romanized

LEVEL = -23.0  # dB relative to full scale, of the speech in an utterance
PEAK = 0.95
QUIET = 40.0  # dB below the loudest part; quieter ends are trimmed
MARGIN_SECONDS = 0.1  # kept at either end
_JUDGED = 40  # utterances of each recording that a recognizer transcribes


@dataclasses.dataclass(frozen=True)
class Choice:
    """Settings for selecting and processing utterances.

    Attributes:
      speaker: the speaker to keep; None for the recording with the lowest error rate, or without a recognizer the
        longest.
      language: ISO 639-3; None where the corpus has a single language.
      drop_pitch: share of the utterances whose pitch varies most, which are left out.
      uroman: transcripts are romanized; training then needs config.tts.uroman.
      denoise: MODULE:FUNCTION that takes float32 (samples,) at 16 kHz and returns as many; None for no denoising.
      workers: processes that measure pitch; 0 for this process.
    """

    speaker: str | None = None
    language: str | None = None
    drop_pitch: float = 0.15
    uroman: bool = False
    denoise: str | None = None
    workers: int = 0


class VoiceCorpus(tfds.core.GeneratorBasedBuilder):
    """TFDS builder of one reader's utterances.

    Attributes:
      summary: the chosen reader and the counts of dropped utterances, as text; filled when the corpus is prepared.
    """

    name = "voice"
    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, *, name: str, source: str, choice: Choice, error_rate: ErrorRate | None, **builder):
        """Sets the corpus up.

        Args:
          name: of the corpus, which configs open as voice/NAME.
          source: a prepared corpus.
          choice: see Choice.
          error_rate: of a recognizer, by which the recording is chosen; None to choose the longest.
          **builder: of TFDS.
        """
        self._source, self._choice, self._error_rate = source, choice, error_rate
        self.summary: list[str] = []
        super().__init__(config=tfds.core.BuilderConfig(name=name, version=self.VERSION), **builder)

    def _info(self) -> tfds.core.DatasetInfo:
        root = str(self._data_dir_root)
        synthetic = any(corpus.synthetic for corpus in open_splits(self._source, root).values())
        return self.dataset_info_from_configs(features=utterance_features(), metadata=synthetic_mark(synthetic))

    def _split_generators(self, dl_manager):
        del dl_manager
        corpora = open_splits(self._source, str(self._data_dir_root))
        # Opening an unprepared corpus raises an error with the command that prepares it.
        train = corpora.get("train") or open_corpus(self._source, "train", str(self._data_dir_root))
        language = choose_language(train, self._choice)
        numbers = {split: readers(corpus, language) for split, corpus in corpora.items()}
        speaker, why = choose_reader(train, numbers["train"], self._choice, self._error_rate)
        minutes = float(train.index.seconds[numbers["train"][speaker]].sum()) / 60
        self.summary.append(f"{language}: speaker {speaker} ({why}) of {len(numbers['train'])}, {minutes:.1f} minutes")
        return {
            split: self._generate_examples(split, corpus, numbers[split][speaker])
            for split, corpus in corpora.items()
            if speaker in numbers[split]
        }

    def _generate_examples(self, split: str, corpus: Corpus, numbers: list[int]):
        records = [corpus.source[int(corpus.index.record[number])] for number in numbers]
        utterances = [clean(record, self._choice) for record in records]
        kept = [utterance for utterance in utterances if utterance is not None]
        steady = kept
        # Test data keeps every utterance.
        if split == "train" and self._choice.drop_pitch > 0 and kept:
            spreads = pitch_spreads([utterance["waveform"] for utterance in kept], self._choice.workers)
            limit = np.quantile(spreads, 1.0 - self._choice.drop_pitch)
            steady = [utterance for utterance, spread in zip(kept, spreads) if spread <= limit]
        self.summary.append(
            f"{split}: {len(steady)} of {len(records)} utterances kept; {len(records) - len(kept)} silent, "
            f"{len(kept) - len(steady)} with the most varied pitch"
        )
        for utterance in steady:
            yield utterance["identity"], make_utterance(**utterance)


def readers(corpus: Corpus, language: str) -> dict[str, list[int]]:
    """The positions in the index of each reader's utterances with a transcript, in the order of the records."""
    index = corpus.index
    if language not in index.languages:
        return {}
    found: dict[str, list[int]] = {}
    for number in sorted(index.positions(language), key=lambda number: int(index.record[number])):
        if index.characters[number] > 0:
            found.setdefault(index.speakers[index.speaker[number]], []).append(number)
    return found


def choose_language(corpus: Corpus, choice: Choice) -> str:
    """The language of the voice. Raises CorpusError if it is not in the corpus, or if one of several must be chosen."""
    languages = corpus.index.languages
    if choice.language is None and len(languages) > 1:
        raise CorpusError(f"{corpus.name} is in {', '.join(languages)}; choose one with --language")
    language = choice.language or languages[0]
    if language not in languages:
        raise CorpusError(f"{corpus.name} has no utterances in {language!r}; it is in {', '.join(languages)}")
    return language


def choose_reader(
    corpus: Corpus, numbers: dict[str, list[int]], choice: Choice, error_rate: ErrorRate | None
) -> tuple[str, str]:
    """The chosen reader, and the reason for the choice.

    Raises:
      CorpusError: the corpus does not have the speaker.
    """
    if not numbers:
        raise CorpusError(f"{corpus.name} has no utterance with a transcript; a voice needs them")
    if choice.speaker is not None:
        if choice.speaker not in numbers:
            names = ", ".join(sorted(numbers)[:20])
            raise CorpusError(f"{corpus.name} has no speaker {choice.speaker!r}; it has {names}")
        return choice.speaker, "as requested"
    if error_rate is not None and len(numbers) > 1:
        rates = {name: _rate(corpus, own[:_JUDGED], error_rate) for name, own in numbers.items()}
        chosen = min(rates, key=lambda name: rates[name])
        return chosen, f"lowest error rate, CER {100 * rates[chosen]:.1f} %"
    return max(numbers, key=lambda name: corpus.index.seconds[numbers[name]].sum()), "the longest"


def clean(record: dict, choice: Choice) -> dict | None:
    """One utterance, denoised, trimmed and leveled, as `make_utterance` takes it; None for silence."""
    identity, text = as_text(record["id"]), normalize(as_text(record["text"]), as_text(record["language"]))
    waveform, rate = decode_flac(record["audio"], identity)
    waveform = resample(waveform, rate)
    if choice.denoise:
        waveform = np.asarray(hook(choice.denoise)(waveform), np.float32)
    if choice.uroman:
        text = normalize(romanized(text))
    waveform = level(trim(waveform))
    if waveform.size == 0 or not text:
        return None
    return {
        "waveform": waveform, "identity": identity, "text": text, "language": as_text(record["language"]),
        "speaker": as_text(record["speaker"]),
    }  # fmt: skip


def trim(waveform: np.ndarray) -> np.ndarray:
    """Trims the quiet ends, except for a margin; the result is empty if all is silence."""
    if np.abs(waveform).max(initial=0.0) < 1e-4:
        return waveform[:0]
    _, (start, end) = librosa.effects.trim(waveform, top_db=QUIET, frame_length=512, hop_length=128)
    margin = round(MARGIN_SECONDS * SAMPLE_RATE)
    return waveform[max(0, start - margin) : end + margin]


def level(waveform: np.ndarray) -> np.ndarray:
    """Scales the speech to -23 dB, or as near as the peaks allow; pauses are not measured."""
    if waveform.size == 0:
        return waveform
    powers = librosa.feature.rms(y=waveform, frame_length=512, hop_length=256)[0] ** 2
    speech = powers[powers > powers.max() * 10 ** (-QUIET / 10)].mean()
    gain = min(10 ** (LEVEL / 20) / np.sqrt(speech), PEAK / np.abs(waveform).max())
    return (gain * waveform).astype(np.float32)


def pitch_spread(waveform: np.ndarray) -> float:
    """The variance of the voiced pitch in semitones squared (pYIN, Mauch & Dixon 2014); 0 where nothing is voiced."""
    pitch, voiced, _ = librosa.pyin(waveform, fmin=65.0, fmax=500.0, sr=SAMPLE_RATE, frame_length=1024, hop_length=320)
    semitones = 12.0 * np.log2(pitch[voiced])
    return float(np.var(semitones)) if semitones.size else 0.0


def pitch_spreads(waveforms: Sequence[np.ndarray], workers: int) -> np.ndarray:
    """`pitch_spread` of each waveform, in `workers` processes; 0 for this process."""
    bar = functools.partial(tqdm, total=len(waveforms), desc="pitch", unit="utt", disable=None, leave=False)
    if not workers:
        return np.asarray([pitch_spread(waveform) for waveform in bar(waveforms)])
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, mp_context=context) as pool:
        return np.asarray(list(bar(pool.map(pitch_spread, waveforms, chunksize=8))))


@functools.cache
def hook(name: str) -> Callable[[np.ndarray], np.ndarray]:
    """The function that MODULE:FUNCTION names. Raises CorpusError where there is none."""
    module, _, function = name.partition(":")
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise CorpusError(f"--denoise {name!r}: {error}; write MODULE:FUNCTION of an importable module") from error


def _rate(corpus: Corpus, numbers: Sequence[int], error_rate: ErrorRate) -> float:
    """The error rate of a recognizer on some utterances of one reader."""
    records = [corpus.source[int(corpus.index.record[number])] for number in numbers]
    waveforms = [decode_flac(record["audio"], as_text(record["id"]))[0] for record in records]
    texts = [normalize(as_text(record["text"]), as_text(record["language"])) for record in records]
    return error_rate(waveforms, texts, as_text(records[0]["language"]))


HELP = "one reader of another corpus, cleaned, for training a voice"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds its arguments."""
    parser.add_argument("--name", required=True, help="name of the corpus, opened as voice/NAME")
    parser.add_argument("--source", required=True, help="a prepared corpus, such as audio_folder/NAME")
    parser.add_argument(
        "--speaker", help="speaker to keep (default: the recording with the lowest error rate, or the longest)"
    )
    parser.add_argument("--language", help="ISO 639-3, where the source holds several")
    parser.add_argument("--recognizer", metavar="MODEL", help="transcribes recordings, to find the lowest error rate")
    parser.add_argument(
        "--drop_pitch", type=float, default=0.15, help="share with the most varied pitch to leave out (default: 0.15)"
    )
    parser.add_argument(
        "--denoise", metavar="MODULE:FUNCTION", help="takes float32 samples at 16 kHz and returns as many"
    )
    parser.add_argument(
        "--uroman", action="store_true", help="romanize transcripts; train with --config.tts.uroman=True"
    )
    parser.add_argument("--workers", type=int, default=0, help="processes that measure pitch; 0: this one")


def make_builder(arguments: argparse.Namespace, data_dir: str, make_error_rate: MakeErrorRate) -> VoiceCorpus:
    """The builder that the arguments describe. Raises CorpusError for values out of range."""
    if not 0 <= arguments.drop_pitch < 1 or arguments.workers < 0:
        raise CorpusError("--drop_pitch is a share from 0 to below 1, --workers 0 or more")
    fields = [field.name for field in dataclasses.fields(Choice)]
    return VoiceCorpus(
        name=arguments.name,
        source=arguments.source,
        choice=Choice(**{name: getattr(arguments, name) for name in fields}),
        error_rate=make_error_rate(arguments.recognizer) if arguments.recognizer else None,
        data_dir=data_dir,
        file_format="array_record",
    )


def made_from(arguments: argparse.Namespace, data_dir: str) -> dict[str, Any]:
    """What the corpus depends on: the source as it is prepared now, and the options."""
    source = corpus_directory(arguments.source, data_dir)
    files = sorted((file.name, file.stat().st_size) for file in source.iterdir() if "array_record" in file.name)
    fields = [field.name for field in dataclasses.fields(Choice) if field.name != "workers"]
    return {
        "source": arguments.source,
        "files": hashlib.sha256(repr(files).encode()).hexdigest(),
        "recognizer": arguments.recognizer,
        **{name: getattr(arguments, name) for name in fields},
    }


def report(builder: VoiceCorpus) -> str:
    """The chosen reader, and the number of dropped utterances."""
    return "\n".join(builder.summary)
