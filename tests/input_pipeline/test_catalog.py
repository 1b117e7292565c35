"""Published corpora: Parquet files in a folder; datasets of TFDS, where TensorFlow is installed."""

import io
import re

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import soundfile

from input_pipeline import prepare
from input_pipeline.corpora import catalog
from input_pipeline.corpora.catalog import SETS, configs_of
from input_pipeline.corpora.catalog_sources import RecordFields, TfdsSource, to_waveform
from input_pipeline.corpora.storage import open_corpus
from input_pipeline.dataset import open_corpora
from mms_jax.audio.flac import decode_flac
from mms_jax.errors import CorpusError


def tone(rate, seconds=0.5):
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


def audio_file(rate=16_000):
    stream = io.BytesIO()
    soundfile.write(stream, tone(rate), rate, format="FLAC")
    return stream.getvalue()


def write_parquet(path, texts, *, text="normalized_text", files=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    files = [audio_file()] * len(texts) if files is None else files
    columns = {
        "audio": [{"bytes": file, "path": "x.flac"} for file in files],
        text: texts,
        "speaker_id": [7] * len(texts),
        "unused": [0] * len(texts),
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), path)


@pytest.fixture
def voxpopuli(tmp_path):
    """A folder with the German files, as the repository names them."""
    folder = tmp_path / "files"
    for split, texts in {
        "train": ["eins", "zwei"],
        "validation": ["drei"],
        "test": ["Vier, fünf!", "im Jahr 1999"],
    }.items():
        write_parquet(folder / "de" / split / "0000.parquet", texts)
    return folder


def prepared(tmp_path, *arguments):
    return prepare.main(["catalog", f"--data_dir={tmp_path / 'data'}", *arguments])


def test_parquet_files_become_a_corpus(tmp_path, voxpopuli, caplog):
    assert prepared(tmp_path, "--set=voxpopuli", "--language=deu", f"--source_dir={voxpopuli}") == 0
    test = open_corpus("catalog/voxpopuli_deu", "test", tmp_path / "data")
    records = {record["id"].decode(): record for record in test.source}
    assert sorted(records) == ["test/0", "test/1"]
    assert records["test/0"]["text"].decode() == "vier fünf" and records["test/0"]["speaker"].decode() == "7"
    np.testing.assert_allclose(decode_flac(records["test/0"]["audio"], "x")[0], tone(16_000), atol=1e-3)
    assert set(test.index.languages) == {"deu"}
    assert len(open_corpus("catalog/voxpopuli_deu", "train", tmp_path / "data").index) == 2


def test_one_split_alone_and_several_shards(tmp_path):
    folder = tmp_path / "files"
    for shard in range(2):
        write_parquet(folder / f"polish/test-0000{shard}-of-00002.parquet", [f"jeden {'ab'[shard]}"], text="transcript")
    chosen = ("--set=mls", "--language=pol", f"--source_dir={folder}")
    assert prepared(tmp_path, *chosen, "--splits", "test") == 0
    texts = [record["text"].decode() for record in open_corpus("catalog/mls_pol", "test", tmp_path / "data").source]
    assert sorted(texts) == ["jeden a", "jeden b"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--language=xxx",), "no language 'xxx'; it has ces, deu"),
        (("--language=fra",), r"has no fr/SPLIT-\*.parquet"),
        (("--language=deu", "--splits", "dev"), "has no split dev; choose train, validation, test"),
    ],
)
def test_what_is_not_there_is_named(tmp_path, voxpopuli, capsys, arguments, message):
    assert prepared(tmp_path, "--set=voxpopuli", f"--source_dir={voxpopuli}", *arguments) != 0
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize("damage", ["not parquet", "no audio", "no field"])
def test_damaged_files_are_named(tmp_path, voxpopuli, capsys, damage):
    path = voxpopuli / "de" / "test" / "0000.parquet"
    if damage == "not parquet":
        path.write_bytes(b"PAR1 is not enough")
    elif damage == "no audio":
        write_parquet(path, ["eins"], files=[b"noise"])
    else:
        write_parquet(path, ["eins"], text="text")
    assert prepared(tmp_path, "--set=voxpopuli", "--language=deu", f"--source_dir={voxpopuli}") != 0
    assert f"{path}: " in capsys.readouterr().err
    assert not list((tmp_path / "data").glob("catalog/*/*/dataset_info.json"))


