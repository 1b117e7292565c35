"""Voices that transformers and the original's code wrote say the same here."""

import json
import shutil
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mms_jax.errors import ConversionError
from mms_jax.interop.keys import Tensor, fill
from mms_jax.interop.vits import discriminator_entries, load_folder, load_original, save_folder
from mms_jax.models.functional import FunctionalModel
from mms_jax.models.vits.config import VitsConfig
from mms_jax.models.vits.discriminators import Discriminators
from mms_jax.models.vits.model import Vits, fold_weight_norm, symbol_of_frame

FLOAT = jnp.dtype("float32")


@pytest.fixture
def voice_folder(fixture_file):
    """NAME -> the folder of a stored voice."""
    return lambda name: fixture_file("vits") / name


def speak(stored, symbols, lengths, speaker=None):
    """Everything on the way from symbols to samples, without noise; with the weights folded, as `speak` runs it."""
    config = VitsConfig.from_json(stored.description["model"])
    model = FunctionalModel.abstract(lambda key: Vits(config, folded=True, dtype=FLOAT, rngs=nnx.Rngs(params=key)))
    rows, size = symbols.shape
    frames = 400

    @jax.jit
    def run(params):
        voice = model.bind(fold_weight_norm(params))
        embedding = voice.speaker(jnp.full(rows, speaker) if speaker is not None else None)
        text = voice.text_encoder(symbols, lengths)
        log_durations = voice.log_durations(text, embedding, jnp.zeros((rows, size, 2)))
        number = symbol_of_frame(voice.draw_durations(text, embedding, jnp.zeros((rows, size, 2)), 1.0), frames)
        still = jnp.zeros((rows, frames, config.latent))
        latents = voice.latents(text.mean, text.log_std, number, embedding, still)
        end = jnp.sum(number >= 0, axis=1)
        waveforms = voice.generator(latents, embedding, begin=jnp.zeros_like(end), end=end)
        return {"text": text, "log_durations": log_durations, "latents": latents, "waveforms": waveforms, "end": end}

    return run(stored.params["voice"]), config


@pytest.mark.parametrize("name, speaker", [("huggingface", None), ("speakers", 2)])
def test_transformers_voice(voice_folder, name, speaker):
    answers = np.load(voice_folder(name) / "answers.npz")
    out, config = speak(load_folder(voice_folder(name)), answers["symbols"], answers["lengths"], speaker)
    real = np.asarray(out["text"].mask)
    for ours, theirs in (("hidden", "hidden"), ("mean", "mean"), ("log_std", "log_std")):
        np.testing.assert_allclose(np.asarray(getattr(out["text"], ours))[real], answers[theirs][real], atol=1e-4)
    np.testing.assert_allclose(out["log_durations"][real], answers["log_durations"][real], atol=1e-4)
    for row, frames in enumerate(out["end"]):
        assert answers[f"waveform{row}"].size == frames * config.hop
        np.testing.assert_allclose(out["latents"][row, :frames].T, answers[f"latents{row}"], atol=1e-4)
        np.testing.assert_allclose(out["waveforms"][row, : frames * config.hop], answers[f"waveform{row}"], atol=1e-4)
        assert not np.abs(answers[f"waveform{row}"]).max() < 0.01  # it says something


@pytest.mark.parametrize("name", ["original", "resblock2"])
def test_original_voice(voice_folder, name):
    answers = np.load(voice_folder(name) / "answers.npz")
    stored = load_folder(voice_folder(name))
    out, config = speak(stored, answers["symbols"], answers["lengths"])
    assert stored.step == 700 and stored.description["text"]["uroman"] and config.resblock == (2 if "2" in name else 1)
    for row, frames in enumerate(out["end"]):
        np.testing.assert_allclose(out["waveforms"][row, : frames * config.hop], answers[f"waveform{row}"], atol=1e-4)


