"""Against transformers itself, where it is installed: pip install -e .[peers]."""

import logging
import shutil
import types
import warnings

import jax
import numpy as np
import pytest

import mms_jax
from mms_jax.adapt.run import Settings, adapt
from mms_jax.checkpoint import StoredModel
from mms_jax.decoding.greedy import collapse
from mms_jax.interop.huggingface import load_folder
from mms_jax.interop.huggingface_export import save_folder
from mms_jax.models.functional import FunctionalModel
from mms_jax.models.wav2vec2.config import Wav2Vec2Config
from mms_jax.text.vocabulary import Vocabulary, spell, vocabulary_from_json
from tests.interop.test_huggingface import LANGUAGES, build

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


@pytest.fixture
def quiet(caplog):
    """Fails where transformers warns."""
    transformers.logging.enable_propagation()
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        yield
    complaints = [record.getMessage() for record in caplog.records if record.name.startswith("transformers")]
    assert not complaints


def answer(model, answers, **changes):
    waveforms = torch.from_numpy(answers["waveforms"])
    mask = torch.arange(waveforms.shape[1])[None] < torch.from_numpy(answers["lengths"])[:, None]
    with torch.no_grad():
        return model.eval()(waveforms, attention_mask=mask.long(), **changes)


def test_exported_recognizer_with_adapters(folder, tmp_path, quiet):
    answers = np.load(folder("ctc") / "answers.npz")
    save_folder(load_folder(folder("ctc")), tmp_path / "out")
    for language in LANGUAGES:
        model = transformers.Wav2Vec2ForCTC.from_pretrained(
            tmp_path / "out", target_lang=language, ignore_mismatched_sizes=True
        )
        np.testing.assert_allclose(answer(model, answers).logits, answers[language], atol=1e-5)
        processor = transformers.AutoProcessor.from_pretrained(tmp_path / "out", target_lang=language)
        stored = load_folder(folder("ctc"))
        tokens = vocabulary_from_json(stored.description["vocabulary"]).tokens_of(language)
        assert processor.tokenizer.convert_ids_to_tokens(range(len(tokens))) == list(tokens)


@pytest.mark.parametrize(
    ("name", "kind", "output"),
    [("ctc_plain", "Wav2Vec2ForCTC", "logits"), ("encoder", "Wav2Vec2Model", "last_hidden_state"),
     ("pretrain", "Wav2Vec2ForPreTraining", "projected_states"), ("lid", "Wav2Vec2ForSequenceClassification", "logits")],
)  # fmt: skip
def test_exported_folders_answer_as_before(folder, tmp_path, quiet, name, kind, output):
    answers = np.load(folder(name) / "answers.npz")
    save_folder(load_folder(folder(name)), tmp_path / "out")
    here = getattr(transformers, kind).from_pretrained(tmp_path / "out")
    theirs = getattr(transformers, kind).from_pretrained(folder(name))
    np.testing.assert_allclose(
        getattr(answer(here, answers), output), getattr(answer(theirs, answers), output), atol=1e-6
    )


def trained_here(alphabets):
    """A recognizer with one head for its languages, as training gives it."""
    vocabulary = Vocabulary.from_alphabets(alphabets)
    config = Wav2Vec2Config(
        conv_dims=(8,) * 7, hidden=24, mlp=32, layers=2, heads=4, positional_kernel=16, positional_groups=4
    )
    description = {"kind": "recognizer", "task": "asr", "model": config.to_json(), "vocabulary": vocabulary.to_json()}
    fields = types.SimpleNamespace(description=description, params={})
    params = FunctionalModel.abstract(lambda key: build(fields, key)).init(jax.random.key(0))
    return StoredModel(5, description, params)


