"""The order of the data: deterministic, host-independent, and as the sampling promises."""

import concurrent.futures
import dataclasses
import pickle
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from input_pipeline.corpora.index import Index, find_index, open_index, save_index
from input_pipeline.plan import EvaluationPlan, TrainingPlan, sampling_weights
from input_pipeline.table import make_table
from mms_jax.errors import CorpusError


def make_index(counts, seed=0, shortest=1.0, longest=9.0):
    rng = np.random.default_rng(seed)
    language = np.repeat(np.arange(len(counts)), list(counts.values()))
    seconds = rng.uniform(shortest, longest, len(language)).astype(np.float32)
    return index_of(seconds, (list(counts), language), rng.integers(1, 60, len(language)))


def index_of(seconds, language, characters):
    return Index.from_records(seconds, language, characters, (["one"], np.zeros(len(seconds), int)), {})


def everything(table):
    return table.look_up(np.arange(len(table)))


def languages_of(table, items):
    return np.asarray(table.languages)[table.look_up(items).language]


def table_of(*indexes, **changes):
    settings_ = {"buckets": (3.0, 6.0, 10.0), "min_seconds": 0.5, "crop": False, "need_text": True} | changes
    return make_table(list(indexes), **settings_)


def natural_plan(table, **changes):
    weights = sampling_weights(table, beta_corpus=1.0, beta_language=1.0)
    return TrainingPlan(table, weights, **({"batch_seconds": 30.0, "rows_multiple": 1, "seed": 0} | changes))


def test_batch_is_a_function_of_seed_and_step():
    table = table_of(make_index({"eng": 100, "swh": 30}))
    one, other = natural_plan(table), pickle.loads(pickle.dumps(natural_plan(table)))
    jumbled = [7, 0, 3 * one.batches + 2, 1]
    for step in jumbled:
        np.testing.assert_array_equal(one.batch(step).items, other.batch(step).items)
    different = natural_plan(table, seed=1)
    assert any((one.batch(s).items.tolist() != different.batch(s).items.tolist()) for s in range(one.batches))
    assert one.batch(0).items.tolist() != one.batch(one.batches).items.tolist(), "epochs differ"


def test_rows_fit_their_bucket_and_batches_their_seconds():
    table = table_of(make_index({"eng": 200}))
    plan = natural_plan(table, rows_multiple=2)
    for step in range(plan.batches):
        batch = plan.batch(step)
        assert (table.look_up(batch.items).seconds * 16_000 <= batch.samples + 1).all()
        assert len(batch.items) % 2 == 0
        assert len(batch.items) * batch.samples <= 30 * 16_000
        assert batch.labels >= 8


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 300))
def test_an_epoch_draws_every_utterance_about_once(seed, count):
    table = table_of(make_index({"eng": count}, seed=seed))
    plan = natural_plan(table, seed=seed)
    drawn = np.bincount(np.concatenate([plan.batch(s).items for s in range(plan.batches)]), minlength=len(table))
    for bucket in range(3):
        members = drawn[table.members(bucket)]
        if len(members):
            # The batches of a bucket hold a few rows more or less than it has utterances. Weights differ by
            # nothing within a language, so counts differ by at most one.
            assert members.max() - members.min() <= 1


