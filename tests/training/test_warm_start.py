"""Runs that start from another model: what is taken, what stays fresh, what is left, and what is refused."""

import dataclasses

import jax
import numpy as np
import pytest

from mms_jax.errors import CheckpointError, TrainingError
from mms_jax.inference.find import find_model
from mms_jax.models.functional import FunctionalModel
from mms_jax.models.wav2vec2.config import Wav2Vec2Config
from mms_jax.tasks.asr.carry_over import symbol_sources
from mms_jax.tasks.asr.task import AsrTask
from mms_jax.tasks.pretrain.task import PretrainTask
from mms_jax.text.vocabulary import Vocabulary, VocabularyBank, vocabulary_from_json
from mms_jax.train import train
from mms_jax.training.warm_start import warm_start
from tests.conftest import tone_experiment

BANK = ("eng", "hin", "swh")


def fresh(task):
    """Fresh parameters of a task, on the host but placed."""
    return jax.jit(FunctionalModel.abstract(task.build).init)(jax.random.key(7))


def geometry_of(folder, **changes):
    """The geometry of a stored model, without adapters unless the changes bring them."""
    stored = find_model(folder).description["model"]
    return dataclasses.replace(
        Wav2Vec2Config.from_json(stored), **({"adapter_width": 0, "adapter_languages": 0} | changes)
    )


def assert_equal(one, other):
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(one), jax.device_get(other))


def test_continued_pretraining_takes_everything(tone_data, tmp_path, carried_over):
    config = tone_experiment(tone_data, "pretrain")
    config.total_steps = 1
    before = train(config, str(tmp_path / "first")).params
    config.init_from, config.optimizer.learning_rate = str(tmp_path / "first"), 0.0
    assert_equal(train(config, str(tmp_path / "second")).params, before)
    table = carried_over[0]
    for part in ("backbone", "quantizer", "project_target", "project_context"):
        assert f"taken  {part}" in table
    assert "fresh" not in table and "left" not in table
    # Shapes of small parts, sizes of large ones.
    assert "project_target   bias (10,), kernel (12, 10)" in table and "arrays, " in table


def test_a_recognizer_takes_the_rows_of_symbols_that_both_know(tone_data, tmp_path, carried_over):
    config = tone_experiment(tone_data)
    config.total_steps = 1
    theirs = jax.device_get(train(config, str(tmp_path / "first")).params)
    task = AsrTask(config, Wav2Vec2Config.from_json(find_model(tmp_path / "first").description["model"]),
                   Vocabulary.from_alphabets({"swh": "bdz"}))  # fmt: skip
    own = jax.device_get(fresh(task))
    found = jax.device_get(warm_start(fresh(task), str(tmp_path / "first"), task)[0])
    assert_equal(found["backbone"], theirs["backbone"])
    # <pad> | b d z, of <pad> | a b c d
    for new, old in ((0, 0), (1, 1), (2, 3), (3, 5)):
        np.testing.assert_array_equal(found["head"]["kernel"][:, new], theirs["head"]["kernel"][:, old])
        assert found["head"]["bias"][new] == theirs["head"]["bias"][old]
    np.testing.assert_array_equal(found["head"]["kernel"][:, 4], own["head"]["kernel"][:, 4])
    assert "4 of 5 symbols taken; fresh: z; left: a c" in carried_over[-1]


def test_a_model_with_adapters_gives_its_backbone_and_its_symbols(tone_config, fixture_file, carried_over):
    folder = str(fixture_file("huggingface") / "ctc")
    stored = find_model(folder)
    bank = vocabulary_from_json(stored.description["vocabulary"])
    letters = "".join(token for token in bank.tokens_of("swh") if len(token) == 1 and token.isalpha())
    task = AsrTask(tone_config, geometry_of(folder), Vocabulary.from_alphabets({"swh": letters + "ж"}))
    found = jax.device_get(warm_start(fresh(task), folder, task)[0])
    np.testing.assert_array_equal(
        found["backbone"]["projection"]["kernel"], stored.params["backbone"]["projection"]["kernel"]
    )
    row, number = bank.languages.index("swh"), bank.tokens_of("swh").index(letters[0])
    column = task.vocabulary.tokens.index(letters[0])
    np.testing.assert_array_equal(found["head"]["kernel"][:, column], stored.params["heads"]["kernel"][row, :, number])
    assert "adapters" not in found["backbone"]["encoder"]["layers"]
    assert "left   adapters" in carried_over[-1] and "fresh: ж" in carried_over[-1]


