"""Decoding: what the arrays hold, in threads and processes, and what happens to damaged records."""

import dataclasses
import logging
import shutil

import numpy as np
import pytest

from input_pipeline import decode
from input_pipeline.corpora.storage import open_corpus
from input_pipeline.dataset import DataNeeds, corpus_alphabets, evaluation_data, open_corpora, references, training_data
from input_pipeline.decode import Decoder
from input_pipeline.loader import load_batches
from mms_jax.audio.flac import decode_flac, encode_flac
from mms_jax.errors import CorpusError
from mms_jax.text.vocabulary import Vocabulary, spell


@pytest.fixture
def opened(tone_config):
    corpora = open_corpora(tone_config.input.corpora, tone_config.input.data_dir)
    vocabulary = Vocabulary.from_alphabets(corpus_alphabets(corpora))
    return corpora, vocabulary, *training_data(tone_config.input, corpora, needs(vocabulary), seed=0)


def needs(vocabulary=None):
    return DataNeeds(vocabulary, crop=vocabulary is None, waveform_epsilon=1e-5)


def test_arrays_hold_what_the_corpus_says(opened):
    corpora, vocabulary, plan, decoder = opened
    batch = decoder(plan.batch(0))
    assert batch["waveforms"].shape == (8, 24_000) and batch["waveforms"].dtype == np.float32
    for row, item in enumerate(batch["item"]):
        record = corpora[0].source[int(plan.table.look_up(item).record)]
        length = batch["lengths"][row]
        assert length == round(float(record["seconds"]) * 16_000)
        waveform = batch["waveforms"][row]
        assert abs(waveform[:length].mean()) < 1e-4 and waveform[:length].std() == pytest.approx(1, abs=1e-3)
        assert not waveform[length:].any()
        labels = batch["labels"][row, : batch["label_lengths"][row]]
        assert spell(labels.tolist(), vocabulary.tokens) == record["text"].decode()
        assert vocabulary.languages[batch["language"][row]] == record["language"].decode()


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_order_does_not_depend_on_workers_or_hosts(opened, workers):
    _, _, plan, decoder = opened
    expected = [decoder(plan.batch(step)) for step in range(3, 9)]
    loaded = list(load_batches(plan, decoder, start=3, stop=9, workers=workers))
    halves = [
        list(load_batches(plan, decoder, start=3, stop=9, workers=0, parts=[process], of=2)) for process in range(2)
    ]
    assert len(loaded) == 6
    for number, batch in enumerate(expected):
        for name, value in batch.items():
            np.testing.assert_array_equal(loaded[number][name], value)
            np.testing.assert_array_equal(np.concatenate([half[number][name] for half in halves]), value)


class Damaged:
    """A source whose record 3 is no audio and whose record 5 cannot be read at all."""

    def __init__(self, source):
        self._source = source

    def __getitem__(self, number):
        if number == 5:
            raise OSError("checksum mismatch")
        record = dict(self._source[number])
        return record | {"audio": b"no audio"} if number == 3 else record


def test_damaged_records_are_skipped_named_and_counted(opened, caplog):
    corpora, vocabulary, plan, _ = opened
    decoder = Decoder(plan.table, [Damaged(corpora[0].source)], vocabulary, transcripts=True, seed=0, epsilon=1e-5)
    with caplog.at_level(logging.WARNING):
        batches = [decoder(plan.batch(step)) for step in range(plan.batches)]
    records = plan.table.look_up(np.concatenate([batch["item"] for batch in batches])).record
    counted = np.concatenate([batch["counted"] for batch in batches])
    lengths = np.concatenate([batch["lengths"] for batch in batches])
    np.testing.assert_array_equal(counted, ~np.isin(records, (3, 5)))
    np.testing.assert_array_equal(lengths > 0, counted)
    assert "record 3" in caplog.text and "checksum mismatch" in caplog.text


def test_long_recordings_are_cropped_at_random_places(opened, tone_config):
    corpora, *_ = opened
    tone_config.input.bucket_seconds = (0.4,)
    plan, decoder = training_data(tone_config.input, corpora, needs(), seed=0)
    longest = len(plan.table) - 1  # of the last language
    crops = []
    for step in range(40):
        batch = plan.batch(step)
        for row in np.flatnonzero(batch.items == longest):
            crops.append(decoder(batch)["waveforms"][row])
    assert len(crops) > 1 and not np.array_equal(crops[0], crops[1])
    assert all(len(crop) == 6400 for crop in crops)


def test_noise_is_drawn_anew_for_each_step_and_never_in_evaluation(opened, tone_config):
    corpora, vocabulary, clean, decoder = opened
    tone_config.input.noise = (10.0, 10.0)
    plan, noisy = training_data(tone_config.input, corpora, needs(vocabulary), seed=0)
    batch, again = plan.batch(2), plan.batch(2 + plan.batches)
    first = noisy(batch)["waveforms"]
    np.testing.assert_array_equal(first, noisy(batch)["waveforms"])
    assert not np.allclose(first, decoder(clean.batch(2))["waveforms"], atol=0.05)
    heard = {int(item): row for item, row in zip(batch.items, first)}
    for item, row in zip(again.items, noisy(again)["waveforms"]):
        if item >= 0 and int(item) in heard:
            assert not np.allclose(row, heard[int(item)], atol=0.05)
    whole, quiet = evaluation_data(tone_config.input, corpora, needs(vocabulary))
    tone_config.input.noise = ()
    _, silent = evaluation_data(tone_config.input, corpora, needs(vocabulary))
    np.testing.assert_array_equal(quiet(whole.batch(0))["waveforms"], silent(whole.batch(0))["waveforms"])
    tone_config.input.noise = (40.0, 10.0)
    with pytest.raises(ValueError, match=r"config.input.noise=\(40.0, 10.0\) is not \(low, high\)"):
        training_data(tone_config.input, corpora, needs(vocabulary), seed=0)