def heard_hours(table, plan, epochs=1):
    """Seconds of speech in the batches, without padding, by (corpus, language)."""
    heard = {}
    for step in range(epochs * plan.batches):
        batch = plan.batch(step)
        found = table.look_up(batch.items)
        for corpus, language, seconds in zip(found.corpus, found.language, found.seconds):
            group = (int(corpus), table.languages[language])
            heard[group] = heard.get(group, 0.0) + min(seconds, batch.samples / 16_000)
    return heard


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 1000),
    st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    st.integers(1, 3),
)
def test_hours_heard_follow_the_tempered_shares(seed, beta_corpus, beta_language, multiple):
    chapters = make_index({"swh": 40, "yor": 15}, seed=seed, shortest=30.0, longest=400.0)
    verses = make_index({"swh": 700, "eng": 300}, seed=seed + 1, shortest=1.0, longest=14.0)
    table = table_of(chapters, verses, crop=True, need_text=False, buckets=(4.0, 8.0, 20.0))
    weights = sampling_weights(table, beta_corpus=beta_corpus, beta_language=beta_language)
    plan = TrainingPlan(table, weights, batch_seconds=60.0, rows_multiple=multiple, seed=seed)
    heard = heard_hours(table, plan)
    hours = {(number, name): hours
             for number, index in enumerate((chapters, verses)) for name, hours in index.hours().items()}  # fmt: skip
    corpora = {number: sum(hours[group] for group in hours if group[0] == number) for number in (0, 1)}

    def tempered(values, beta):
        powers = {name: value**beta for name, value in values.items()}
        return {name: power / sum(powers.values()) for name, power in powers.items()}

    of_corpora = tempered(corpora, beta_corpus)
    for number in (0, 1):
        of_languages = tempered({group: hours[group] for group in hours if group[0] == number}, beta_language)
        for group, share in of_languages.items():
            assert heard[group] / sum(heard.values()) == pytest.approx(share * of_corpora[number], rel=0.02)


def test_one_long_clip_among_short_ones_fills_no_batch_alone():
    short = make_index({"eng": 3000}, longest=3.0)
    index = index_of(np.append(short.seconds, 18.0), (["eng"], np.zeros(3001, int)), np.append(short.characters, 100))
    table = table_of(index, buckets=(3.0, 6.0, 20.0))
    plan = natural_plan(table, batch_seconds=1200.0)
    long_batches = [b for b in map(plan.batch, range(plan.batches)) if b.samples == 20 * 16_000]
    for batch in long_batches:
        assert len(np.unique(batch.items)) == len(batch.items) == 60
        assert batch.labels >= table.labels.max()
    assert plan.repeats() == 0.0


def test_a_corpus_smaller_than_a_batch_repeats_and_says_so():
    table = table_of(make_index({"eng": 4}, longest=2.5))
    plan = natural_plan(table, batch_seconds=30.0)
    assert len(plan.batch(0).items) == 10
    assert plan.repeats() == pytest.approx(0.6)


def test_one_recording_and_extreme_imbalance():
    alone = table_of(make_index({"eng": 1}, longest=2.5))
    assert set(natural_plan(alone).batch(0).items) == {0}
    index = make_index({"eng": 1, "swh": 100_000}, shortest=2.0, longest=2.0001)
    table = table_of(index)
    weights = sampling_weights(table, beta_corpus=0.5, beta_language=0.5)
    plan = TrainingPlan(table, weights, batch_seconds=30.0, rows_multiple=1, seed=0)
    items = np.concatenate([plan.batch(step).items for step in range(plan.batches)])
    share = 1 / (1 + 100_000**0.5)
    assert np.mean(languages_of(table, items) == "eng") == pytest.approx(share, rel=0.02)
    rows = plan.rows_by_language(1000)
    assert rows["eng"] == pytest.approx(share * len(items) / plan.batches * 1000, rel=0.02)
    assert sum(rows.values()) == pytest.approx(len(items) / plan.batches * 1000)


def test_temperature_raises_rare_languages_and_small_corpora():
    big, small = make_index({"eng": 900, "swh": 100}), make_index({"yor": 100}, seed=1)
    table = table_of(big, small)

    def shares(**betas):
        weights = sampling_weights(table, **betas) * table.group_seconds / table.crops
        weights /= weights.sum()
        return dict(zip(table.languages, np.bincount(table.language, weights)))

    natural = shares(beta_corpus=1.0, beta_language=1.0)
    assert natural["eng"] == pytest.approx(table.group_seconds[table.language == 0].sum() / table.group_seconds.sum())
    flat = shares(beta_corpus=0.0, beta_language=0.0)
    assert flat == pytest.approx({"eng": 0.25, "swh": 0.25, "yor": 0.5})
    half = shares(beta_corpus=0.5, beta_language=0.5)
    for name in ("swh", "yor"):
        assert natural[name] < half[name] < flat[name]


