"""Names of countries, languages, months, and days in forty languages, read by eSpeak NG.

    pip install babel
    python -m input_pipeline.prepare spoken_names --language=swh --data_dir=data

The names are those of Unicode's Common Locale Data Repository, which Babel packages. Each language is a corpus of its own:
six to nine minutes of training, in sentences of two to five names. The names and voices of the validation and test splits
occur in no other split; names may share words, as in "South Sudan" and "South Korea".
"""

import argparse
import hashlib
from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds

from input_pipeline.corpora.espeak import espeak
from input_pipeline.corpora.storage import MakeErrorRate, make_utterance, synthetic_mark, utterance_features
from mms_jax.audio.waveform import SAMPLE_RATE, resample
from mms_jax.errors import CorpusError
from mms_jax.text.normalize import normalize

# ISO 639-3 -> ISO 639-1, which both Babel and eSpeak NG know. Neighbors differ in family or script.
LANGUAGES = {
    "swh": "sw", "por": "pt", "hin": "hi", "ell": "el", "tur": "tr", "fin": "fi", "rus": "ru", "ind": "id",
    "tam": "ta", "pol": "pl", "kat": "ka", "vie": "vi", "hun": "hu", "ben": "bn", "afr": "af", "ita": "it",
    "isl": "is", "est": "et", "lav": "lv", "ukr": "uk", "tel": "te", "hye": "hy", "cat": "ca", "eus": "eu",
    "ron": "ro", "mkd": "mk", "slv": "sl", "swe": "sv", "mal": "ml", "kan": "kn", "ces": "cs", "deu": "de",
    "nld": "nl", "bul": "bg", "lit": "lt", "sqi": "sq", "cym": "cy", "kaz": "kk", "mar": "mr", "npi": "ne",
}  # fmt: skip

SEED = 4017
SENTENCES = {"train": 150, "validation": 20, "test": 30}
VOICES = {
    "train": ("m1", "m2", "m3", "m4", "m6", "m8", "f1", "f2", "f4", "Andy", "Annie", "linda"),
    "validation": ("m5", "Andrea"),
    "test": ("m7", "f3", "f5"),
}
LEAST_NAMES, MOST_NAMES = 2, 5  # in a sentence
_ROOM_SECONDS = 0.1  # before and after a sentence
_LONGEST_NAME = 30  # characters


def find_names(language: str) -> list[str]:
    """The normalized names in a language, sorted.

    Names that are the same in English are left out: CLDR has them where nobody has translated.

    Raises:
      CorpusError: Babel is not installed.
    """
    try:
        import babel
    except ImportError as error:
        raise CorpusError("spoken_names reads its names from Babel; install it with pip install babel") from error
    own, english = (babel.Locale.parse(code) for code in (LANGUAGES[language], "en"))
    found = set()
    for kind in ("territories", "languages"):
        translated = getattr(english, kind)
        found |= {name for code, name in getattr(own, kind).items() if name != translated.get(code)}
    for names in (own.months, own.days):
        found |= set(names["format"]["wide"].values())
    return sorted({normalize(name, language) for name in found if _is_plain(name)})


def _is_plain(name: str) -> bool:
    """Whether a name is pronounced as it is written: no abbreviation, digit, or remark in brackets."""
    return len(name) <= _LONGEST_NAME and not any(symbol in ".()[]/" or symbol.isdigit() for symbol in name)


def split_names(language: str) -> dict[str, list[str]]:
    """The names of each split: a tenth for validation, a fifth for test."""
    parts: dict[str, list[str]] = {split: [] for split in SENTENCES}
    for name in find_names(language):
        tenth = hashlib.sha256(f"{language} {name}".encode()).digest()[0] % 10
        parts["validation" if tenth == 0 else "test" if tenth < 3 else "train"].append(name)
    return parts


def sample_sentences(names: list[str], count: int, rng: np.random.Generator) -> list[str]:
    """Sentences of a few names each, drawn from a shuffled deck; it is shuffled anew when too few are left."""
    sentences: list[str] = []
    deck: list[str] = []
    while len(sentences) < count:
        length = int(rng.integers(LEAST_NAMES, MOST_NAMES + 1))
        if len(deck) < length:
            deck = [names[place] for place in rng.permutation(len(names))]
        sentences.append(" ".join(deck[:length]))
        deck = deck[length:]
    return sentences


class SpokenNames(tfds.core.GeneratorBasedBuilder):
    """TFDS builder of one language."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=language) for language in LANGUAGES]

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(features=utterance_features(), metadata=synthetic_mark(True))

    def _split_generators(self, dl_manager):
        del dl_manager
        return {split: self._generate_examples(split) for split in SENTENCES}

    def _generate_examples(self, split: str) -> Iterator[tuple[str, dict]]:
        """Utterances with their ids; each is by another voice, at another pace and pitch."""
        language = self.builder_config.name
        engine, names = espeak(), split_names(language)[split]
        rng = np.random.default_rng((SEED, list(SENTENCES).index(split), list(LANGUAGES).index(language)))
        for number, sentence in enumerate(sample_sentences(names, SENTENCES[split], rng)):
            voice = VOICES[split][number % len(VOICES[split])]
            speed, pitch = int(rng.integers(140, 200)), int(rng.integers(30, 71))
            speech = resample(engine.speak(sentence, f"{LANGUAGES[language]}+{voice}", speed, pitch), engine.rate)
            waveform = np.pad(rng.uniform(0.3, 0.9) * speech / np.abs(speech).max(), round(_ROOM_SECONDS * SAMPLE_RATE))
            waveform += rng.normal(0.0, 1e-3, len(waveform)).astype(np.float32)  # a room is never digitally silent
            identity = f"{language}_{split}_{number:03d}"
            yield (
                identity,
                make_utterance(waveform, identity=identity, text=sentence, language=language, speaker=voice),
            )


HELP = "names in forty languages, synthesized on this machine: spoken_names/LANGUAGE"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds its arguments."""
    parser.add_argument("--language", required=True, choices=list(LANGUAGES), metavar="ISO 639-3",
                        help=", ".join(LANGUAGES))  # fmt: skip


def make_builder(arguments: argparse.Namespace, data_dir: str, _: MakeErrorRate) -> SpokenNames:
    """The builder of a language."""
    return SpokenNames(config=arguments.language, data_dir=data_dir, file_format="array_record")
