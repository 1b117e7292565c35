"""Texts and subtitles of other systems."""

import pytest

from mms_jax.decoding.subtitles import Cue, to_srt, to_vtt
from mms_jax.errors import AlignmentError
from mms_jax.files import read_text
from mms_jax.text.mms_rules import TextRules, normalize_mms
from mms_jax.text.normalize import normalize
from mms_jax.text.voice_tokenizer import VoiceTokenizer


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_texts_of_other_systems_are_read(tmp_path, encoding, newline):
    (tmp_path / "a.txt").write_bytes(newline.join(["αβ", "γ"]).encode(encoding))
    assert read_text(tmp_path / "a.txt", AlignmentError).splitlines() == ["αβ", "γ"]


def test_turkish_capitals():
    """MeloTTS#223, TTS#2190: I is the capital of dotless ı, and İ that of i, one code point each."""
    assert normalize("İZMİR IRMAK KIRMIZI", "tur") == "izmir ırmak kırmızı"
    assert normalize("BAKI İL", "azj-script_latin") == "bakı il"
    assert normalize("İZMİR KIRMIZI") == "izmir kirmizi" and normalize("ISTANBUL", "eng") == "istanbul"
    assert normalize_mms("KIRMIZI İL.", "tur") == "kırmızı il"
    assert normalize_mms("KIRMIZI", "tur", TextRules(as_released=True)) == "kirmizi"
    voice = VoiceTokenizer.from_characters("kırmız il", "tur")
    assert voice.prepare("KIRMIZI İL") == ("kırmızı il", "")


def test_subtitles_keep_what_their_format_reserves():
    cue = [Cue(0.0, 1.0, "a < b & c\n\n--> d")]
    assert to_vtt(cue).endswith("\na &lt; b &amp; c → d\n")
    assert to_srt(cue).endswith("\na < b & c → d\n")
