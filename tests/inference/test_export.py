"""A recognizer as one program: the same answers, from files alone, without the model's code."""

import subprocess
import sys

import numpy as np
import pytest
import soundfile

import mms_jax
from mms_jax import cli
from mms_jax.errors import ConversionError


@pytest.fixture(scope="module")
def source(folder):
    return folder("ctc")


@pytest.fixture(scope="module")
def exported(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "swh-eng"
    assert cli.main(["export", str(source), str(folder), "--lang", "swh,eng"]) == 0
    return folder


def test_program_answers_as_the_model_at_any_batch_and_length(source, exported):
    rng = np.random.default_rng(0)
    waveforms = [rng.normal(size=samples) for samples in (400, 9_000, 33_333, 34_000, 70_000)]
    languages = ["swh", "eng", "eng", "swh", "eng"]
    model, program = mms_jax.load(source, languages=["swh", "eng"]), mms_jax.load(exported)
    assert program.languages == ("swh", "eng")
    for one, other in zip(model.logits(waveforms, language=languages), program.logits(waveforms, language=languages)):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_transcribing_loads_no_model_code(exported, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).normal(0, 0.1, 20_000), 16_000)
    program = (
        "import sys; from mms_jax import cli\n"
        "status = cli.main(sys.argv[1:])\n"
        "code = [name for name in sys.modules if name.startswith('mms_jax.models.wav2vec2.')]\n"
        "assert code == ['mms_jax.models.wav2vec2.config'], code\n"
        "sys.exit(status)"
    )
    command = ["transcribe", "a.wav", "--model", str(exported), "--lang", "swh", "--format", "json"]
    done = subprocess.run([sys.executable, "-c", program, *command], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert '"language": "swh"' in done.stdout


def test_program_serves_every_platform(exported):
    from jax import export

    program = export.deserialize(bytearray((exported / "model.stablehlo").read_bytes()))
    assert program.platforms == ("cpu", "cuda", "tpu")


def test_what_cannot_be_exported_or_read_is_named(source, exported, tmp_path, capsys):
    assert cli.main(["export", str(source.parent / "lid"), str(tmp_path / "lid")]) == 1
    assert "only recognizers are exported, this model's kind is 'identifier'" in capsys.readouterr().err
    assert cli.main(["export", str(source), str(exported)]) == 1
    assert "choose a new folder" in capsys.readouterr().err
    assert cli.main(["convert", str(exported), str(tmp_path / "again")]) == 1
    assert "give the model that was exported" in capsys.readouterr().err
    for name in ("model.stablehlo", "export.json", "weights.safetensors"):
        (tmp_path / name).write_bytes((exported / name).read_bytes()[:100])
    with pytest.raises(ConversionError, match="export the model again"):
        mms_jax.load(tmp_path)
