"""Reading files: formats, rates, lengths, and everything that can be wrong with one."""

import contextlib
import fractions
import os

import av
import numpy as np
import pytest
import soundfile

from mms_jax.audio.flac import decode_flac, encode_flac
from mms_jax.audio.read import Recording, read_audio
from mms_jax.audio.waveform import add_noise, normalize_waveform, resample
from mms_jax.errors import AudioError


def tone(seconds, rate=16_000, frequency=440.0):
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "aiff"])
@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (44_100, 2)])
def test_any_format_becomes_16_khz_mono(tmp_path, suffix, rate, channels):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, np.stack([tone(2.0, rate)] * channels, axis=1), rate)
    waveform = read_audio(path)
    assert waveform.dtype == np.float32 and abs(len(waveform) - 32_000) < 2500  # codecs pad
    middle = waveform[8000:24_000]
    assert np.abs(np.fft.rfft(middle)).argmax() == pytest.approx(440, abs=1)
    assert np.abs(middle).max() == pytest.approx(0.5, abs=0.05)


def test_channels_are_averaged(tmp_path):
    other = tone(1, frequency=700.0)
    soundfile.write(tmp_path / "a.wav", np.stack([tone(1), other], axis=1), 16_000)
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav"), (tone(1) + other) / 2, atol=1e-3)


@pytest.mark.parametrize("right", [-1.0, -0.97, -0.5])
def test_inverted_channels_do_not_cancel(tmp_path, right):
    soundfile.write(tmp_path / "a.wav", np.stack([tone(1), right * tone(1), 0 * tone(1)], axis=1), 16_000)
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav"), tone(1) * (1 - right) / 3, atol=1e-3)
    decoded, _ = decode_flac((tmp_path / "a.wav").read_bytes(), "a")
    np.testing.assert_allclose(decoded, tone(1) * (1 - right) / 3, atol=1e-3)


def encoded(path, container, codec, samples, rate=16_000, *, delay=0.0, gap=(), video=False):
    """Writes a file with FFmpeg. `delay`: the audio starts that many seconds after the video; `gap`: (from, seconds)."""
    with av.open(str(path), "w", format=container) as file:
        track = file.add_stream(codec, rate=rate)
        track.layout = "mono"
        if video:
            pictures = file.add_stream("mpeg4", rate=10)
            pictures.width = pictures.height = 64
            for number in range(40):
                picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
                picture.pts = number
                file.mux(pictures.encode(picture))
            file.mux(pictures.encode())
        size = rate // 50
        for start in range(0, len(samples) - size, size):
            frame = av.AudioFrame.from_ndarray(
                (samples[None, start : start + size] * 32767).astype("<i2"), format="s16", layout="mono"
            )
            frame.sample_rate = rate
            late = gap[1] if gap and start >= gap[0] * rate else 0.0
            frame.pts, frame.time_base = start + round((delay + late) * rate), fractions.Fraction(1, rate)
            file.mux(track.encode(frame))
        file.mux(track.encode())


@pytest.mark.parametrize(("container", "codec", "rate"), [("ipod", "aac", 16_000), ("3gp", "aac", 16_000),
                         ("webm", "libopus", 48_000), ("mp4", "aac", 44_100), ("ogg", "libopus", 48_000)])  # fmt: skip
def test_formats_of_phones_and_browsers(tmp_path, container, codec, rate):
    """No program needs to be installed, and a colon in a relative name is no address."""
    encoded(tmp_path / "09:30.m4a", container, codec, tone(3.0, rate), rate)
    with contextlib.chdir(tmp_path):
        waveform = read_audio("09:30.m4a")
    assert len(waveform) == pytest.approx(48_000, abs=2500)
    assert np.abs(np.fft.rfft(waveform[8000:24_000])).argmax() == pytest.approx(440, abs=1)


def test_times_are_those_of_the_container(tmp_path):
    """Sound that begins after the picture, and sound that pauses in the container, keep their times."""
    loud = tone(2.0, 48_000)
    encoded(tmp_path / "late.mkv", "matroska", "libopus", loud, 48_000, delay=1.5, video=True)
    begin = np.flatnonzero(np.abs(read_audio(tmp_path / "late.mkv")) > 0.2)[0] / 16_000
    assert begin == pytest.approx(1.5, abs=0.05)
    encoded(tmp_path / "pause.mkv", "matroska", "pcm_s16le", tone(2.0), delay=0.0, gap=(1.0, 3.0))
    waveform = read_audio(tmp_path / "pause.mkv")
    assert len(waveform) == pytest.approx(5 * 16_000, abs=800)
    assert np.abs(waveform[17_000:62_000]).max() == 0 and np.abs(waveform[65_000:]).max() > 0.4


