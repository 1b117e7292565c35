"""The same answers through the public API: folders, and repositories served from here."""

import http.server
import json
import pathlib
import re
import threading

import numpy as np
import pytest
import soundfile

import mms_jax
from mms_jax import cli
from mms_jax.errors import ConversionError


def stored_batch(folder):
    """The stored waveforms, without their padding, and the answers."""
    answers = np.load(folder / "answers.npz")
    return [wave[:length] for wave, length in zip(answers["waveforms"], answers["lengths"])], answers


def normalized_again(waveforms):
    """What models hear of these waveforms; the stored answers are to waveforms as they are, so that only shape and
    agreement between ways of asking can be held here."""
    return [wave * 3 + 1 for wave in waveforms]


def test_features_of_an_encoder_and_of_a_recognizer(folder):
    waveforms, answers = stored_batch(folder("encoder"))
    encoder = mms_jax.load(folder("encoder"))
    features = encoder.features(waveforms)
    assert [len(row) for row in features] == [27, 21, 13, 1]
    assert features[0].shape[1] == answers["context"].shape[2] and features[0].dtype == np.float32
    for one, other in zip(features, encoder.features(normalized_again(waveforms))):
        np.testing.assert_allclose(one, other, atol=1e-3)


def test_recognizer_speaks_many_languages_in_one_call(folder):
    waveforms, _ = stored_batch(folder("ctc"))
    asr = mms_jax.load(folder("ctc"))
    assert asr.languages == ("eng", "hin", "swh")
    together = asr.logits(waveforms[:3], language=["swh", "eng", "hin"])
    for number, language in enumerate(("swh", "eng", "hin")):
        alone = mms_jax.load(folder("ctc"), languages=[language]).logits([waveforms[number]], language=language)[0]
        np.testing.assert_allclose(together[number][:, : alone.shape[1]], alone, atol=1e-5)
        assert (together[number][:, alone.shape[1] :] < -1e8).all()


@pytest.fixture
def heard(folder, tmp_path):
    """Quiet recordings with an offset, as files, and what transformers' feature extractor and models made of them."""
    stored = np.load(folder("ctc") / "heard.npz")
    waveforms = [stored[f"waveform_{number}"] for number in range(4)]
    files = [str(tmp_path / f"{number}.wav") for number in range(4)]
    for file, waveform in zip(files, waveforms):
        soundfile.write(file, waveform, 16_000, subtype="FLOAT")
    return stored, waveforms, files


def test_recordings_get_the_logits_and_the_text_that_transformers_gives_them(folder, heard):
    stored, waveforms, files = heard
    languages = stored["languages"].tolist()
    asr = mms_jax.load(folder("ctc"))
    for number, logits in enumerate(asr.logits(waveforms, language=languages)):
        expected = stored[f"logits_{number}"]
        np.testing.assert_allclose(logits[:, : expected.shape[1]], expected, atol=1e-4)
    # transformers writes marks such as <s>, which say nothing.
    texts = [re.sub("<.*?>", "", text) for text in stored["texts"].tolist()]
    assert [transcript.text for transcript in asr.transcribe(files, language=languages)] == texts


def test_recordings_get_the_languages_that_transformers_gives_them(folder, heard):
    stored = np.load(folder("lid") / "heard.npz")
    for result, names, probabilities in zip(
        mms_jax.load(folder("lid")).identify(heard[2]), stored["names"], stored["probabilities"]
    ):
        assert [name for name, _ in result.languages] == names.tolist()
        np.testing.assert_allclose([probability for _, probability in result.languages], probabilities, atol=1e-4)


@pytest.mark.parametrize("form", ["orbax", "huggingface"])
def test_converted_models_keep_every_language_its_own(folder, tmp_path, form, capsys):
    command = ["convert", str(folder("ctc")), str(tmp_path / "out"), "--to", form, "--lang", "swh,eng"]
    assert cli.main(command) == 0 and cli.main(command) == 1, "nothing is written over"
    assert "choose a new folder" in capsys.readouterr().err
    waveforms, _ = stored_batch(folder("ctc"))
    before, after = mms_jax.load(folder("ctc")), mms_jax.load(tmp_path / "out")
    for language in ("swh", "eng"):
        for one, other in zip(before.logits(waveforms, language=language), after.logits(waveforms, language=language)):
            np.testing.assert_allclose(other, one[:, : other.shape[1]], atol=1e-5)