def test_tensorflow_is_named_where_it_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(catalog.importlib.util, "find_spec", lambda name: None)
    assert prepared(tmp_path, "--set=fleurs", "--language=swh") != 0
    assert "pip install 'mms-jax[tfds]'" in capsys.readouterr().err


def test_languages_have_the_codes_of_mms():
    names = [
        "fleurs.af_za",
        "fleurs.sw_ke",
        "fleurs.az_az",
        "fleurs.ceb_ph",
        "fleurs.cmn_hans_cn",
        "fleurs.all",
        "sv-SE",
    ]
    assert configs_of(names) == {
        "afr": "fleurs.af_za",
        "swh": "fleurs.sw_ke",
        "azj-script_latin": "fleurs.az_az",
        "ceb": "fleurs.ceb_ph",
        "cmn-script_simplified": "fleurs.cmn_hans_cn",
        "swe": "sv-SE",
    }


@pytest.mark.parametrize(("dtype", "bits"), [(np.int16, 16), (np.int32, 32), (np.int64, 16), (np.int64, 32)])
def test_samples_of_every_width_have_their_loudness(dtype, bits):
    loud = tone(16_000)
    samples = (loud * (2 ** (bits - 1) - 1)).astype(dtype)
    np.testing.assert_allclose(to_waveform(samples), loud, atol=1e-4)
    np.testing.assert_allclose(to_waveform(np.stack([samples, samples], axis=1)), loud, atol=1e-4)
    assert to_waveform(samples[:0]).shape == (0,)


def test_a_pattern_stands_for_all_that_are_prepared(tmp_path, voxpopuli):
    write_parquet(voxpopuli / "fr" / "test" / "0000.parquet", ["un"])
    for language in ("deu", "fra"):
        chosen = ("--set=voxpopuli", f"--language={language}", f"--source_dir={voxpopuli}")
        assert prepared(tmp_path, *chosen, "--splits", "test") == 0
    found = open_corpora(["catalog/voxpopuli_*:test"], str(tmp_path / "data"))
    assert [corpus.name for corpus in found] == ["catalog/voxpopuli_deu:test", "catalog/voxpopuli_fra:test"]
    with pytest.raises(CorpusError, match=r"no prepared corpus matches 'catalog/fleurs_\*'"):
        open_corpora(["catalog/fleurs_*:test"], str(tmp_path / "data"))


def test_a_dataset_of_tfds(tmp_path):
    """As TFDS stores Common Voice: MP3 decoded to integers of 64 bits, whose rate is not stated, in splits that overlap."""
    pytest.importorskip("tensorflow")
    import tensorflow_datasets as tfds

    rate, features = 48_000, tfds.features
    loud = (tone(rate) * (2**15 - 1)).astype(np.int64)

    def records(text):
        yield 0, {"voice": loud, "sentence": text, "client_id": "one", "gender": 0}

    tfds.dataset_builders.store_as_tfds_dataset(
        name="common_voice", config="lg", version="2.0.0", data_dir=tmp_path / "tfds",
        features=features.FeaturesDict(
            {"voice": features.Audio(), "sentence": features.Text(), "client_id": features.Text(), "gender": np.int64}
        ),
        split_datasets={name: records(name) for name in ("train", "dev", "test", "validation")},
    )  # fmt: skip
    chosen = ("--set=common_voice", "--language=lug", f"--source_dir={tmp_path / 'tfds'}")
    assert prepared(tmp_path, *chosen) == 0
    corpus = open_corpus("catalog/common_voice_lug", "validation", tmp_path / "data")
    record = corpus.source[0]
    assert record["text"].decode() == "dev" and record["speaker"].decode() == "one"
    np.testing.assert_allclose(decode_flac(record["audio"], "x")[0][200:-200], tone(16_000)[200:-200], atol=2e-3)
    with pytest.raises(CorpusError, match="does not state the sampling rate"):
        TfdsSource("common_voice/lg", RecordFields("voice", "sentence"), str(tmp_path / "tfds"), None)


def test_every_set_has_a_test_and_its_config():
    from mms_jax.experiment import shipped_configs
    from mms_jax.tasks.asr.published import PUBLISHED

    assert all("test" in chosen.splits for chosen in SETS.values())
    assert all(f"evaluate_{name}" in shipped_configs() and name in PUBLISHED for name in SETS)