def test_jumping_clocks_and_joined_files_are_read_as_they_are_heard(tmp_path):
    """Two streams joined: the clock of the second is another one, and the length in the first header is its own."""
    for name, offset in (("a.ts", 0.0), ("b.ts", 3000.0)):
        encoded(tmp_path / name, "mpegts", "mp2", tone(3.0), delay=offset)
    for first, second in (("a.ts", "b.ts"), ("b.ts", "a.ts")):
        (tmp_path / "joined.ts").write_bytes((tmp_path / first).read_bytes() + (tmp_path / second).read_bytes())
        assert len(read_audio(tmp_path / "joined.ts")) == pytest.approx(6 * 16_000, abs=6000)
    soundfile.write(tmp_path / "a.mp3", tone(3.0), 16_000)
    soundfile.write(tmp_path / "b.mp3", tone(2.0), 16_000)
    (tmp_path / "joined.mp3").write_bytes((tmp_path / "a.mp3").read_bytes() + (tmp_path / "b.mp3").read_bytes())
    assert len(read_audio(tmp_path / "joined.mp3")) == pytest.approx(5 * 16_000, abs=6000)


@pytest.mark.parametrize("form", ["AIFF", "AU", "W64", "RF64"])
def test_other_truncated_containers_are_named(tmp_path, form):
    soundfile.write(tmp_path / "whole", tone(2.0), 16_000, format=form, subtype="PCM_16")
    content = (tmp_path / "whole").read_bytes()
    (tmp_path / "cut").write_bytes(content[: len(content) // 2])
    assert len(read_audio(tmp_path / "whole")) == 32_000
    with pytest.raises(AudioError, match="cut: is truncated: its header promises"):
        read_audio(tmp_path / "cut")


@pytest.mark.parametrize(("container", "codec"), [("matroska", "libopus"), ("mp4", "aac")])
def test_truncated_videos_are_named(tmp_path, container, codec):
    rate = 48_000 if codec == "libopus" else 44_100
    encoded(tmp_path / "whole", container, codec, tone(4.0, rate), rate, video=True)
    content = (tmp_path / "whole").read_bytes()
    (tmp_path / "cut").write_bytes(content[: len(content) // 2])
    assert len(read_audio(tmp_path / "whole")) > 60_000
    with pytest.raises(AudioError, match=r"cut: is (truncated|not audio, or is damaged)"):
        read_audio(tmp_path / "cut")


def test_names_that_are_no_unicode(tmp_path):
    name = os.fsencode(tmp_path) + b"/caf\xe9.wav"
    write(tmp_path / "a.wav", tone(1))
    os.rename(tmp_path / "a.wav", name)
    assert len(read_audio(os.fsdecode(name))) == 16_000


def test_a_video_without_sound_says_so(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as file:
        pictures = file.add_stream("mpeg4", rate=10)
        pictures.width = pictures.height = 64
        file.mux(pictures.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
        file.mux(pictures.encode())
    with pytest.raises(AudioError, match=r"a\.mp4: holds no audio track"):
        read_audio(tmp_path / "a.mp4")


@pytest.mark.parametrize("length", [0, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFF - 36])
def test_recordings_from_pipes_state_no_length(tmp_path, length):
    write(tmp_path / "a.wav", tone(1))
    content = bytearray((tmp_path / "a.wav").read_bytes())
    place = content.index(b"data") + 4
    content[place : place + 4] = length.to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(content)
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav"), tone(1), atol=1e-3)


def test_flac_from_a_pipe(tmp_path):
    soundfile.write(tmp_path / "a.flac", tone(1), 16_000)
    content = bytearray((tmp_path / "a.flac").read_bytes())
    content[21] &= 0xF0  # STREAMINFO: 36 bits of the number of samples, and the checksum
    content[22:26], content[26:42] = bytes(4), bytes(16)
    (tmp_path / "a.flac").write_bytes(content)
    np.testing.assert_allclose(read_audio(tmp_path / "a.flac"), tone(1), atol=1e-3)


def test_blocks_resample_as_one_piece(tmp_path):
    waveform = np.random.default_rng(0).normal(0, 0.1, 100 * 22_050).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", waveform, 22_050, subtype="FLOAT")
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav"), resample(waveform, 22_050), atol=2e-3)


def test_blocks_are_normalized_by_the_whole_recording(tmp_path, monkeypatch):
    monkeypatch.setattr("mms_jax.audio.read.BLOCK_SECONDS", 1)
    monkeypatch.setattr("mms_jax.audio.read.KEPT_SECONDS", 2)
    waveform = tone(7.3) + 0.1
    soundfile.write(tmp_path / "a.wav", waveform, 16_000, subtype="FLOAT")
    recording = Recording(tmp_path / "a.wav")
    assert recording._kept is None, "long recordings are read again, not kept"
    blocks = list(recording.normalized_blocks())
    assert len(blocks) == 8
    np.testing.assert_allclose(np.concatenate(blocks), normalize_waveform(waveform), atol=1e-4)


def test_normalized_waveform_has_unit_variance():
    normalized = normalize_waveform(tone(1) * 0.01 + 3)
    assert normalized.mean() == pytest.approx(0, abs=1e-4)
    assert normalized.std() == pytest.approx(0.75, abs=0.1), "epsilon keeps what is nearly silent small"
    np.testing.assert_array_equal(normalize_waveform(np.zeros(10)), 0)


def write(path, waveform, subtype="PCM_16"):
    soundfile.write(path, waveform, 16_000, subtype=subtype)


def broken_files(folder):
    """(name, what the message must say)"""
    (folder / "empty.wav").write_bytes(b"")
    (folder / "text.wav").write_text("this is no audio at all")
    (folder / "noise.mp3").write_bytes(np.random.default_rng(0).bytes(5000))
    (folder / "folder.wav").mkdir()
    write(folder / "silent.wav", np.zeros(16_000))
    write(folder / "short.wav", tone(0.005))
    write(folder / "nan.wav", np.where(np.arange(16_000) == 7, np.nan, 0.1), "FLOAT")
    write(folder / "inf.wav", np.where(np.arange(16_000) == 7, np.inf, 0.1), "FLOAT")
    write(folder / "whole.wav", tone(2))
    (folder / "truncated.wav").write_bytes((folder / "whole.wav").read_bytes()[:30_000])
    soundfile.write(folder / "whole.flac", np.random.default_rng(0).normal(0, 0.1, 160_000), 16_000)
    (folder / "truncated.flac").write_bytes((folder / "whole.flac").read_bytes()[:100_000])
    (folder / "header.flac").write_bytes((folder / "whole.flac").read_bytes()[:30])
    for name in ("mp3", "ogg"):
        soundfile.write(folder / f"whole.{name}", tone(9), 16_000)
        encoded = (folder / f"whole.{name}").read_bytes()
        (folder / f"truncated.{name}").write_bytes(encoded[: len(encoded) // 2])
    soundfile.write(folder / "none.wav", np.zeros(0), 16_000)


CASES = [
    ("missing.wav", "no such file"),
    ("empty.wav", "empty"),
    ("text.wav", "is text, not audio"),
    ("noise.mp3", "is not audio, or is damaged"),
    ("folder.wav", "folder"),
    ("silent.wav", "silent"),
    ("short.wav", "5 ms long"),
    ("nan.wav", "NaN"),
    ("inf.wav", "NaN or infinite"),
    ("truncated.wav", "truncated"),
    ("truncated.flac", "truncated"),
    ("truncated.mp3", "truncated"),
    ("truncated.ogg", "truncated"),
    ("header.flac", "not audio|truncated"),
    ("none.wav", "0 ms long"),
]


@pytest.mark.parametrize(("name", "message"), CASES)
def test_unusable_files_are_named(tmp_path, name, message):
    broken_files(tmp_path)
    with pytest.raises(AudioError, match=message) as error:
        read_audio(tmp_path / name)
    assert name in str(error.value)


def test_flac_in_memory():
    waveform = np.concatenate([tone(0.5), [2.0, -2.0]])
    decoded, rate = decode_flac(encode_flac(waveform, 16_000), "x")
    assert rate == 16_000
    np.testing.assert_allclose(decoded, np.clip(waveform, -1, 1), atol=1e-4)
    with pytest.raises(AudioError, match="x: cannot be decoded"):
        decode_flac(b"nothing", "x")


@pytest.mark.parametrize(("decibels", "tilt"), [(20.0, 0.0), (5.0, 1.0), (0.0, 2.0)])
def test_noise_is_as_loud_and_as_dark_as_asked(decibels, tilt):
    clean = tone(4.0)
    noise = add_noise(clean, decibels, tilt, np.random.default_rng(0)).astype(np.float64) - clean
    assert 10 * np.log10(np.mean(clean**2) / np.mean(noise**2)) == pytest.approx(decibels, abs=0.01)
    power = np.abs(np.fft.rfft(noise)) ** 2
    low, high = power[400:800].mean(), power[4000:8000].mean()  # 100 to 200 Hz, 1 to 2 kHz
    assert low / high == pytest.approx(10**tilt, rel=0.3)
    assert not add_noise(np.zeros(100, np.float32), 10.0, 1.0, np.random.default_rng(0)).any()
