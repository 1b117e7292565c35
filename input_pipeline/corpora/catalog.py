"""Published corpora, for comparison with published figures: FLEURS, Common Voice, LibriSpeech, MLS, and VoxPopuli.

    pip install -e '.[tfds]'
    python -m input_pipeline.prepare catalog --set=fleurs --language=swh --data_dir=data

The first three are in the TFDS catalog. TFDS downloads them, or finds what it has downloaded before, and decodes their audio
with TensorFlow, which nothing else here needs. The others are Parquet files on Hugging Face's hub. One language of a
corpus becomes records as all other corpora have them.
"""

import argparse
import dataclasses
import importlib.util
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow_datasets as tfds
from absl import logging

from input_pipeline.corpora.catalog_sources import HubSource, RecordFields, TfdsSource
from input_pipeline.corpora.storage import MakeErrorRate, make_utterance, utterance_features
from mms_jax.errors import CorpusError
from mms_jax.text.languages import code_of
from mms_jax.text.normalize import has_digits, normalize

_TRAIN_DEV_TEST = {"train": "train", "validation": "validation", "test": "test"}


@dataclasses.dataclass(frozen=True)
class CatalogSet:
    """A published corpus.

    Attributes:
      name: the builder of TFDS; or OWNER/NAME of a repository on the hub.
      fields: of its records.
      splits: ours, and those of the corpus that make each, joined by +.
      configs: the part that holds each language, by ISO 639-3; None where TFDS lists the parts, see `configs_of`.
      rate: sampling rate in Hz, where TFDS does not state it.
      revision: the branch of the repository; "" for builders of TFDS.
    """

    name: str
    fields: RecordFields
    splits: Mapping[str, str] = dataclasses.field(default_factory=lambda: dict(_TRAIN_DEV_TEST))
    configs: Mapping[str, str] | None = None
    rate: int | None = None
    revision: str = ""


SETS = {
    "fleurs": CatalogSet("xtreme_s", RecordFields("audio", "transcription")),
    # The split "validation" of TFDS holds all recordings that listeners have accepted, those of the test too.
    "common_voice": CatalogSet(
        "common_voice", RecordFields("voice", "sentence", "client_id"), _TRAIN_DEV_TEST | {"validation": "dev"}, rate=48_000
    ),
    "librispeech": CatalogSet(
        "librispeech", RecordFields("speech", "text", "speaker_id"),
        {"train": "train_clean100+train_clean360+train_other500", "validation": "dev_clean", "test": "test_clean",
         "validation_other": "dev_other", "test_other": "test_other"},
        {"eng": "default"},
    ),
    "mls": CatalogSet(
        "facebook/multilingual_librispeech", RecordFields("audio", "transcript", "speaker_id"),
        _TRAIN_DEV_TEST | {"validation": "dev"},
        {"deu": "german", "fra": "french", "ita": "italian", "nld": "dutch", "pol": "polish", "por": "portuguese",
         "spa": "spanish"},
        revision="main",
    ),
    "voxpopuli": CatalogSet(
        "facebook/voxpopuli", RecordFields("audio", "normalized_text", "speaker_id"), _TRAIN_DEV_TEST,
        {"ces": "cs", "deu": "de", "eng": "en", "est": "et", "fin": "fi", "fra": "fr", "hrv": "hr", "hun": "hu",
         "ita": "it", "lit": "lt", "nld": "nl", "pol": "pl", "ron": "ro", "slk": "sk", "slv": "sl", "spa": "es"},
        revision="refs/convert/parquet",
    ),
}  # fmt: skip

# Parts of TFDS whose language MMS names otherwise than by the code that their name begins with.
_MMS_CODES = {
    "az_az": "azj-script_latin", "cmn_hans_cn": "cmn-script_simplified", "fil_ph": "tgl", "ms_my": "zlm", "ne_np": "npi",
    "or_in": "ory", "sr_rs": "srp-script_cyrillic", "sw_ke": "swh", "ur_pk": "urd-script_arabic",
    "uz_uz": "uzb-script_latin", "yue_hant_hk": "yue-script_traditional",
    "or": "ory", "rm-sursilv": "roh-dialect_sursilvan", "rm-vallader": "roh-dialect_vallader",
    "zh-CN": "cmn-script_simplified", "zh-HK": "yue-script_traditional", "zh-TW": "cmn-script_traditional",
}  # fmt: skip
_ALL = "all"  # the part of FLEURS with all languages


def configs_of(names: Iterable[str]) -> dict[str, str]:
    """The parts of a corpus by language, as MMS codes it.

    Args:
      names: of the parts, which begin with a language's code: "fleurs.af_za", "sv-SE".
    """
    found = {}
    for name in names:
        part = name.removeprefix("fleurs.")
        language = _MMS_CODES.get(part) or code_of(re.split("[_-]", part)[0])
        if language is not None and part != _ALL:
            found[language] = name
    return found


