"""Natural speech: the Asterisk core sounds, 2,656 telephone prompts in five languages, with transcripts.

English, Spanish (both read by Allison Smith), French (June Wallack), Italian (Carlo Flaminio) and Russian; CC-BY-SA 3.0
and CC-BY 3.0. Two ways to get them:

  apt-get install asterisk-core-sounds-{en,es,fr,it,ru} asterisk-core-sounds-{en,es,fr,it,ru}-wav

puts transcripts and 8 kHz WAV files where this builder looks (the -g722 packages have 16 kHz and need ffmpeg); or put the
official archives, asterisk-core-sounds-LANG-FORMAT-VERSION.tar.gz, into TFDS's manual folder, DATA_DIR/downloads/manual,
each with its core-sounds-LANG.txt inside.

There is one speaker a language (one for two), so a held-out split shares its voices with training: scores on it measure
unseen sentences, not unseen speakers. The split is by transcript, so that a sentence recorded twice stays on one side.
"""

import argparse
import dataclasses
import gzip
import hashlib
import pathlib
import re
import subprocess
import tarfile
from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds

from input_pipeline.corpora.storage import MakeErrorRate, Rejections, make_utterance, utterance_features
from mms_jax.audio.read import read_audio
from mms_jax.errors import AudioError, CorpusError
from mms_jax.text.normalize import has_digits, normalize

SOUNDS = pathlib.Path("/usr/share/asterisk/sounds")
TRANSCRIPTS = pathlib.Path("/usr/share/doc")


@dataclasses.dataclass(frozen=True)
class PromptVoice:
    """One language of the set: its code there, its ISO 639-3 code, and Debian's name of the voice."""

    code: str
    language: str
    folder: str


VOICES = (
    PromptVoice("en", "eng", "en_US_f_Allison"),
    PromptVoice("es", "spa", "es_MX_f_Allison"),
    PromptVoice("fr", "fra", "fr_CA_f_June"),
    PromptVoice("it", "ita", "it_IT_m_Carlo"),
    PromptVoice("ru", "rus", "ru_RU_f_IvrvoiceRU"),
)


def parse_transcripts(text: str) -> dict[str, str]:
    """Parses the lines `prompt: transcript` of a core-sounds file.

    Comments, prompts without speech (`[beep]`, `(tone)`), and transcripts with digits, whose reading is not given, are
    left out; so are prompts that are listed twice with different words.

    Returns:
      Normalized transcripts by prompt ("digits/h-6").
    """
    transcripts: dict[str, str] = {}
    contradicted = set()
    for line in text.lstrip("\ufeff").splitlines():
        prompt, separator, transcript = line.partition(":")
        if line.startswith(";") or not separator:
            continue
        transcript = normalize(re.sub(r"\[[^]]*\]|\([^)]*\)|<[^>]*>", " ", transcript))
        if not transcript or has_digits(transcript) or prompt.startswith("silence/"):
            continue
        if transcripts.get(prompt, transcript) != transcript:
            contradicted.add(prompt)
        transcripts[prompt] = transcript
    return {prompt: transcript for prompt, transcript in transcripts.items() if prompt not in contradicted}


