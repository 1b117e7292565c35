"""Unlabeled natural speech that Debian packages: about eight hours in two dozen languages, for pretraining.

    apt-get install --no-install-recommends fillets-ng-data-cs fillets-ng-data-nl tuxpaint-stamps-default ktuberling-data \
        festvox-ru asterisk-core-sounds-{en,es,fr,it,ru}-g722
    python -m input_pipeline.prepare unlabeled --set=fillets --data_dir=data

`SETS` lists the sets and their licenses. Most of their clips are words or short phrases, shorter than a masked
prediction needs. Therefore the pauses of each clip are cut, and clips of one folder and language, which are by one
speaker in one room, are joined to pieces of up to `PIECE_SECONDS`.
"""

import argparse
import dataclasses
import hashlib
import itertools
import pathlib
import re
from collections.abc import Iterator, Sequence

import librosa
import numpy as np
import tensorflow_datasets as tfds

from input_pipeline.corpora.storage import MakeErrorRate, Rejections, make_utterance, utterance_features
from mms_jax.audio.read import read_audio
from mms_jax.audio.waveform import SAMPLE_RATE
from mms_jax.errors import AudioError, CorpusError
from mms_jax.text.languages import code_of

PIECE_SECONDS = 15.0
SILENT_DB = 40.0  # below the loudest frame of a clip, a frame counts as a pause
KEPT_PAUSE_SECONDS = 0.1  # on either side of speech


@dataclasses.dataclass(frozen=True)
class SpeechSet:
    """Recordings that packages install.

    Attributes:
      packages: names of the Debian packages.
      folder: below which the recordings lie.
      pattern: regular expression of their paths below it, with a group "code", the language as the set names it. Group
        "speaker" names the speaker, where a set has several a language.
      languages: codes that are not ISO 639-1, and what they stand for; None for those that are left out.
      license: of the recordings, as the packages state it.
    """

    packages: str
    folder: str
    pattern: str
    license: str
    languages: dict[str, str | None] = dataclasses.field(default_factory=dict)