def test_identifier_answers_whatever_the_length(folder, tmp_path, capsys):
    lid = mms_jax.load(folder("lid"))
    rng = np.random.default_rng(0)
    for name, seconds in (("short", 1), ("long", 70)):
        soundfile.write(tmp_path / f"{name}.wav", rng.normal(0, 0.1, seconds * 16_000), 16_000)
    [short, long] = lid.identify([tmp_path / "short.wav", tmp_path / "long.wav"], top=5)
    for result in (short, long):
        assert sum(probability for _, probability in result.languages) == pytest.approx(1, abs=1e-5)
    assert long.seconds == 70
    waveform, _ = soundfile.read(tmp_path / "short.wav", dtype="float32")
    logits = lid.logits([waveform])[0]
    assert lid.languages[int(logits.argmax())] == short.languages[0][0]

    files = [str(tmp_path / "short.wav"), str(tmp_path / "none.wav")]
    assert cli.main(["identify", *files, "--model", str(folder("lid")), "--format", "json", "--top", "2"]) == 1
    out, err = capsys.readouterr()
    answer = json.loads(out.splitlines()[-1])
    assert [name for name, _ in answer["languages"]] == [name for name, _ in short.languages[:2]]
    assert "none.wav: no such file" in err


def test_unknown_languages_name_the_nearest(folder):
    with pytest.raises(ValueError, match=r"no language 'swhh' in this model; .*swh"):
        mms_jax.load(folder("ctc"), languages=["swhh"])
    with pytest.raises(
        ValueError, match=r"no language 'hin-script_latin' in this model; this language is written as hin"
    ):
        mms_jax.load(folder("ctc"), languages=["hin-script_latin"])


class Repository(http.server.BaseHTTPRequestHandler):
    """As much of the hub's protocol as a download of single files needs."""

    folder: pathlib.Path
    asked: list[str]

    def do_HEAD(self):
        self.answer(False)

    def do_GET(self):
        self.answer(True)

    def answer(self, body):
        repository, _, name = self.path.partition("/resolve/main/")
        path = self.folder / name
        if repository != "/facebook/small" or not path.is_file():
            self.send_response(404)
            code = "EntryNotFound" if repository == "/facebook/small" else "RepoNotFound"
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data = path.read_bytes()
        self.asked.append(name)
        self.send_response(200)
        self.send_header("ETag", f'"{name}-{len(data)}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(folder, tmp_path, monkeypatch):
    handler = type("Handler", (Repository,), {"folder": folder("ctc"), "asked": []})
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    from huggingface_hub import constants, file_download

    endpoint = f"http://127.0.0.1:{httpd.server_port}"
    for module in (constants, file_download):
        for name, value in (("ENDPOINT", endpoint), ("HF_HUB_CACHE", str(tmp_path / "hub"))):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")
    yield handler
    httpd.shutdown()


def test_a_repository_is_fetched_file_by_file(folder, server):
    waveforms, _ = stored_batch(folder("ctc"))
    asr = mms_jax.load("facebook/small", languages=["swh"])
    assert asr.languages == ("swh",)
    here = mms_jax.load(folder("ctc"), languages=["swh"])
    for one, other in zip(asr.logits(waveforms, language="swh"), here.logits(waveforms, language="swh")):
        np.testing.assert_array_equal(one, other)
    assert "adapter.swh.safetensors" in server.asked and "adapter.eng.safetensors" not in server.asked
    with pytest.raises(ValueError, match=r"name those you want"):
        mms_jax.load("facebook/small")
    with pytest.raises(ConversionError, match="facebook/none: no such repository"):
        mms_jax.load("facebook/none", languages=["swh"])
