"""The corpus that ships with the program: phrases in eight languages, synthesized by eSpeak NG.

Three of the configs hold the same speech. `chapters` are long recordings, one voice each, of many verses with short
silences, with the exact start and end of every verse; `verses` are those verses, cut out of the prepared chapters;
`labeled` are the same, with only the first few chapters of the training split, on which an aligner is trained to find
the verses of the others. Voices and sentences of the test split occur in no other split. `reader` is for training
voices: all sentences of one language, read by one voice at one pace.
"""

import argparse
import dataclasses
from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds

from input_pipeline.corpora.espeak import Espeak, espeak
from input_pipeline.corpora.phrases import PHRASES, sample_sentences
from input_pipeline.corpora.storage import MakeErrorRate, as_text, make_utterance, synthetic_mark, utterance_features
from mms_jax.audio.flac import decode_flac, encode_flac
from mms_jax.audio.waveform import SAMPLE_RATE, resample

SEED = 2305_13516
READER_LANGUAGE, READER_VOICE, READER_SPEED = "swh", "m3", 150
READER_MARGIN = 0.05  # seconds of room before and after a sentence
LABELED_CHAPTERS = 4  # training chapters of each language whose verses are treated as cut by hand


@dataclasses.dataclass(frozen=True)
class Reading:
    """The amount and the voices of a split: every language has `chapters` chapters of `verses` verses."""

    voices: tuple[str, ...]
    chapters: int
    verses: int


SPLITS: dict[str, Reading] = {
    "train": Reading(
        ("m1", "m2", "m3", "m4", "m6", "m8", "f1", "f2", "f4", "Andy", "Annie", "linda"), chapters=24, verses=15
    ),
    "validation": Reading(("m5", "Andrea"), chapters=2, verses=8),
    "test": Reading(("m7", "f3", "f5"), chapters=3, verses=12),
}


@dataclasses.dataclass(frozen=True)
class SpokenChapter:
    """One long recording.

    Attributes:
      waveform: float32 (samples,), 16 kHz.
      verses: its sentences, in order.
      starts, ends: int (verses,), the samples at which each verse begins and ends (exclusive).
    """

    identity: str
    language: str
    speaker: str
    waveform: np.ndarray
    verses: list[str]
    starts: np.ndarray
    ends: np.ndarray


class SpokenPhrases(tfds.core.GeneratorBasedBuilder):
    """TFDS builder of the shipped corpus."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name="verses", description="single sentences"),
        tfds.core.BuilderConfig(name="labeled", description="single sentences, with a sixth of the training split"),
        tfds.core.BuilderConfig(
            name="reader", description="single sentences, all read by one voice, to train a voice on"
        ),
        tfds.core.BuilderConfig(name="chapters", description="long recordings with the exact time of every verse"),
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        if self.builder_config.name != "chapters":
            return self.dataset_info_from_configs(features=utterance_features(), metadata=synthetic_mark(True))
        features = dict(utterance_features())
        features["starts"] = tfds.features.Sequence(np.float64)
        features["ends"] = tfds.features.Sequence(np.float64)
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features), metadata=synthetic_mark(True)
        )

    def _split_generators(self, dl_manager):
        del dl_manager
        return {split: self._generate_examples(split) for split in SPLITS}

    def _generate_examples(self, split: str):
        if self.builder_config.name == "chapters":
            for chapter in read_chapters(split):
                yield chapter.identity, _chapter_record(chapter)
            return
        if self.builder_config.name == "reader":
            yield from read_alone(split)
            return
        # eSpeak NG's output differs a little each time: verses are cut out of chapters, not synthesized again.
        chapters = SpokenPhrases(config="chapters", data_dir=self._data_dir_root, file_format="array_record")
        chapters.download_and_prepare()
        for record in chapters.as_data_source(split):
            if self.builder_config.name == "verses" or split != "train" or is_labeled(as_text(record["id"])):
                yield from _cut_verses(record)


def is_labeled(chapter: str) -> bool:
    """Whether a training chapter's verses are in the config `labeled`."""
    return int(chapter.rpartition("_")[2]) < LABELED_CHAPTERS


def _cut_verses(record: dict) -> Iterator[tuple[str, dict]]:
    """The verses of one stored chapter, as utterances with their ids."""
    chapter = as_text(record["id"])
    waveform, _ = decode_flac(record["audio"], chapter)
    verses = as_text(record["text"]).split("\n")
    for number, (verse, start, end) in enumerate(zip(verses, record["starts"], record["ends"])):
        identity = f"{chapter}_{number:02d}"
        yield (
            identity,
            make_utterance(
                waveform[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)],
                identity=identity,
                text=verse,
                language=as_text(record["language"]),
                speaker=as_text(record["speaker"]),
            ),
        )


