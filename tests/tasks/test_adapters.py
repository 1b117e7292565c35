"""Language adapters and heads in training: what moves, what does not by one bit, and what it costs."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from input_pipeline.dataset import open_corpora
from mms_jax.checkpoint import load_model
from mms_jax.config import default_config
from mms_jax.errors import ConfigError, TrainingError
from mms_jax.models.functional import FunctionalModel
from mms_jax.models.wav2vec2.banks import batch_languages, language_axis, only_banks, put_rows, take_rows
from mms_jax.models.wav2vec2.config import Wav2Vec2Config, geometry
from mms_jax.models.wav2vec2.heads import Wav2Vec2ForCTC
from mms_jax.optimizers import make_optimizer
from mms_jax.tasks.asr.task import AsrTask
from mms_jax.tasks.gradient_update import gradient_update
from mms_jax.text.vocabulary import Vocabulary, VocabularyBank
from mms_jax.train import train
from tests.conftest import MINIATURE, prepare_folder, tone_experiment
from tests.tasks.test_parts import speech_batch

LANGUAGES = ("eng", "fra", "hin", "swh", "tur")


def lsah_task(languages=LANGUAGES, **adapters):
    config = default_config("asr")
    config.adapters.width = 3
    config.adapters.update(adapters)
    config.init_from = "other" if adapters.get("alone") else ""
    config.masking.time_length, config.masking.time_minimum = 2, 0
    model = Wav2Vec2Config(
        **MINIATURE,
        adapter_width=3,
        adapter_languages=len(languages),
        shared_head=config.adapters.shared_head,
    )
    kind = Vocabulary if config.adapters.shared_head else VocabularyBank
    return AsrTask(config, model, kind.from_alphabets(dict.fromkeys(languages, "abcd"))), config


def mixed_batch():
    """Eight rows, of which three are padding; the others are of two languages."""
    batch = speech_batch(np.random.default_rng(0))
    return {name: jnp.asarray(value) for name, value in batch.items()} | {
        "language": jnp.asarray([1, 3, 1, 0, 3, 0, 3, 0])
    }


def started(task):
    model = FunctionalModel.abstract(task.build)
    return model, jax.jit(model.init)(jax.random.key(1))


def one_update(task, config, model, params, batch, updates=1):
    optimizer, _ = make_optimizer(config.optimizer, 100, 10, frozen=task.frozen)
    state = optimizer.init(task.trained(params))
    step = jax.jit(
        lambda params, state: task.update(model, optimizer, params, state, batch, jax.random.key(3), jnp.int32(5))
    )
    for _ in range(updates):
        params, state, figures = step(params, state)
    return params, state, figures


def rows_that_moved(before, after):
    """The languages of which any number in a bank has changed, bit for bit."""
    moved = set()
    for (path, old), new in zip(jax.tree_util.tree_leaves_with_path(before), jax.tree.leaves(after)):
        axis = language_axis(path)
        if axis is not None:
            old, new = (np.moveaxis(np.asarray(x), axis, 0).view(np.uint32) for x in (old, new))
            moved |= {row for row in range(len(old)) if (old[row] != new[row]).any()}
    return moved


def test_rows_of_a_batch_are_taken_once_and_put_back():
    language, counted = jnp.asarray([4, 1, 4, 0, 2]), jnp.asarray([True, True, True, False, True])
    rows, places = batch_languages(language, counted, 7)
    assert rows.tolist() == [1, 2, 4, 7, 7]
    assert [rows.tolist()[place] for place in places.tolist()] == [4, 1, 4, 7, 2]
    few, places = batch_languages(jnp.asarray([1, 0, 1, 0]), jnp.asarray([True, True, True, False]), 2)
    assert few.tolist() == [0, 1] and places.tolist()[:3] == [1, 0, 1]
    bank = {"heads": {"bias": jnp.arange(14.0).reshape(7, 2)}, "other": jnp.ones(3)}
    part = jax.tree.map(lambda x: x + 100, take_rows(bank, rows))
    back = put_rows(bank, rows, part)
    assert back["other"].tolist() == [101.0] * 3
    changed = (np.asarray(back["heads"]["bias"]) != np.asarray(bank["heads"]["bias"])).any(axis=1)
    assert np.flatnonzero(changed).tolist() == [1, 2, 4]


@pytest.mark.parametrize("shared_head", [False, True])
def test_a_step_equals_one_on_the_whole_bank(shared_head):
    """The same loss and gradients as without taking rows; Adam's first update is that of every row with a gradient."""
    task, config = lsah_task(shared_head=shared_head)
    model, params = started(task)
    batch = mixed_batch()
    ours, _, figures = one_update(task, config, model, params, batch)
    optimizer, _ = make_optimizer(config.optimizer, 100, 10)
    whole, _, expected = jax.jit(
        lambda p, s: gradient_update(task, model, optimizer, p, s, batch, jax.random.key(3), jnp.int32(5))
    )(params, optimizer.init(params))
    for name in ("loss", "gradient_norm"):
        assert np.isclose(figures[name].mean(), expected[name].mean(), rtol=1e-5)
    for (path, one), other in zip(jax.tree_util.tree_leaves_with_path(ours), jax.tree.leaves(whole)):
        np.testing.assert_allclose(one, other, atol=2e-7, err_msg=str(path))
    assert rows_that_moved(params, ours) == {1, 3}