def test_sampled_shares_are_the_wanted_ones():
    table = table_of(make_index({"eng": 900, "swh": 100}))
    weights = sampling_weights(table, beta_corpus=0.5, beta_language=0.5)
    plan = TrainingPlan(table, weights, batch_seconds=30.0, rows_multiple=1, seed=0)
    items = np.concatenate([plan.batch(step).items for step in range(3 * plan.batches)])
    expected = weights[table.language == 1].sum()
    assert np.mean(languages_of(table, items) == "swh") == pytest.approx(expected, abs=0.02)


def test_unusable_utterances_are_dropped_or_cropped():
    index = make_index({"eng": 50}, longest=20.0)
    index.characters[:10] = 0
    strict, cropping = table_of(index), table_of(index, crop=True, need_text=False)
    assert everything(strict).seconds.max() <= 10.0 and len(strict) + sum(strict.left_out.values()) == 50
    assert len(cropping) == 50 and cropping.bucket.max() == 2
    with pytest.raises(CorpusError, match="none of 50 utterances"):
        table_of(index, min_seconds=30.0)
    with pytest.raises(CorpusError, match="ascending"):
        table_of(index, buckets=(3.0, 2.0))


def test_an_index_is_sorted_stored_and_mapped(tmp_path):
    rng = np.random.default_rng(0)
    seconds, language, voice = rng.uniform(1, 9, 500), rng.integers(0, 3, 500), rng.integers(0, 2, 500)
    names, speakers = ["swh", "eng", "yor"], ["one", "other"]
    index = Index.from_records(seconds, (names, language), np.arange(500), (speakers, voice), {"eng": "ab"})
    save_index(index, tmp_path / "index_train")
    save_index(index, tmp_path / "index_train")  # by another process
    for found in (index, open_index(tmp_path / "index_train")):
        assert found.languages == ("eng", "swh", "yor") and found.alphabets == {"eng": "ab"}
        np.testing.assert_array_equal(found.seconds, seconds[found.record].astype(np.float32))
        np.testing.assert_array_equal(found.characters, found.record)
        assert [found.speakers[number] for number in found.speaker] == [
            speakers[number] for number in voice[found.record]
        ]
        for name in found.languages:
            own = found.positions(name)
            assert {names[number] for number in language[found.record[own]]} == {name}
            assert (np.diff(found.seconds[own]) >= 0).all()
    assert sorted(index.record) == list(range(500))
    assert index.hours()["yor"] == pytest.approx(seconds[language == 2].sum() / 3600)
    assert [path.name for path in tmp_path.iterdir()] == ["index_train"]


def test_a_plan_that_is_sent_to_a_worker_is_small(tmp_path):
    """The worker maps the index itself."""
    save_index(make_index({"eng": 50_000, "swh": 20_000}, longest=30.0), tmp_path / "index_train")
    table = table_of(open_index(tmp_path / "index_train"), crop=True, need_text=False)
    plan = natural_plan(table)
    last = plan.batch(10**9)
    sent = pickle.dumps(plan)
    assert len(sent) < 20_000
    np.testing.assert_array_equal(pickle.loads(sent).batch(10**9).items, last.items)


@pytest.mark.parametrize("damage", ["stale", "no facts", "no column", "cut off"])
def test_an_index_that_does_not_fit_is_replaced(tmp_path, damage):
    folder = tmp_path / "index_train"
    save_index(make_index({"eng": 20 if damage != "stale" else 19}), folder)
    if damage == "no facts":
        (folder / "index.json").unlink()
    elif damage == "no column":
        (folder / "speaker.npy").unlink()
    elif damage == "cut off":
        (folder / "seconds.npy").write_bytes((folder / "seconds.npy").read_bytes()[:-8])
    assert find_index(folder, 20) is None
    save_index(make_index({"eng": 20}), folder)
    assert len(find_index(folder, 20)) == 20
    assert [path.name for path in tmp_path.iterdir()] == ["index_train"]


def test_many_processes_replace_a_stale_index_at_once(tmp_path):
    index = make_index({"eng": 20})
    for _ in range(5):
        shutil.rmtree(tmp_path / "index_train", ignore_errors=True)
        save_index(make_index({"eng": 19}), tmp_path / "index_train")
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: save_index(index, tmp_path / "index_train"), range(16)))
        assert len(find_index(tmp_path / "index_train", 20)) == 20
        assert [path.name for path in tmp_path.iterdir()] == ["index_train"]


