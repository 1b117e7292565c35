"""Folders that transformers wrote give the same answers here."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import mms_jax
from mms_jax.errors import ConversionError
from mms_jax.interop.huggingface import load_folder
from mms_jax.interop.huggingface_export import save_folder
from mms_jax.models.functional import FunctionalModel
from mms_jax.models.wav2vec2.config import Wav2Vec2Config
from mms_jax.models.wav2vec2.heads import Wav2Vec2ForCTC, Wav2Vec2ForIdentification, Wav2Vec2ForPretraining
from mms_jax.models.wav2vec2.model import Wav2Vec2
from mms_jax.text.vocabulary import vocabulary_from_json

LANGUAGES = ("eng", "hin", "swh")


def build(stored, key):
    description = stored.description
    config = Wav2Vec2Config.from_json(description["model"])
    rngs = nnx.Rngs(params=key)
    match description["kind"]:
        case "recognizer":
            return Wav2Vec2ForCTC(config, len(vocabulary_from_json(description["vocabulary"])), rngs=rngs)
        case "identifier":
            return Wav2Vec2ForIdentification(config, description["latent"], len(description["languages"]), rngs=rngs)
        case "encoder" if "quantizer" in stored.params:
            return Wav2Vec2ForPretraining(config, rngs=rngs)
    return Wav2Vec2(config, rngs=rngs)


def run(stored, answers, **inputs):
    """The module's answer to the stored batch."""
    model = FunctionalModel.abstract(lambda key: build(stored, key))
    call = jax.jit(lambda params, *batch: model.bind(params)(*batch, **inputs))
    return call(stored.params, jnp.asarray(answers["waveforms"]), jnp.asarray(answers["lengths"]))


def assert_rows_equal(ours, theirs, frames):
    for row, count in enumerate(frames):
        np.testing.assert_allclose(ours[row, :count], theirs[row, :count], atol=1e-4)


@pytest.mark.parametrize("language", LANGUAGES)
def test_recognizer_with_adapters(folder, language):
    answers = np.load(folder("ctc") / "answers.npz")
    stored = load_folder(folder("ctc"))
    rows = jnp.full(len(answers["lengths"]), LANGUAGES.index(language))
    logits, frames = run(stored, answers, language=rows)
    assert_rows_equal(logits[:, :, : answers[language].shape[-1]], answers[language], frames)


def test_one_batch_mixes_languages(folder):
    answers = np.load(folder("ctc") / "answers.npz")
    logits, frames = run(load_folder(folder("ctc")), answers, language=jnp.asarray([2, 0, 1, 2]))
    for row, number in enumerate((2, 0, 1, 2)):
        theirs = answers[LANGUAGES[number]][row, : frames[row]]
        np.testing.assert_allclose(logits[row, : frames[row], : theirs.shape[-1]], theirs, atol=1e-4)


def test_some_languages_in_the_order_asked_for(folder):
    answers = np.load(folder("ctc") / "answers.npz")
    stored = load_folder(folder("ctc"), languages=["swh", "eng"])
    assert vocabulary_from_json(stored.description["vocabulary"]).languages == ("swh", "eng")
    logits, frames = run(stored, answers, language=jnp.asarray([1, 1, 1, 1]))
    assert_rows_equal(logits[:, :, : answers["eng"].shape[-1]], answers["eng"], frames)
    with pytest.raises(ValueError, match=r"no language 'swa'.*swh"):
        load_folder(folder("ctc"), languages=["swa"])


def test_plain_recognizer_in_shards_and_old_files(folder, tmp_path):
    answers = np.load(folder("ctc_plain") / "answers.npz")
    logits, frames = run(load_folder(folder("ctc_plain")), answers)
    assert_rows_equal(logits, answers["logits"], frames)
    for name in ("config.json", "vocab.json"):
        (tmp_path / name).write_bytes((folder("ctc_plain") / name).read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes((folder("ctc_plain") / "old.bin").read_bytes())
    again, _ = run(load_folder(tmp_path), answers)
    np.testing.assert_array_equal(again, logits)


def test_encoder(folder):
    answers = np.load(folder("encoder") / "answers.npz")
    stored = load_folder(folder("encoder"))
    model = FunctionalModel.abstract(lambda key: build(stored, key))
    encoded = jax.jit(lambda params, *batch: model.bind(params)(*batch))(
        stored.params["backbone"], jnp.asarray(answers["waveforms"]), jnp.asarray(answers["lengths"])
    )
    assert_rows_equal(encoded.context, answers["context"], encoded.frames)


def test_pretrained_model(folder):
    answers = np.load(folder("pretrain") / "answers.npz")
    stored = load_folder(folder("pretrain"))
    model = FunctionalModel.abstract(lambda key: build(stored, key))

    @jax.jit
    def run_parts(params, waveforms, lengths):
        module = model.bind(params)
        encoded = module.backbone(waveforms, lengths)
        target = module.project_target(module.quantizer(encoded.features).vectors)
        return encoded.context, module.project_context(encoded.context), target, encoded.frames

    context, predicted, target, frames = run_parts(stored.params, answers["waveforms"], answers["lengths"])
    assert_rows_equal(context, answers["context"], frames)
    assert_rows_equal(predicted, answers["predicted"], frames)
    assert_rows_equal(target, answers["target"], frames)


def test_identifier(folder):
    answers = np.load(folder("lid") / "answers.npz")
    stored = load_folder(folder("lid"))
    assert stored.description["languages"] == ["eng", "swh", "hin", "ell", "fra"]
    np.testing.assert_allclose(run(stored, answers), answers["logits"], atol=1e-4)


def test_other_models_are_refused_by_name(folder, tmp_path):
    fields = (folder("lid") / "config.json").read_text()
    (tmp_path / "config.json").write_text(
        fields.replace('"feat_extract_norm": "layer"', '"feat_extract_norm": "group"')
    )
    with pytest.raises(ConversionError, match="feat_extract_norm='group'"):
        load_folder(tmp_path)


def test_missing_unknown_and_misshapen_tensors_are_listed(folder, tmp_path):
    import safetensors.numpy

    tensors = safetensors.numpy.load_file(folder("lid") / "model.safetensors")
    tensors["extra.weight"] = np.zeros(3, np.float32)
    del tensors["wav2vec2.encoder.layers.1.feed_forward.output_dense.weight"]
    tensors["projector.weight"] = np.zeros((4, 5), np.float32)
    safetensors.numpy.save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes((folder("lid") / "config.json").read_bytes())
    with pytest.raises(ConversionError) as error:
        load_folder(tmp_path)
    text = str(error.value)
    assert "1 tensors are missing: wav2vec2.encoder.layers.1.feed_forward.output_dense.weight" in text
    assert "1 tensors are unknown: extra.weight" in text
    assert "projector.weight is (4, 5), expected (4, 24)" in text


@pytest.mark.parametrize("normalizes", [True, False])
def test_waveforms_are_heard_as_the_feature_extractor_gives_them(folder, tmp_path, normalizes):
    """do_normalize decides, and travels with an export."""
    shutil.copytree(folder("ctc_plain"), tmp_path / "model")
    (tmp_path / "model" / "preprocessor_config.json").write_text(json.dumps({"do_normalize": normalizes}))
    save_folder(load_folder(tmp_path / "model"), tmp_path / "exported")
    model = mms_jax.load(tmp_path / "exported")
    waveform = np.random.default_rng(0).normal(0.0, 0.1, 8000).astype(np.float32)
    [quiet], [loud] = model.logits([waveform], language="und"), model.logits([3 * waveform], language="und")
    assert np.allclose(quiet, loud, atol=1e-3) == normalizes