def test_evaluation_grows_buckets_for_long_recordings(opened, tone_config):
    corpora, vocabulary, *_ = opened
    tone_config.input.bucket_seconds = (0.3,)
    plan, _ = evaluation_data(tone_config.input, corpora, needs(vocabulary))
    items = np.concatenate([plan.batch(step).items for step in range(plan.batches)])
    assert sorted(items[items >= 0]) == list(range(len(corpora[0].index)))
    texts, languages = references(plan, corpora, [0, 1])
    assert set("".join(texts)) <= set("abcd") and set(languages) <= {"eng", "swh"}


def test_corpora_that_are_not_there(tone_data, tmp_path):
    with pytest.raises(CorpusError, match=r"python -m input_pipeline\.prepare spoken_phrases"):
        open_corpus("spoken_phrases/verses", "train", tmp_path)
    with pytest.raises(CorpusError, match="it has test, train"):
        open_corpus("audio_folder/tones", "dev", tone_data)
    with pytest.raises(CorpusError, match="names no split"):
        open_corpora(("audio_folder/tones",), str(tone_data))


def test_a_stale_index_is_made_anew(tone_data, caplog):
    folder = open_corpus("audio_folder/tones", "train", tone_data).index.folder
    for column in folder.glob("*.npy"):
        np.save(column, np.load(column)[:3])
    with caplog.at_level(logging.WARNING):
        assert len(open_corpus("audio_folder/tones", "train", tone_data).index) == 48
    assert "does not match its corpus" in caplog.text


def test_an_index_that_cannot_be_stored_is_used_from_memory(tone_data, monkeypatch, caplog):
    def full(*_):
        raise OSError("No space left on device")

    shutil.rmtree(open_corpus("audio_folder/tones", "train", tone_data).index.folder)
    monkeypatch.setattr(np, "save", full)
    with caplog.at_level(logging.WARNING):
        index = open_corpus("audio_folder/tones", "train", tone_data).index
    assert len(index) == 48 and index.folder is None and "No space left" in caplog.text
    assert not list((tone_data / "audio_folder/tones").glob("*/.index_*"))


def test_an_utterance_that_fills_a_batch_is_cropped_anew_in_each_row(tone_config, opened):
    corpora, *_ = opened
    tone_config.input.bucket_seconds, tone_config.input.batch_seconds = (0.4,), 12.0
    plan, decoder = training_data(tone_config.input, corpora, needs(), seed=0)
    batch = plan.batch(0)
    longest = len(plan.table) - 1  # of the last language
    same = dataclasses.replace(batch, items=np.full(30, longest))
    rows = decoder(same)["waveforms"]
    assert len(np.unique(rows, axis=0)) == 30
    halves = [decoder(same, part)["waveforms"] for part in (range(15), range(15, 30))]
    np.testing.assert_array_equal(np.concatenate(halves), rows)  # whatever process decodes them


def test_of_a_chapter_only_the_crop_is_decoded():
    """Ten minutes, of which a batch takes twenty seconds; recordings of three crops are decoded whole, as before."""
    rate = 8_000
    waveform = np.random.default_rng(0).normal(0, 0.1, 600 * rate).astype(np.float32)
    whole, _ = decode_flac(encode_flac(waveform, rate), "chapter")
    starts = []
    for seed in range(40):
        crop, _ = decode._decode(encode_flac(waveform, rate), "chapter", 600.0, 20.0, np.random.default_rng(seed))
        start = round(np.random.default_rng(seed).uniform(0.0, 580.0) * rate)
        np.testing.assert_array_equal(crop, whole[start : start + 20 * rate])
        starts.append(start / rate)
    assert min(starts) < 60 and max(starts) > 520
    short = encode_flac(waveform[: 59 * rate], rate)
    assert len(decode._decode(short, "verse", 59.0, 20.0, np.random.default_rng(0))[0]) == 59 * rate


def test_speakers_are_numbered_as_the_voice_numbers_them(tone_data, tone_config):
    corpora = open_corpora(("audio_folder/tones:train",), str(tone_data))
    voice = dataclasses.replace(needs(), speakers=("other", "sine"))
    plan, decoder = training_data(tone_config.input, corpora, voice, seed=0)
    np.testing.assert_array_equal(decoder(plan.batch(0))["speaker"], 1)
    stranger = dataclasses.replace(needs(), speakers=("other",))
    _, decoder = training_data(tone_config.input, corpora, stranger, seed=0)
    assert not decoder(plan.batch(0))["counted"].any()