class Catalog(tfds.core.GeneratorBasedBuilder):
    """TFDS builder of one language of a published corpus."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS: list[tfds.core.BuilderConfig] = []

    def __init__(
        self, *, name: str, language: str, splits: Sequence[str], source_dir: str | None, data_dir: str, **kwargs
    ):
        """Chooses a corpus.

        Args:
          name: one of SETS.
          language: ISO 639-3, as MMS codes it.
          splits: of ours, those that are read; () for all that the corpus has.
          source_dir: where the corpus is already, see `add_arguments`.
          data_dir: the folder of prepared corpora.
          **kwargs: of the base class.
        """
        self._chosen, self._language, self._splits, self._source_dir = SETS[name], language, splits, source_dir
        config = tfds.core.BuilderConfig(name=f"{name}_{language}")
        super().__init__(config=config, data_dir=data_dir, **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(features=utterance_features())

    def _split_generators(self, dl_manager):
        del dl_manager
        if unknown := sorted(set(self._splits) - self._chosen.splits.keys()):
            raise CorpusError(
                f"{self._chosen.name} has no split {', '.join(unknown)}; choose {', '.join(self._chosen.splits)}"
            )
        source = open_source(self._chosen, self._language, self._source_dir)
        chosen = {split: theirs.split("+") for split, theirs in self._chosen.splits.items()}
        here = {split: names for split, names in chosen.items() if source.splits.issuperset(names)}
        if missing := sorted(set(self._splits or ("test",)) - here.keys()):
            raise CorpusError(
                f"{self._chosen.name} has no {' and no '.join(missing)} here; its splits are "
                f"{', '.join(sorted(source.splits))}"
            )
        here = {split: names for split, names in here.items() if split in (self._splits or here)}
        return {split: self._generate_examples(source, names) for split, names in here.items()}

    def _generate_examples(self, source: TfdsSource | HubSource, splits: list[str]) -> Iterator:
        with_digits = total = 0
        for split in splits:
            for number, recording in enumerate(source.recordings(split)):
                identity = f"{split}/{number}"
                text = normalize(recording.text, self._language)
                with_digits, total = with_digits + has_digits(text), total + 1
                yield (
                    identity,
                    make_utterance(
                        recording.waveform, identity=identity, text=text, language=self._language,
                        speaker=recording.speaker,
                    ),
                )  # fmt: skip
        if with_digits:
            logging.warning(
                "%s: %d of %d transcripts have digits, which count as errors unless the recognizer spells them",
                "+".join(splits), with_digits, total,
            )  # fmt: skip


def open_source(chosen: CatalogSet, language: str, source_dir: str | None) -> TfdsSource | HubSource:
    """Opens one language of a published corpus.

    Raises:
      CorpusError: the corpus lacks the language, TensorFlow is missing, or the corpus cannot be had.
    """
    if not chosen.revision and importlib.util.find_spec("tensorflow") is None:
        raise CorpusError("TFDS decodes audio with TensorFlow, which is missing: pip install 'mms-jax[tfds]'")
    configs = chosen.configs
    if configs is None:
        configs = configs_of(config.name for config in tfds.builder_cls(chosen.name).BUILDER_CONFIGS)
    if language not in configs:
        raise CorpusError(f"{chosen.name} has no language {language!r}; it has {', '.join(sorted(configs))}")
    if chosen.revision:
        return HubSource(chosen.name, chosen.revision, configs[language], chosen.fields, source_dir)
    return TfdsSource(f"{chosen.name}/{configs[language]}", chosen.fields, source_dir, chosen.rate)


HELP = "a language of FLEURS, Common Voice, LibriSpeech, MLS, or VoxPopuli: catalog/SET_LANGUAGE"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds its arguments."""
    parser.add_argument("--set", required=True, choices=sorted(SETS), help="the corpus")
    parser.add_argument("--language", required=True, help="ISO 639-3, as MMS codes it: swh, azj-script_latin")
    parser.add_argument("--splits", nargs="+", default=(), help="test, to evaluate without the others (default: all)")
    parser.add_argument(
        "--source_dir",
        help="where the corpus is already: the folder of TFDS's datasets; of mls and voxpopuli, the files of the repository",
    )


def make_builder(arguments: argparse.Namespace, data_dir: str, _: MakeErrorRate) -> Catalog:
    """The builder."""
    return Catalog(
        name=arguments.set,
        language=arguments.language,
        splits=arguments.splits,
        source_dir=arguments.source_dir,
        data_dir=data_dir,
        file_format="array_record",
    )


def made_from(arguments: argparse.Namespace, _: str) -> dict[str, Any]:
    """What the corpus depends on."""
    return {name: getattr(arguments, name) for name in ("set", "language", "splits")}
