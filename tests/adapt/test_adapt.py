"""`mms-jax adapt`: one command from recordings to a language more, which leaves all other languages as they were."""

import collections
import dataclasses
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile
from flax import nnx

import mms_jax
from input_pipeline.corpora.audio_folder import Row
from mms_jax.adapt import banks, data
from mms_jax.adapt import run as running
from mms_jax.adapt.run import Settings, adapt
from mms_jax.checkpoint import load_model
from mms_jax.cli import main
from mms_jax.errors import CheckpointError, CorpusError, InputError, LanguageError
from mms_jax.inference.find import find_model
from mms_jax.interop import huggingface, huggingface_export
from mms_jax.models.functional import FunctionalModel
from mms_jax.models.wav2vec2.banks import adapters_of
from mms_jax.models.wav2vec2.config import Wav2Vec2Config
from mms_jax.models.wav2vec2.heads import Wav2Vec2ForCTC
from mms_jax.text.vocabulary import vocabulary_from_json
from mms_jax.train import train
from tests.conftest import tone_experiment


@pytest.fixture(scope="module")
def dense(tone_data, tmp_path_factory):
    """A run with one head for eng and swh."""
    folder = tmp_path_factory.mktemp("dense")
    config = tone_experiment(tone_data)
    config.total_steps = 4
    train(config, str(folder))
    return folder


@pytest.fixture(scope="module")
def encoder(tone_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder")
    config = tone_experiment(tone_data, "pretrain")
    config.total_steps = 1
    train(config, str(folder))
    return folder


@pytest.fixture(scope="module")
def dutch(tone_table, tmp_path_factory):
    """Forty recordings with texts, and neither language nor split."""
    folder = tmp_path_factory.mktemp("dutch")
    lines = ["path\ttext"]
    for line in tone_table.read_text().splitlines()[1:41]:
        path, text, *_ = line.split("\t")
        lines.append(f"{tone_table.parent / path}\t{text.replace('a', 'é')}")
    (folder / "table.tsv").write_text("\n".join(lines) + "\n")
    return folder / "table.tsv"


def settings(model, table, **changes):
    plain = {"language": "nld", "updates": 4, "batch_seconds": 8.0, "width": 3}
    return Settings(**{"model": str(model), "data": str(table), **plain, **changes})


@pytest.fixture(scope="module")
def adapted(dense, dutch, tmp_path_factory):
    """The folder of an adaptation of the dense run, and what it printed."""
    folder, printed = tmp_path_factory.mktemp("adapted") / "out", []
    adapt(settings(dense, dutch), folder, printed.append)
    return folder, printed


def noise(seconds=1.0):
    return np.random.default_rng(0).normal(0, 0.1, int(16_000 * seconds)).astype(np.float32)


def test_a_language_is_added_and_the_others_answer_as_before(dense, adapted):
    folder, printed = adapted
    before, after = mms_jax.load(dense), mms_jax.load(folder)
    assert after.languages == ("eng", "swh", "nld")
    assert "é" in after.vocabulary.tokens_of("nld") and "a" not in after.vocabulary.tokens_of("nld")
    for language in before.languages:
        allowed = before.vocabulary.allowed[before.vocabulary.language_index(language)]
        ours = before.logits([noise()], language=language)[0][:, allowed]
        np.testing.assert_allclose(after.logits([noise()], language=language)[0][:, : ours.shape[1]], ours, atol=1e-5)
    report = json.loads((folder / "report.json").read_text())
    assert report["start"] in ("eng", "swh", "fresh") and report["before"]["read_as"] in ("eng", "swh")
    assert {"cer", "wer", "utterances"} == set(report["after"])
    said = "\n".join(printed)
    assert "symbols: " in said and "memory: " in said and "before, read as" in said
    assert not (folder / "start").exists() and not list((folder / "run").rglob("checkpoints")), "one model is kept"
    assert (folder / "run" / "metrics.jsonl").exists()


def test_weights_of_others_do_not_move_by_one_bit(dense, adapted):
    start, after = banks.as_bank(find_model(dense), 3), load_model(adapted[0])
    assert same_bits(start.params["backbone"]["extractor"], after.params["backbone"]["extractor"])
    for name, bank in adapters_of(start.params).items():
        assert same_bits(bank, np.asarray(adapters_of(after.params)[name])[:, :2]), name
    size = np.asarray(start.params["heads"]["kernel"]).shape[-1]
    assert same_bits(start.params["heads"]["kernel"], np.asarray(after.params["heads"]["kernel"])[:2, :, :size])
    layers = lambda params: {k: v for k, v in params["backbone"]["encoder"]["layers"].items() if k != "adapters"}  # noqa: E731
    assert same_bits(layers(start.params), layers(after.params))
    trained = np.asarray(adapters_of(after.params)["up"])[:, 2]
    assert np.abs(trained).max() > 0


def same_bits(one, other):
    leaves = [(np.asarray(a).view(np.uint32), np.asarray(b).view(np.uint32))
              for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)]  # fmt: skip
    return all(np.array_equal(a, b) for a, b in leaves)