def test_languages_that_are_not_in_the_batch_keep_every_bit_of_weights_and_moments():
    """Also after many updates with momentum, which would move them on."""
    task, config = lsah_task()
    model, params = started(task)
    batch = mixed_batch()
    seen, state, _ = one_update(task, config, model, params, batch)
    other = batch | {"language": jnp.where(batch["counted"], 2, 0)}
    optimizer, _ = make_optimizer(config.optimizer, 100, 10, frozen=task.frozen)
    after, later, _ = jax.jit(lambda p, s: task.update(model, optimizer, p, s, other, jax.random.key(4), jnp.int32(6)))(
        seen, state
    )
    assert rows_that_moved(seen, after) == {2}
    assert rows_that_moved(optax.tree.get(state, "mu"), optax.tree.get(later, "mu")) == {2}


def test_the_second_stage_moves_adapter_and_head_of_one_language_and_nothing_else():
    task, config = lsah_task(alone=True)
    config.optimizer.weight_decay = 0.1
    model, params = started(task)
    batch = mixed_batch() | {"language": jnp.full(8, 3)}
    after, state, _ = one_update(task, config, model, params, batch, updates=3)
    assert rows_that_moved(params, after) == {3}
    for (path, old), new in zip(jax.tree_util.tree_leaves_with_path(params), jax.tree.leaves(after)):
        if language_axis(path) is None:
            assert np.array_equal(np.asarray(old).view(np.uint32), np.asarray(new).view(np.uint32)), path
    banks = {jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(only_banks(params))}
    moments = {
        jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(optax.tree.get(state, "mu"))
    }
    assert moments == banks and len(banks) == 8


def test_what_the_second_stage_trains_at_1b_is_the_papers_count():
    """44,816 numbers in each of 48 layers, and a head of 1,280 + 1 numbers for each of English's 154 symbols."""
    symbols = "".join(chr(0x100 + number) for number in range(152))  # and blank and word boundary
    config = default_config("asr")
    config.adapters.update({"width": 16, "alone": True})
    config.init_from = "other"
    model = geometry("1b", adapter_width=16, adapter_languages=1)
    task = AsrTask(config, model, VocabularyBank.from_alphabets({"eng": symbols}))
    shapes = FunctionalModel.abstract(task.build).shapes()
    assert sum(leaf.size for leaf in jax.tree.leaves(task.trained(shapes))) == 44_816 * 48 + 197_274
    optimizer, _ = make_optimizer(config.optimizer, 100, 10)
    moments = jax.eval_shape(optimizer.init, task.trained(shapes))
    assert sum(leaf.size for leaf in jax.tree.leaves(moments) if leaf.ndim) == 2 * (44_816 * 48 + 197_274)


def test_frozen_matrices_in_half_precision_change_no_number():
    """With bfloat16, layers convert their matrices anyway: kept in that type they give the same gradients."""
    task, config = lsah_task(alone=True)
    batch = mixed_batch()
    half = AsrTask(_with_dtype(config, "bfloat16"), task.model, task.vocabulary)
    model, params = started(half)
    kinds = {jax.tree_util.keystr(path): leaf.dtype for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    assert kinds["['backbone']['encoder']['layers']['feed_forward']['up']['kernel']"] == jnp.bfloat16
    assert all(kinds[name] == jnp.float32 for name in kinds if "adapters" in name or "heads" in name)
    wide = FunctionalModel.abstract(
        lambda key: Wav2Vec2ForCTC(task.model, len(task.vocabulary), dtype=jnp.bfloat16, rngs=_rngs(key))
    )
    as_float32 = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params)
    moved, _, _ = one_update(half, config, model, params, batch)
    expected, _, _ = one_update(half, config, wide, as_float32, batch)
    for one, other in zip(jax.tree.leaves(only_banks(moved)), jax.tree.leaves(only_banks(expected))):
        np.testing.assert_array_equal(one, other)


def _rngs(key):
    from flax import nnx

    return nnx.Rngs(params=key)


def _with_dtype(config, dtype):
    changed = config.copy_and_resolve_references()
    changed.compute_dtype = dtype
    return changed