def formula_discriminators(config):
    """The discriminators that tests/fixtures/make_vits.py made, from their tensors' names."""
    shapes = FunctionalModel.abstract(
        lambda key: Discriminators(config, dtype=FLOAT, rngs=nnx.Rngs(params=key))
    ).shapes()
    tensors = {}
    for entry in discriminator_entries(config):
        place = shapes
        for step in entry.path:
            place = place[step]
        shape = entry.layout.theirs(np.broadcast_to(np.float32(0), place.shape)).shape
        theirs = entry.key.replace("parametrizations.weight.original0", "weight_g")
        theirs = theirs.replace("parametrizations.weight.original1", "weight_v")
        flat = entry.key.startswith("discriminators.0.") or len(shape) < 2
        values = np.random.default_rng(zlib.crc32(theirs.encode())).standard_normal(
            shape if flat else (*shape, 1), dtype=np.float32
        )
        values = np.abs(values) if theirs.endswith("weight_g") else 0.1 * values
        tensors[entry.key] = Tensor(shape, lambda values=values, shape=shape: values.reshape(shape))
    return fill(shapes, discriminator_entries(config), tensors, "formula")


def test_original_discriminators(voice_folder):
    answers = np.load(voice_folder("original") / "answers.npz")
    config = VitsConfig.from_json(load_folder(voice_folder("original")).description["model"])
    model = FunctionalModel.abstract(lambda key: Discriminators(config, dtype=FLOAT, rngs=nnx.Rngs(params=key)))
    seen = jax.jit(lambda params, x: model.bind(params)(x))(formula_discriminators(config), answers["segment"])
    for number, features in enumerate(seen):
        # Theirs lists the scores of a folded waveform row by row, ours column by column.
        ours, theirs = np.asarray(features[-1]), answers[f"scores{number}"]
        np.testing.assert_allclose(np.sort(ours), np.sort(theirs), rtol=1e-3, atol=1e-4)


def test_export_comes_back(voice_folder, tmp_path):
    stored = load_folder(voice_folder("original"))
    save_folder(stored, tmp_path / "exported")
    again = load_folder(tmp_path / "exported")
    assert again.description == stored.description | {"model": again.description["model"]}
    answers = np.load(voice_folder("original") / "answers.npz")
    out, config = speak(again, answers["symbols"], answers["lengths"])
    for row, frames in enumerate(out["end"]):
        np.testing.assert_allclose(out["waveforms"][row, : frames * config.hop], answers[f"waveform{row}"], atol=1e-4)


def test_generators_of_kind_2_cannot_be_exported(voice_folder, tmp_path):
    with pytest.raises(ConversionError, match="residual blocks of kind 1"):
        save_folder(load_folder(voice_folder("resblock2")), tmp_path / "exported")


def copied(source, target, **files):
    shutil.copytree(source, target)
    for name, text in files.items():
        path = target / name.replace("__", ".")
        path.unlink() if text is None else path.write_text(text)
    return target


def test_damaged_folders_are_named(voice_folder, tmp_path):
    with pytest.raises(ConversionError, match="10 symbols and its weights are for 11"):
        load_folder(copied(voice_folder("original"), tmp_path / "short", vocab__txt="_\n \na\nb\nc\nd\ne\nf\ng\nh\n"))
    with pytest.raises(ConversionError, match=r"no vocab.txt beside it"):
        load_original(copied(voice_folder("original"), tmp_path / "none", vocab__txt=None) / "G_700.pth")
    with pytest.raises(ConversionError, match=r"3 symbols and its weights are for 11"):
        load_folder(copied(voice_folder("huggingface"), tmp_path / "few", vocab__json='{"a": 0, "b": 1, "c": 2}'))
    with pytest.raises(ConversionError, match=r"holds no vocab.json"):
        load_folder(copied(voice_folder("huggingface"), tmp_path / "nothing", vocab__json=None))
    fields = json.loads((voice_folder("huggingface") / "config.json").read_text()) | {"wavenet_dilation_rate": 2}
    with pytest.raises(ConversionError, match="wavenet_dilation_rate=2"):
        load_folder(copied(voice_folder("huggingface"), tmp_path / "dilated", config__json=json.dumps(fields)))