def test_the_same_command_prints_the_report_and_another_is_refused(dense, dutch, adapted):
    printed = []
    adapt(settings(dense, dutch), adapted[0], printed.append)
    assert len(printed) == 1 and "after" in printed[0]
    with pytest.raises(InputError, match=r"holds another adaptation \(updates 4 there, 5 now\)"):
        adapt(settings(dense, dutch, updates=5), adapted[0])


@pytest.mark.slow
def test_an_interrupted_adaptation_continues(dense, dutch, adapted, tmp_path, monkeypatch):
    def interrupted(config, workdir):
        half = config.copy_and_resolve_references()
        half.total_steps = 2
        train(half, workdir)
        stored = pathlib.Path(workdir) / "config.json"
        stored.write_text(stored.read_text().replace('"total_steps": 2', '"total_steps": 4'))
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        adapt(settings(dense, dutch), tmp_path / "out", lambda line: None)
    steps = []
    monkeypatch.setattr(running, "train", lambda *given: steps.append(int(train(*given).step)))
    report = adapt(settings(dense, dutch), tmp_path / "out", lambda line: None)
    assert steps == [4] and report["after"]["utterances"] == 4
    assert mms_jax.load(tmp_path / "out").languages == ("eng", "swh", "nld")


@pytest.mark.slow
def test_from_a_hugging_face_model_with_adapters(fixture_file, dutch, tmp_path):
    model = fixture_file("huggingface") / "ctc"
    adapt(settings(model, dutch, keep=("swh", "hin"), start="swh"), tmp_path / "out", lambda line: None)
    after = mms_jax.load(tmp_path / "out")
    assert after.languages == ("swh", "hin", "nld")
    before = mms_jax.load(model, languages=["swh", "hin"])
    for language in ("swh", "hin"):
        ours = before.logits([noise()], language=language)[0]
        theirs = after.logits([noise()], language=language)[0][:, : ours.shape[1]]
        np.testing.assert_allclose(theirs, ours, atol=1e-5)
    files = sorted(path.name for path in (tmp_path / "out" / "huggingface").iterdir())
    assert files == ["adapter.nld.safetensors", "vocab.json"]
    tables = json.loads((tmp_path / "out" / "huggingface" / "vocab.json").read_text())
    assert sorted(tables) == ["eng", "hin", "nld", "swh"], "copied beside the model, no language is lost"
    with pytest.raises(LanguageError, match="reads swh already"):
        adapt(settings(model, dutch, keep=("hin",), language="swh"), tmp_path / "other")


@pytest.mark.slow
def test_where_all_weights_learn_the_other_languages_are_left_out_and_this_is_said(dense, dutch, tmp_path):
    printed = []
    adapt(settings(dense, dutch, train="all", updates=2), tmp_path / "out", printed.append)
    assert mms_jax.load(tmp_path / "out").languages == ("nld",)
    assert "the result reads nld alone" in "\n".join(printed)
    assert mms_jax.load(tmp_path / "out" / "huggingface").languages == ("nld",), "a whole model"


@pytest.mark.slow
def test_mistakes_are_mended_in_the_same_folder(dense, dutch, tmp_path):
    """What was wrong is not remembered: a start, digits in the table, an interrupted preparation."""
    out, table = tmp_path / "out", tmp_path / "table.tsv"
    with pytest.raises(LanguageError, match="no language 'fra'"):
        adapt(settings(dense, dutch, start="fra"), out)
    good = dutch.read_text()
    table.write_text("\n".join(f"{line} 7" if line.endswith("b") else line for line in good.splitlines()) + "\n")
    with pytest.raises(CorpusError, match="texts have digits, as"):
        adapt(settings(dense, table), out)
    table.write_text(good)
    (out / "data" / "audio_folder" / "mine" / "1.0.0").mkdir(parents=True)
    report = adapt(settings(dense, table, updates=1), out, lambda line: None)
    assert report["after"]["utterances"] == 4


