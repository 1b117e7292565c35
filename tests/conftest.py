"""Eight simulated devices, and no accelerator: the tests compute the same everywhere."""

import os

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
# Eight devices share few cores: they may reach a collective late, and two programs in flight can wait for each other.
os.environ["XLA_FLAGS"] += " --xla_cpu_collective_call_terminate_timeout_seconds=900"
os.environ["JAX_CPU_ENABLE_ASYNC_DISPATCH"] = "false"
# The tests compile for minutes and compute for seconds.
os.environ["XLA_FLAGS"] += " --xla_backend_optimization_level=0"
# The older emitters and one part a program take two thirds of the time to compile.
os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Many tests train the same small model: it is compiled once, here and in the processes that tests start.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", os.path.join(os.getcwd(), ".pytest_cache", "compiled"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")

import pathlib

import numpy as np
import pytest
import soundfile

FIXTURES = pathlib.Path(__file__).parent / "fixtures"


ALL_DEVICES = []


@pytest.fixture(scope="session", autouse=True)
def one_device():
    """Runs use one device, since what they do is the same on any mesh, and compiles sooner; test_sharding uses eight."""
    import jax

    patch = pytest.MonkeyPatch()
    ALL_DEVICES[:] = jax.devices()
    patch.setattr(jax, "devices", lambda *_: ALL_DEVICES[:1])
    yield
    patch.undo()


@pytest.fixture(scope="session")
def fixture_file():
    """The path of a stored reference."""
    return lambda name: FIXTURES / name


def _table(folder: pathlib.Path) -> pathlib.Path:
    """Sixty recordings of tones with gaps, whose transcript names the tone; two languages, all splits."""
    rng = np.random.default_rng(0)
    lines = ["path\ttext\tlanguage\tspeaker\tsplit"]
    for number in range(60):
        tones = rng.integers(0, 4, size=rng.integers(2, 5))
        seconds = np.arange(4000) / 16_000
        gap = np.zeros(1600)
        sines = [0.3 * np.sin(2 * np.pi * (300 + 300 * tone) * seconds) for tone in tones]
        waveform = np.concatenate([piece for sine in sines for piece in (gap, sine)])
        waveform += rng.normal(0, 0.01, len(waveform))
        soundfile.write(folder / f"{number}.flac", waveform, 16_000)
        text = "".join("abcd"[tone] for tone in tones)
        split = "test" if number % 5 == 0 else "train"
        lines.append(f"{number}.flac\t{text}\t{'eng' if number % 2 else 'swh'}\tsine\t{split}")
    table = folder / "table.tsv"
    table.write_text("\n".join(lines) + "\n")
    return table


@pytest.fixture(scope="session")
def tone_table(tmp_path_factory):
    """A folder of recordings and its table, as a user has them."""
    return _table(tmp_path_factory.mktemp("tones"))


def prepare_folder(name: str, table: pathlib.Path, data_dir: pathlib.Path) -> pathlib.Path:
    """Prepares the corpus audio_folder/NAME of a table; returns the data folder."""
    from input_pipeline.corpora.audio_folder import AudioFolder

    AudioFolder(
        name=name, table=str(table), language=None, max_bad_share=0.0, data_dir=str(data_dir), file_format="array_record"
    ).download_and_prepare()  # fmt: skip
    return data_dir


@pytest.fixture(scope="session")
def tone_data(tone_table, tmp_path_factory):
    """A data folder with the prepared corpus audio_folder/tones."""
    return prepare_folder("tones", tone_table, tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def reader_data(tone_table, tmp_path_factory):
    """A data folder with the tones as one language's: audio_folder/reader."""
    table = tone_table.with_name("one_language.tsv")
    table.write_text(tone_table.read_text().replace("\teng\t", "\tswh\t"))
    return prepare_folder("reader", table, tmp_path_factory.mktemp("reader"))


MINIATURE = {
    "conv_dims": (8, 8, 8, 8, 16, 16, 16),
    "hidden": 32,
    "mlp": 48,
    "layers": 2,
    "heads": 4,
    "positional_kernel": 16,
    "positional_groups": 4,
    "quantized": 12,
    "projected": 10,
    "codes": 6,
    "init_std": None,
}


# A voice that compiles quickly.
SMALL_VOICE = {
    "hidden": 16,
    "layers": 1,
    "mlp": 16,
    "latent": 8,
    "bins": 129,
    "posterior_layers": 2,
    "flow_layers": 2,
    "flows": 1,
    "duration_flows": 2,
    "decoder_channels": 16,
    "upsample_rates": (8, 8),
    "upsample_kernels": (16, 16),
    "resblock": 2,
    "resblock_kernels": (3,),
    "resblock_dilations": ((1,),),
    "discriminator_width": 64,
    "periods": (2,),
}


@pytest.fixture(scope="session", autouse=True)
def miniature():
    """A geometry small enough to compile in seconds, under the name "miniature"."""
    from mms_jax.models.wav2vec2 import config

    config.GEOMETRIES["miniature"] = config.Wav2Vec2Config(**MINIATURE)
    return config.GEOMETRIES["miniature"]


@pytest.fixture
def tone_config(tone_data):
    """An experiment on the tones that takes seconds."""
    return tone_experiment(tone_data)


def tone_experiment(tone_data, task="asr"):
    """A fresh config of a task on the tones."""
    from mms_jax.config import default_config

    config = default_config(task)
    config.model.geometry = "miniature"
    config.total_steps = 6
    config.input.data_dir = str(tone_data)
    config.input.corpora = ("audio_folder/tones:train",)
    config.input.dev_corpora = config.input.eval_corpora = ("audio_folder/tones:test",)
    config.optimizer.learning_rate = 1e-3
    config.input.bucket_seconds = (1.5,)
    config.input.min_seconds = 0.1
    config.input.batch_seconds = 12.0
    config.input.rows_multiple = 8
    if "masking" in config:
        config.masking.time_minimum = 1
        config.masking.time_length = 2
    config.log_every = 2
    config.checkpoint.every = 3
    return config


@pytest.fixture
def carried_over(monkeypatch):
    """The tables that warm starts log."""
    from mms_jax.training import warm_start

    tables = []

    class Recorder:
        @staticmethod
        def info(form, *values):
            tables.append(form % values)

    monkeypatch.setattr(warm_start, "logging", Recorder)
    return tables