def test_recognizer_trained_here_is_exported(tmp_path, quiet):
    """Each language answers with its own symbols, as here, where a shared head is restricted to them."""
    stored = trained_here({"eng": "abc", "rus": "абв", "swh": "abd"})
    save_folder(stored, tmp_path / "out")
    ours = mms_jax.load(stored)
    rng = np.random.default_rng(0)
    waveforms = [rng.normal(size=samples).astype(np.float32) for samples in (5000, 8000)]
    for language, letters in (("eng", "abc"), ("rus", "абв"), ("swh", "abd")):
        model = transformers.Wav2Vec2ForCTC.from_pretrained(
            tmp_path / "out", target_lang=language, ignore_mismatched_sizes=True
        )
        processor = transformers.AutoProcessor.from_pretrained(tmp_path / "out", target_lang=language)
        assert processor.tokenizer.convert_ids_to_tokens(range(5)) == ["<pad>", "|", *letters]
        for waveform, logits in zip(waveforms, ours.logits(waveforms, language=language)):
            inputs = processor(waveform, sampling_rate=16_000, return_tensors="pt")
            with torch.no_grad():
                theirs = model.eval()(inputs.input_values).logits[0].numpy()
            allowed = ours.vocabulary.allowed[ours.vocabulary.language_index(language)]
            np.testing.assert_allclose(theirs, logits[:, allowed], atol=1e-3)
            spoken = spell(collapse(logits.argmax(axis=-1)).tolist(), ours.vocabulary.tokens)
            assert processor.decode(theirs.argmax(axis=-1)).strip() == spoken
    assert processor.tokenizer.decode([0, 2, 2, 0, 1, 3, 4]) == "a bd"


def test_an_adapted_language_answers_the_same_in_transformers(folder, tone_table, tmp_path):
    """`mms-jax adapt` writes the two files; beside the model's own they are loaded by `load_adapter`."""
    table = tmp_path / "table.tsv"
    rows = [line.split("\t") for line in tone_table.read_text().splitlines()[1:31]]
    table.write_text("path\ttext\n" + "".join(f"{tone_table.parent / row[0]}\t{row[1]}\n" for row in rows))
    save_folder(load_folder(folder("ctc")), tmp_path / "model")
    settings = Settings(model=str(tmp_path / "model"), language="nld", data=str(table), updates=3, batch_seconds=8.0)
    adapt(settings, tmp_path / "out", lambda line: None)
    for path in (tmp_path / "out" / "huggingface").iterdir():
        shutil.copy(path, tmp_path / "model")
    model = transformers.Wav2Vec2ForCTC.from_pretrained(tmp_path / "model").eval()
    model.load_adapter("nld")
    processor = transformers.AutoProcessor.from_pretrained(tmp_path / "model", target_lang="nld")
    ours = mms_jax.load(tmp_path / "out", languages=["nld"])
    assert processor.tokenizer.convert_ids_to_tokens(range(6)) == ["<pad>", "|", "a", "b", "c", "d"]
    waveform = np.random.default_rng(0).normal(size=8000).astype(np.float32)
    inputs = processor(waveform, sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        theirs = model(inputs.input_values).logits[0].numpy()
    [logits] = ours.logits([waveform], language="nld")
    np.testing.assert_allclose(theirs, logits, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("size", ["300m", "1b"])
def test_full_size(tmp_path, size):
    """Random weights of the published geometry: context vectors of five seconds, to 1e-3 of their largest."""
    geometry = {
        "300m": {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24},
        "1b": {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 48},
    }[size]
    config = transformers.Wav2Vec2Config(
        **geometry, num_attention_heads=16, feat_extract_norm="layer", do_stable_layer_norm=True, conv_bias=True
    )
    torch.manual_seed(0)
    model = transformers.Wav2Vec2Model(config).eval()
    model.save_pretrained(tmp_path / size)
    waveform = np.random.default_rng(0).normal(size=80_000).astype(np.float32)
    normalized = (waveform - waveform.mean()) / waveform.std()
    with torch.no_grad():
        theirs = model(torch.from_numpy(normalized)[None]).last_hidden_state.numpy()[0]
    del model
    ours = mms_jax.load(tmp_path / size).features([waveform])[0]
    np.testing.assert_allclose(ours, theirs, atol=1e-3 * np.abs(theirs).max())