@pytest.mark.slow
def test_an_interrupted_save_is_repeated(dense, dutch, tmp_path, monkeypatch):
    out, saved = tmp_path / "out", []

    def interrupted(folder, stored):
        saved.append(folder)
        (folder / "checkpoints").mkdir(parents=True)
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "save_model", interrupted)
    with pytest.raises(KeyboardInterrupt):
        adapt(settings(dense, dutch, updates=1), out, lambda line: None)
    monkeypatch.undo()
    adapt(settings(dense, dutch, updates=1), out, lambda line: None)
    assert mms_jax.load(out).languages == ("eng", "swh", "nld") and len(saved) == 1


def test_a_fresh_start_takes_nothing_of_the_language_that_is_replaced(fixture_file):
    stored = find_model(fixture_file("huggingface") / "ctc", ["swh", "hin"])
    start = banks.starting_model(stored, "swh", None)
    assert banks.languages_of(start) == ("hin",)
    alone = banks.starting_model(find_model(fixture_file("huggingface") / "ctc", ["swh"]), "swh", None)
    assert alone.description["kind"] == "encoder" and "adapters" not in alone.params["backbone"]["encoder"]["layers"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": -1}, "--width -1: give a number above 0"),
        ({"updates": 0}, "--updates 0: give"),
        ({"learning_rate": float("nan")}, "--learning-rate nan: give"),
        ({"train": "all", "keep": ("eng",)}, "--keep: with --train all"),
    ],
)
def test_impossible_settings_are_refused(dense, dutch, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        adapt(settings(dense, dutch, **changes), tmp_path / "out")


@pytest.mark.slow
def test_an_encoder_learns_as_a_whole(encoder, dutch, tmp_path):
    report = adapt(settings(encoder, dutch), tmp_path / "out", lambda line: None)
    assert report["trained"] == "all" and report["before"] is None and report["start"] == "fresh"
    assert mms_jax.load(tmp_path / "out").languages == ("nld",)


@pytest.mark.slow
def test_a_language_that_exists_is_replaced_only_when_asked(dense, tone_table, tmp_path):
    table = tmp_path / "swh.tsv"
    rows = [line.split("\t") for line in tone_table.read_text().splitlines()[1:31]]
    table.write_text("path\ttext\n" + "".join(f"{tone_table.parent / row[0]}\t{row[1]}\n" for row in rows))
    with pytest.raises(LanguageError, match="reads swh already; give --replace"):
        adapt(settings(dense, table, language="swh"), tmp_path / "out")
    adapt(settings(dense, table, language="swh", replace=True), tmp_path / "new", lambda line: None)
    assert mms_jax.load(tmp_path / "new").languages == ("eng", "swh")
    with pytest.raises(LanguageError, match="--replace: the model does not read nld"):
        adapt(settings(dense, table, replace=True), tmp_path / "other")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"language": "dutch"}, LanguageError, "'dutch' is no language code"),
        ({"start": "fra"}, LanguageError, "no language 'fra' in this model"),
        ({"data": "nowhere.tsv"}, CorpusError, "no such table or folder"),
        ({"model": "lid"}, CheckpointError, "is a model of kind 'identifier'; adapt a recognizer"),
        ({"language": "deu-x", "data": "foreign"}, LanguageError, "is in nld, and --lang is deu-x"),
        ({"data": "few"}, CorpusError, "3 recordings; adapting needs 10 or more"),
    ],
)
def test_bad_input_is_named(dense, dutch, fixture_file, tmp_path, changes, error, message):
    given = dict(changes)
    if given.get("model"):
        given["model"] = str(fixture_file("huggingface") / given["model"])
    lines = dutch.read_text().splitlines()
    if given.get("data") == "foreign":
        given["data"] = str(tmp_path / "foreign.tsv")
        rows = [f"{line}\tnld" for line in lines[1:]]
        pathlib.Path(given["data"]).write_text("\n".join(["path\ttext\tlanguage", *rows]) + "\n")
    if given.get("data") == "few":
        given["data"] = str(tmp_path / "few.tsv")
        pathlib.Path(given["data"]).write_text("\n".join(lines[:4]) + "\n")
    with pytest.raises(error, match=message):
        adapt(dataclasses.replace(settings(dense, dutch), **given), tmp_path / "out", lambda line: None)