class Asterisk(tfds.core.GeneratorBasedBuilder):
    """TFDS builder of the Asterisk core sounds."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name="core")]

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(features=utterance_features())

    def _split_generators(self, dl_manager):
        manual = pathlib.Path(dl_manager._manual_dir)
        archives = sorted(manual.glob("asterisk-core-sounds-*.tar.gz")) if manual.exists() else []
        unpacked = [_unpack(archive, manual / "unpacked") for archive in archives]
        prompts = [prompt for voice in VOICES for prompt in _find_prompts(voice, unpacked)]
        if not prompts:
            raise CorpusError(
                f"no Asterisk sounds in {SOUNDS} or {manual}. Install them with\n"
                "  apt-get install asterisk-core-sounds-{en,es,fr,it,ru} asterisk-core-sounds-{en,es,fr,it,ru}-wav\n"
                f"or put the official archives asterisk-core-sounds-LANG-wav-VERSION.tar.gz into {manual}"
            )
        return {split: self._generate_examples(prompts, split) for split in ("train", "validation", "test")}

    def _generate_examples(self, prompts: "list[Prompt]", split: str) -> Iterator:
        chosen = [prompt for prompt in prompts if _split_of(prompt) == split]
        rejections = Rejections(max_bad_share=0.05)
        for prompt in chosen:
            try:
                waveform = _read_prompt(prompt.path)
            except AudioError as error:
                rejections.add(str(error))
                continue
            yield (
                prompt.identity,
                make_utterance(
                    waveform,
                    identity=prompt.identity,
                    text=prompt.text,
                    language=prompt.voice.language,
                    speaker=prompt.voice.folder,
                ),
            )
        rejections.finish(len(chosen))


@dataclasses.dataclass(frozen=True)
class Prompt:
    """One recording and its normalized transcript."""

    voice: PromptVoice
    name: str
    path: pathlib.Path
    text: str

    @property
    def identity(self) -> str:
        """The id of the prompt, unique in the corpus."""
        return f"{self.voice.language}/{self.name}"


def _find_prompts(voice: PromptVoice, unpacked: list[pathlib.Path]) -> list[Prompt]:
    """The prompts of one language, from the first place that has both sounds and transcripts."""
    packaged = TRANSCRIPTS / f"asterisk-core-sounds-{voice.code}" / f"core-sounds-{voice.code}.txt.gz"
    places = [(SOUNDS / voice.folder, packaged)]
    for folder in unpacked:
        if f"-{voice.code}-" in folder.name:
            places += [(text.parent, text) for text in folder.rglob(f"core-sounds-{voice.code}.txt")]
    for sounds, text in places:
        if not sounds.is_dir() or not text.exists():
            continue
        content = gzip.decompress(text.read_bytes()) if text.suffix == ".gz" else text.read_bytes()
        found = []
        for name, transcript in parse_transcripts(content.decode("utf-8")).items():
            path = next((p for s in ("wav16", "g722", "wav") if (p := sounds / f"{name}.{s}").exists()), None)
            if path is not None:
                found.append(Prompt(voice, name, path, transcript))
        if found:
            return found
    return []


def _split_of(prompt: Prompt) -> str:
    draw = hashlib.sha256(f"{prompt.voice.language} {prompt.text}".encode()).digest()[0]
    return "test" if draw < 26 else "validation" if draw < 39 else "train"


def _read_prompt(path: pathlib.Path) -> np.ndarray:
    if path.suffix != ".g722":
        return read_audio(path)
    # Raw G.722 has no header for libsndfile or librosa to recognize.
    command = ["ffmpeg", "-v", "error", "-f", "g722", "-i", str(path), "-f", "f32le", "-ac", "1", "-ar", "16000", "-"]
    try:
        decoded = subprocess.run(command, capture_output=True, check=True).stdout
    except FileNotFoundError as error:
        raise CorpusError("G.722 sounds need ffmpeg: apt-get install ffmpeg, or install the -wav packages") from error
    except subprocess.CalledProcessError as error:
        raise AudioError(f"{path}: ffmpeg cannot decode it ({error.stderr.decode().strip()})") from error
    waveform = np.frombuffer(decoded, np.float32)
    if len(waveform) < 400:
        raise AudioError(f"{path}: shorter than 25 ms")
    return waveform


def _unpack(archive: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    target = folder / archive.name.removesuffix(".tar.gz")
    if not target.exists():
        with tarfile.open(archive) as tar:
            tar.extractall(target, filter="data")
    return target


HELP = "telephone prompts by real people in five languages: asterisk/core"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds no arguments."""


def make_builder(_: argparse.Namespace, data_dir: str, __: MakeErrorRate) -> Asterisk:
    """The builder."""
    return Asterisk(config="core", data_dir=data_dir, file_format="array_record")