SETS = {
    "asterisk": SpeechSet(
        "asterisk-core-sounds-{en,es,fr,it,ru}-g722",
        "/usr/share/asterisk/sounds",
        r"(?P<speaker>(?P<code>[a-z]{2})_[A-Z]{2}_[fm]_\w+)/(?!silence/).*\.g722",
        "CC-BY-SA-3.0 (en, es, fr), CC-BY-3.0 (it, ru)",
    ),
    "festvox": SpeechSet(
        "festvox-ru",
        "/usr/share/festival/voices/russian",
        r"msu_(?P<code>ru)_nsh_clunits/wav/.*\.wav",
        "BSD-like",
    ),
    "fillets": SpeechSet(
        "fillets-ng-data-cs fillets-ng-data-nl",
        "/usr/share/games/fillets-ng/sound",
        # The second part of a name is the character who speaks: b and m are the two fishes.
        r"\w+/(?P<code>cs|nl)/[^-/]+-(?P<speaker>[^-/]+)-.*\.(ogg|wav)",
        "GPL-2",
    ),
    "ktuberling": SpeechSet(
        "ktuberling-data",
        "/usr/share/ktuberling/sounds",
        r"(?P<code>[a-z]+(@\w+)?)/.*\.(ogg|wav)",
        "GPL-2+",
        {"nds": "nds", "sr@ijekavian": None, "sr@ijekavianlatin": None, "sr@latin": None},  # sr again
    ),
    "tuxpaint": SpeechSet(
        "tuxpaint-stamps-default",
        "/usr/share/tuxpaint/stamps",
        r".*_desc_(?P<code>[a-z]{2})(_[A-Z]{2})?\.(ogg|wav)",
        "GPL-2",
    ),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Clip:
    """A recording, its language (ISO 639-3) and its speaker."""

    path: pathlib.Path
    language: str
    speaker: str


def find_clips(speech: SpeechSet) -> list[Clip]:
    """The recordings of a set that are installed, by language, speaker and path.

    Raises:
      CorpusError: none is; the message names the packages.
    """
    folder = pathlib.Path(speech.folder)
    clips = []
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        match = re.fullmatch(speech.pattern, path.relative_to(folder).as_posix())
        if match is None or not path.is_file():
            continue
        code = match["code"]
        language = speech.languages[code] if code in speech.languages else code_of(code)
        if language is not None:
            speaker = match.groupdict().get("speaker") or "one"
            clips.append(Clip(path, language, f"{language}/{speaker}"))
    if not clips:
        raise CorpusError(
            f"no recordings in {folder}; install them with\n  apt-get install --no-install-recommends {speech.packages}"
        )
    return sorted(clips, key=lambda clip: (clip.language, clip.speaker, clip.path.parent, clip.path))


def without_pauses(waveform: np.ndarray) -> np.ndarray:
    """A 16 kHz waveform (samples,) whose pauses are shortened to at most twice `KEPT_PAUSE_SECONDS`."""
    kept = int(KEPT_PAUSE_SECONDS * SAMPLE_RATE)
    spans = librosa.effects.split(waveform, top_db=SILENT_DB, frame_length=400, hop_length=160)
    parts, before = [], 0
    for start, end in spans:
        start, end = max(before, int(start) - kept), min(len(waveform), int(end) + kept)
        parts.append(waveform[start:end])
        before = end
    return np.concatenate(parts) if parts else waveform[:0]


class Unlabeled(tfds.core.GeneratorBasedBuilder):
    """TFDS builder of one set; a twentieth of its pieces is "validation"."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in SETS]

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(features=utterance_features(), license=self._speech.license)

    @property
    def _speech(self) -> SpeechSet:
        return SETS[self.builder_config.name]

    def _split_generators(self, dl_manager):
        del dl_manager
        groups = _group(find_clips(self._speech), pathlib.Path(self._speech.folder))
        return {split: self._generate_examples(groups, split) for split in ("train", "validation")}

    def _generate_examples(self, groups: "list[tuple[str, list[Clip]]]", split: str) -> Iterator:
        rejections = Rejections(max_bad_share=0.05)
        clips = 0
        for identity, members in groups:
            if _split_of(identity) != split:
                continue
            clips += len(members)
            for number, waveform in enumerate(_join(members, rejections)):
                name = f"{identity}/{number}"
                first = members[0]
                yield (
                    name,
                    make_utterance(waveform, identity=name, text="", language=first.language, speaker=first.speaker),
                )
        rejections.finish(clips)


def _group(clips: Sequence[Clip], root: pathlib.Path, size: int = 20) -> list[tuple[str, list[Clip]]]:
    """Up to `size` neighboring clips of one speaker and folder, and their name; they stay on one side of the split."""
    groups = []
    for (speaker, folder), members in itertools.groupby(clips, key=lambda clip: (clip.speaker, clip.path.parent)):
        found = list(members)
        for start in range(0, len(found), size):
            groups.append((f"{speaker}/{folder.relative_to(root).as_posix()}/{start}", found[start : start + size]))
    return groups


def _join(clips: Sequence[Clip], rejections: Rejections) -> Iterator[np.ndarray]:
    """Clips without pauses, one after the other, in pieces of up to `PIECE_SECONDS`; a longer clip is its own piece."""
    piece: list[np.ndarray] = []
    for clip in clips:
        try:
            waveform = without_pauses(read_audio(clip.path))
        except AudioError as error:
            rejections.add(str(error))
            continue
        if piece and sum(map(len, piece)) + len(waveform) > PIECE_SECONDS * SAMPLE_RATE:
            yield np.concatenate(piece)
            piece = []
        piece.append(waveform)
    if piece:
        yield np.concatenate(piece)


def _split_of(identity: str) -> str:
    return "validation" if hashlib.sha256(identity.encode()).digest()[0] < 13 else "train"


HELP = "unlabeled natural speech that Debian packages, for pretraining: unlabeled/SET"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds its arguments."""
    parser.add_argument("--set", required=True, choices=sorted(SETS), help="the packages: " + "; ".join(
        f"{name}: {speech.packages}" for name, speech in SETS.items()))  # fmt: skip


def make_builder(arguments: argparse.Namespace, data_dir: str, _: MakeErrorRate) -> Unlabeled:
    """The builder."""
    return Unlabeled(config=arguments.set, data_dir=data_dir, file_format="array_record")