def test_a_folder_that_holds_something_is_left_alone(dense, dutch, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds something already"):
        adapt(settings(dense, dutch), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_texts_beside_recordings_are_a_corpus(tmp_path):
    for number in range(12):
        soundfile.write(tmp_path / f"{number}.wav", noise(), 16_000)
        (tmp_path / f"{number}.txt").write_text(f"tekst {'abcdefghijkl'[number]}\n")
    speech = data.open_speech(str(tmp_path), "nld", tmp_path / "out", "data")
    assert sum(len(corpus.index) for corpus in speech.splits.values()) == 12
    assert speech.name == "audio_folder/mine"


def rows(count, speakers):
    return [
        Row(f"{number}.wav", pathlib.Path(f"{number}.wav"), "a", "nld", f"s{number % speakers}", "train")
        for number in range(count)
    ]


@pytest.mark.parametrize(("count", "speakers"), [(100, 1), (100, 4), (200, 20), (1000, 30), (60, 6)])
def test_splits_share_no_speaker_and_hold_a_tenth(count, speakers):
    split = data.with_splits(rows(count, speakers))
    shares = collections.Counter(row.split for row in split)
    assert all(0.05 <= shares[name] / count <= 0.21 for name in ("validation", "test")), shares
    if speakers >= data.LEAST_SPEAKERS:
        by_speaker = {row.speaker: {other.split for other in split if other.speaker == row.speaker} for row in split}
        assert all(len(splits) == 1 for splits in by_speaker.values())
    turned = data.with_splits(rows(count, speakers)[::-1])[::-1]
    assert [row.split for row in turned] == [row.split for row in split]
    assert [row.speaker for row in split] == [row.speaker for row in rows(count, speakers)]


def test_rare_symbols_and_digits_are_named():
    lines = data.describe_symbols(collections.Counter({"a": 90, "b": 30, "q": 1, "7": 12}))
    assert lines[0] == "4 symbols: a b 7 q"
    assert "rare, and hardly learned: q (1)" in lines[1] and "digits 7: spell numbers" in lines[2]


@pytest.mark.parametrize("name", ["ctc", "ctc_plain"])
def test_a_recognizer_with_banks_answers_as_before(fixture_file, name):
    stored = find_model(fixture_file("huggingface") / name)
    bank = banks.as_bank(stored, 40)
    assert adapters_of(bank.params)["down"].shape[-1] == (40 if name == "ctc_plain" else 6)
    for language in vocabulary_from_json(stored.description["vocabulary"]).languages:
        one, other = (mms_jax.load(model).logits([noise()], language=language)[0] for model in (stored, bank))
        np.testing.assert_allclose(one, other, atol=1e-5)


def export(stored, folder):
    huggingface_export.save_folder(stored, folder)
    return huggingface.load_folder(folder)


def dead(stored, _):
    """As version 0.1 exported it: scale, down and up are all zero, and have no gradient."""
    bank = banks.as_bank(stored, 3)
    layers = bank.params["backbone"]["encoder"]["layers"]
    layers["adapters"] = {name: np.zeros_like(value) for name, value in layers["adapters"].items()}
    return banks.as_bank(bank, 3)


@pytest.mark.parametrize(
    "make", [lambda stored, _: banks.as_bank(stored, 3), export, dead], ids=["adapt", "export", "dead"]
)
def test_adapters_given_to_a_recognizer_without_them_can_learn(dense, tmp_path, make):
    """Adapters that change nothing have a gradient, and after the first update in every array."""
    bank = make(find_model(dense), tmp_path / "model")
    config = Wav2Vec2Config.from_json(bank.description["model"])
    symbols = len(vocabulary_from_json(bank.description["vocabulary"]))
    model = FunctionalModel.abstract(lambda key: Wav2Vec2ForCTC(config, symbols, rngs=nnx.Rngs(params=key)))
    waveforms, lengths = jnp.asarray([noise()]), jnp.asarray([16_000])

    @jax.jit
    def slope(params):
        logits, _ = model.bind(params)(waveforms, lengths, language=jnp.asarray([0]))
        return jnp.sum(jax.nn.log_softmax(logits)[..., 0])

    first = jax.grad(slope)(bank.params)
    second = jax.grad(slope)(jax.tree.map(lambda value, step: value + 1e-3 * step, bank.params, first))
    learning = {name: float(jnp.abs(value[:, 0]).max()) for name, value in adapters_of(first).items()}
    assert {name for name, size in learning.items() if size} == {"up", "up_bias"}
    assert all(bool(jnp.abs(value[:, 0]).max() > 0) for value in adapters_of(second).values())


@pytest.mark.slow
def test_the_command_line_takes_the_same_settings(dense, dutch, tmp_path, capsys):
    command = ["adapt", "--model", str(dense), "--lang", "nld", "--data", str(dutch), "--out", str(tmp_path / "out")]
    assert main([*command, "--updates", "2", "--batch-seconds", "8", "--width", "2", "--start", "fresh"]) == 0
    assert "best step" in capsys.readouterr().out
    assert main([*command, "--updates", "3"]) == 1
    assert "holds another adaptation" in capsys.readouterr().err