@pytest.mark.parametrize("shared_head", [False, True])
def test_a_run_with_adapters_trains_resumes_and_loads(tone_data, tmp_path, shared_head):
    import mms_jax

    config = tone_experiment(tone_data)
    config.adapters.update({"width": 4, "shared_head": shared_head})
    config.total_steps, config.eval_every, config.checkpoint.best = 4, 2, "cer"
    config.checkpoint.keep_every = 3
    train(config, str(tmp_path / "whole"))
    half = config.copy_and_resolve_references()
    half.total_steps = 3
    train(half, str(tmp_path / "parts"))
    # The schedule depends on the length of the run; a run that is interrupted has the same one.
    config_file = tmp_path / "parts" / "config.json"
    config_file.write_text(config_file.read_text().replace('"total_steps": 3', '"total_steps": 4'))
    train(config, str(tmp_path / "parts"))
    stored = load_model(tmp_path / "whole")
    assert ("head" in stored.params) == shared_head and ("heads" in stored.params) != shared_head
    model = mms_jax.load(tmp_path / "whole")
    assert model.languages == ("eng", "swh")
    waveform = np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32)
    both = model.logits([waveform, waveform], language=["eng", "swh"])
    swapped = mms_jax.load(tmp_path / "whole", languages=["swh", "eng"])
    np.testing.assert_allclose(swapped.logits([waveform], language="swh")[0], both[1], atol=1e-5)
    assert not np.allclose(both[0], both[1], atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_a_language_with_one_utterance_is_learned_or_named(tone_table, tmp_path, caplog, beta):
    """One recording of English among forty-odd of Swahili: with equal shares it is half of what is heard."""
    header, *rows = tone_table.read_text().splitlines()
    training = [row for row in rows if row.endswith("train")]
    english = next(row for row in training if "\teng\t" in row)
    kept = [row for row in training if "\tswh\t" in row] + [row for row in rows if row.endswith("test")]
    table = tone_table.with_name(f"one_utterance_{beta}.tsv")
    table.write_text("\n".join([header, english, *kept]) + "\n")
    config = tone_experiment(prepare_folder("tones", table, tmp_path / "data"))
    config.adapters.width, config.input.beta_language, config.total_steps = 2, beta, 5
    with caplog.at_level("WARNING"):
        train(config, str(tmp_path / "run"))
    task = AsrTask.from_corpora(config, open_corpora(config.input.corpora, config.input.data_dir))
    first = jax.jit(FunctionalModel.abstract(task.build).init)(jax.random.key(config.seed))
    trained = load_model(tmp_path / "run").params
    moved = np.any(np.asarray(trained["heads"]["kernel"]) != np.asarray(first["heads"]["kernel"]), axis=(1, 2))
    assert "eng (1): fewer than 10 utterances" in caplog.text
    assert moved[1] and ("too few to learn a language" in caplog.text) == (beta == 1.0)
    if beta == 0.0:
        assert moved[0]
    else:
        assert "eng (" in caplog.text and "swh (" not in caplog.text


def test_a_bank_keeps_the_order_of_its_languages_through_a_checkpoint(tone_data, tmp_path):
    """Rows belong to languages by position; Orbax sorts the keys of objects, and the description must not."""
    from mms_jax.checkpoint import save_model
    from mms_jax.inference.select import select_languages

    config = tone_experiment(tone_data)
    config.adapters.update({"width": 4, "shared_head": True})
    config.total_steps = 1
    train(config, str(tmp_path / "run"))
    stored = load_model(tmp_path / "run")
    turned = select_languages(stored, ["swh", "eng"])
    save_model(tmp_path / "turned", dataclasses.replace(turned, step=1))
    again = load_model(tmp_path / "turned")
    assert [pair[0] for pair in again.description["vocabulary"]["alphabets"]] == ["swh", "eng"]


def test_a_run_whose_corpora_now_mean_something_else_is_not_resumed(tone_table, tmp_path):
    """As many languages and letters, in another order or of another alphabet: no shape tells."""
    table = tone_table.with_name("other_letters.tsv")
    for text, data in ((tone_table.read_text(), "one"), (tone_table.read_text().replace("\teng\t", "\tyor\t"), "two")):
        table.write_text(text)
        prepare_folder("tones", table, tmp_path / data)
    config = tone_experiment(tmp_path / "one")
    config.adapters.width = 2
    config.total_steps = 1
    train(config, str(tmp_path / "run"))
    config.input.data_dir, config.total_steps = str(tmp_path / "two"), 1
    with pytest.raises(
        TrainingError, match=r"the vocabulary of the corpora is no longer that of the checkpoint \(tables: "
    ):
        train(config, str(tmp_path / "run"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alone": True}, "config.adapters.alone needs adapters"),
        ({"shared_head": True}, "config.adapters.shared_head needs adapters"),
        ({"width": 2, "alone": True, "shared_head": True}, "would change the shared head"),
        ({"width": 2, "alone": True}, "name it with config.init_from"),
    ],
)
def test_settings_that_cannot_be_are_refused(tone_config, tmp_path, changes, message):
    tone_config.adapters.update(changes)
    with pytest.raises(ConfigError, match=message):
        train(tone_config, str(tmp_path))