def test_utterances_of_no_known_length_are_left_out():
    index = make_index({"eng": 20})
    seconds = index.seconds.copy()
    seconds[0], seconds[-2:] = 0.0, (np.inf, np.nan)
    table = table_of(dataclasses.replace(index, seconds=seconds), min_seconds=0.0, crop=True, need_text=False)
    assert len(table) == 17 and table.left_out == {"shorter than 0 s": 1, "of unknown length": 2}
    assert np.isfinite(sampling_weights(table, beta_corpus=0.5, beta_language=0.5)).all()
    with pytest.raises(CorpusError, match="hold no utterance"):
        table_of(index.only(np.zeros(20, bool)))


def test_the_last_batch_is_not_filled_with_one_utterance():
    """Of a language with one short utterance no more is heard than its share."""
    rng = np.random.default_rng(0)
    seconds = np.append(rng.uniform(5.0, 20.0, 20_000), 2.0)
    table = table_of(
        index_of(seconds, (["a", "b"], np.append(np.zeros(20_000, int), 1)), np.ones(20_001)), buckets=(3.0, 10.0, 20.0)
    )
    weights = sampling_weights(table, beta_corpus=1.0, beta_language=0.5)
    plan = TrainingPlan(table, weights, batch_seconds=2000.0, rows_multiple=1, seed=0)
    heard = heard_hours(table, plan)
    hours = table.group_seconds[table.language == 1].sum() / table.group_seconds.sum()
    share = hours**0.5 / (hours**0.5 + (1 - hours) ** 0.5)
    assert heard[0, "b"] / sum(heard.values()) == pytest.approx(share, rel=0.02)


def test_copies_of_rare_languages_fall_into_different_batches():
    table = table_of(make_index({"rare": 30, "eng": 20_000}), buckets=(10.0,))
    weights = sampling_weights(table, beta_corpus=1.0, beta_language=0.5)
    plan = TrainingPlan(table, weights, batch_seconds=640.0, rows_multiple=1, seed=0)
    assert plan.rows_by_language(plan.batches)["rare"] > 20 * 30
    assert plan.repeats(10**6) < 0.001


def test_epochs_draw_what_the_ones_before_left_out():
    """A language of a tenth of its natural share is heard as a whole after little more than ten epochs."""
    index = make_index({"big": 20_000, "small": 150})
    table = table_of(index, buckets=(10.0,))
    weights = sampling_weights(table, beta_corpus=1.0, beta_language=0.0)
    plan = TrainingPlan(table, weights, batch_seconds=640.0, rows_multiple=1, seed=3)
    drawn = np.zeros(len(table), int)
    expected = plan.batches * 64 / 2 / 20_000
    epochs = round(1.6 / expected)
    for step in range(epochs * plan.batches):
        np.add.at(drawn, plan.batch(step).items, 1)
    big = drawn[table.look_up(np.arange(len(table))).language == 0]
    assert (big > 0).mean() > 0.97


def test_cropped_utterances_are_drawn_in_proportion_to_their_length():
    rng = np.random.default_rng(1)
    seconds = np.concatenate([rng.uniform(12.0, 15.0, 3000), rng.uniform(100.0, 200.0, 400), [4000.0]])
    index = index_of(seconds, (["eng"], np.zeros(len(seconds), int)), np.ones(len(seconds)))
    table = table_of(index, crop=True, need_text=False)
    plan = natural_plan(table, batch_seconds=100.0)
    drawn = np.bincount(np.concatenate([plan.batch(step).items for step in range(plan.batches)]), minlength=len(table))
    expected = everything(table).seconds / table.group_seconds.sum() * drawn.sum()
    assert np.abs(drawn - expected).max() <= 1.0 + 1e-6


def test_evaluation_takes_every_utterance_once():
    table = table_of(make_index({"eng": 37, "swh": 21}))
    plan = EvaluationPlan(table, batch_seconds=30.0, rows_multiple=4)
    batches = [plan.batch(step) for step in range(plan.batches)]
    items = np.concatenate([batch.items for batch in batches])
    assert sorted(items[items >= 0]) == list(range(58))
    assert all(len(batch.items) % 4 == 0 for batch in batches)