def read_chapters(split: str) -> Iterator[SpokenChapter]:
    """Synthesizes all chapters of a split: the same texts, voices and speeds at every call."""
    engine = espeak()
    reading = SPLITS[split]
    for language_number, language in enumerate(PHRASES):
        sentences = _sentences(language, language_number)[split]
        for chapter_number in range(reading.chapters):
            rng = np.random.default_rng((SEED, list(SPLITS).index(split), language_number, chapter_number))
            verses = sentences[chapter_number * reading.verses :][: reading.verses]
            # Each language begins with another voice, so that no voice is tied to one language.
            voice = reading.voices[(chapter_number + language_number) % len(reading.voices)]
            yield _read_chapter(engine, f"{language}_{split}_{chapter_number:02d}", language, voice, verses, rng)


def read_alone(split: str) -> Iterator[tuple[str, dict]]:
    """Synthesizes the sentences of one language with one voice, as utterances with their ids."""
    engine = espeak()
    number = list(PHRASES).index(READER_LANGUAGE)
    rng = np.random.default_rng((SEED, list(SPLITS).index(split), number))
    voice = f"{PHRASES[READER_LANGUAGE].espeak}+{READER_VOICE}"
    for place, sentence in enumerate(_sentences(READER_LANGUAGE, number)[split]):
        speech = resample(engine.speak(sentence, voice, speed=READER_SPEED), engine.rate)
        waveform = np.pad(0.6 * speech / np.abs(speech).max(), round(READER_MARGIN * SAMPLE_RATE))
        waveform += rng.normal(0.0, 1e-3, len(waveform)).astype(np.float32)
        identity = f"{READER_LANGUAGE}_reader_{split}_{place:03d}"
        yield (
            identity,
            make_utterance(waveform, identity=identity, text=sentence, language=READER_LANGUAGE, speaker=READER_VOICE),
        )


def _sentences(language: str, language_number: int) -> dict[str, list[str]]:
    """The sentences of each split of one language; no sentence is in two splits."""
    counts = {split: reading.chapters * reading.verses for split, reading in SPLITS.items()}
    sentences = sample_sentences(language, sum(counts.values()), np.random.default_rng((SEED, language_number)))
    result = {}
    for split, count in counts.items():
        result[split], sentences = sentences[:count], sentences[count:]
    return result


def _read_chapter(
    engine: Espeak, identity: str, language: str, voice: str, verses: list[str], rng: np.random.Generator
) -> SpokenChapter:
    speed, pitch = int(rng.integers(140, 200)), int(rng.integers(30, 71))
    gain = rng.uniform(0.3, 0.9)
    pieces: list[np.ndarray] = []
    starts, ends, position = [], [], 0

    def append(piece: np.ndarray) -> None:
        nonlocal position
        pieces.append(piece)
        position += len(piece)

    append(_silence(rng))
    for verse in verses:
        speech = engine.speak(verse, f"{PHRASES[language].espeak}+{voice}", speed=speed, pitch=pitch)
        starts.append(position)
        append(resample(speech, engine.rate))
        ends.append(position)
        append(_silence(rng))
    waveform = np.concatenate(pieces)
    waveform *= gain / np.abs(waveform).max()
    waveform += rng.normal(0.0, 1e-3, len(waveform)).astype(np.float32)  # a room is never digitally silent
    return SpokenChapter(identity, language, voice, waveform, verses, np.asarray(starts), np.asarray(ends))


def _silence(rng: np.random.Generator) -> np.ndarray:
    return np.zeros(int(rng.uniform(0.3, 0.9) * SAMPLE_RATE), np.float32)


def _chapter_record(chapter: SpokenChapter) -> dict:
    return {
        "id": chapter.identity,
        "audio": encode_flac(chapter.waveform, SAMPLE_RATE),
        "text": "\n".join(chapter.verses),
        "language": chapter.language,
        "speaker": chapter.speaker,
        "seconds": np.float32(len(chapter.waveform) / SAMPLE_RATE),
        "starts": chapter.starts / SAMPLE_RATE,
        "ends": chapter.ends / SAMPLE_RATE,
    }


HELP = "the shipped corpus, synthesized on this machine: spoken_phrases/verses"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds its arguments."""
    configs = [config.name for config in SpokenPhrases.BUILDER_CONFIGS]
    parser.add_argument("--config", choices=configs, default="verses", help="default: verses")


def make_builder(arguments: argparse.Namespace, data_dir: str, _: MakeErrorRate) -> SpokenPhrases:
    """The builder that the arguments describe."""
    return SpokenPhrases(config=arguments.config, data_dir=data_dir, file_format="array_record")