def test_adapters_of_the_languages_that_both_know_are_taken(tone_config, fixture_file, carried_over):
    folder = str(fixture_file("huggingface") / "ctc")
    stored = find_model(folder, ["eng", "swh"])
    tables = vocabulary_from_json(stored.description["vocabulary"]).tables
    width = stored.description["model"]["adapter_width"]
    vocabulary = VocabularyBank({"lug": tables["eng"], "swh": tables["swh"]})
    task = AsrTask(tone_config, geometry_of(folder, adapter_width=width, adapter_languages=2), vocabulary)
    own = jax.device_get(fresh(task))
    found = jax.device_get(warm_start(fresh(task), folder, task)[0])
    for name, array in found["backbone"]["encoder"]["layers"]["adapters"].items():
        np.testing.assert_array_equal(
            array[:, 1], stored.params["backbone"]["encoder"]["layers"]["adapters"][name][:, 1]
        )
        np.testing.assert_array_equal(array[:, 0], own["backbone"]["encoder"]["layers"]["adapters"][name][:, 0])
    size = len(tables["swh"])
    np.testing.assert_array_equal(found["heads"]["kernel"][1, :, :size], stored.params["heads"]["kernel"][1, :, :size])
    assert "taken  adapters" in carried_over[-1]


def test_an_unknown_language_still_takes_the_symbols_of_a_known_one(tone_config, fixture_file, carried_over):
    folder = str(fixture_file("huggingface") / "ctc")
    task = AsrTask(tone_config, geometry_of(folder), Vocabulary.from_alphabets({"lug": "ab"}))
    warm_start(fresh(task), folder, task)
    assert "taken  head" in carried_over[-1]


def test_pretraining_starts_from_a_hugging_face_folder(tone_data, fixture_file, carried_over):
    folder = str(fixture_file("huggingface") / "pretrain")
    task = PretrainTask(tone_experiment(tone_data, "pretrain"), geometry_of(folder))
    found, _ = warm_start(fresh(task), folder, task)
    assert_equal(found, find_model(folder).params)
    assert "taken  quantizer" in carried_over[-1] and "fresh" not in carried_over[-1]


def test_pretraining_takes_the_backbone_of_a_recognizer_with_adapters(tone_data, fixture_file, carried_over):
    folder = str(fixture_file("huggingface") / "ctc")
    task = PretrainTask(tone_experiment(tone_data, "pretrain"), geometry_of(folder))
    warm_start(fresh(task), folder, task)
    assert "taken  backbone" in carried_over[-1] and "fresh  quantizer" in carried_over[-1]


def test_wrong_models_are_refused(tone_config, fixture_file, tmp_path):
    task = AsrTask(tone_config, Wav2Vec2Config(**dict(TINY)), Vocabulary.from_alphabets({"swh": "ab"}))
    with pytest.raises(TrainingError, match="kind voice, which has no part in common with a recognizer"):
        warm_start(fresh(task), str(fixture_file("vits") / "huggingface"), task)
    with pytest.raises(
        TrainingError, match=r"backbone/\S+ is \(.*\) there and \(.*\) here; set config\.model\.geometry"
    ):
        warm_start(fresh(task), str(fixture_file("huggingface") / "encoder"), task)
    with pytest.raises(CheckpointError, match="no such folder"):
        warm_start(fresh(task), str(tmp_path / "nothing"), task)


TINY = {
    "conv_dims": (8,) * 7, "hidden": 32, "mlp": 48, "layers": 2, "heads": 4, "positional_kernel": 16,
    "positional_groups": 4, "quantized": 12, "projected": 10, "codes": 6,
}  # fmt: skip


def test_symbols_come_from_the_same_language_first():
    old = VocabularyBank({"eng": ("<pad>", "|", "a"), "swh": ("<pad>", "a", "|", "b")})
    assert symbol_sources(Vocabulary.from_alphabets({"swh": "ab"}), old) == {
        (0, 0): (1, 0), (0, 1): (1, 2), (0, 2): (1, 1), (0, 3): (1, 3),
    }  # fmt: skip
    bank = VocabularyBank({"lug": ("[PAD]", "b", "c"), "eng": ("<pad>", "a")})
    assert symbol_sources(bank, old) == {(0, 0): (0, 0), (0, 1): (1, 3), (1, 0): (0, 0), (1, 1): (0, 2)}
