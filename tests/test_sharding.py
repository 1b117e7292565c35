"""One step on eight simulated devices equals the same step on one."""

import dataclasses
import functools
import itertools

import jax
import numpy as np
import optax
import pytest

from input_pipeline.dataset import open_corpora, training_data
from mms_jax import sharding
from mms_jax.errors import ConfigError
from mms_jax.evaluate import evaluate
from mms_jax.models.functional import FunctionalModel
from mms_jax.optimizers import make_optimizer, one_for_each
from mms_jax.tasks import find_task
from mms_jax.tasks.tts.task import TtsTask
from mms_jax.text.voice_tokenizer import VoiceTokenizer
from mms_jax.train import make_train_step, train
from mms_jax.training.state import abstract_state, initial_state
from tests.conftest import ALL_DEVICES, tone_experiment
from tests.models.test_vits import SMALL, shaken
from tests.tasks.test_tts import experiment as voice_experiment


@pytest.fixture(scope="module", autouse=True)
def eight_devices():
    patch = pytest.MonkeyPatch()
    patch.setattr(jax, "devices", lambda: ALL_DEVICES)
    yield
    patch.undo()


LAYOUTS = {"one": (1, 1, 1), "data": (8, 1, 1), "fsdp": (1, 8, 1), "data x fsdp": (2, 4, 1), "tensor": (2, 2, 2)}
EVERY_LAYOUT = [sizes for sizes in itertools.product((1, 2, 4, 8), repeat=3) if np.prod(sizes) == 8]
LAYOUTS |= {str(sizes): sizes for sizes in EVERY_LAYOUT}


def one_step(config, layout, explicit=False):
    """Metrics, gradients, updated parameters and their shardings after one step."""
    corpora = open_corpora(config.input.corpora, config.input.data_dir)
    task = find_task(config.task).from_corpora(config, corpora)
    optimizer, _ = make_optimizer(config.optimizer, config.total_steps, 10)
    plan, decoder = training_data(config.input, corpora, task.needs, seed=0)
    model = FunctionalModel.abstract(task.build)
    sizes = LAYOUTS[layout]
    mesh = sharding.make_mesh(*sizes, explicit=explicit, devices=jax.devices()[: int(np.prod(sizes))])
    with jax.set_mesh(mesh):
        state = initial_state(task, model, optimizer, abstract_state(task, model, optimizer, mesh), seed=0)
        placed = jax.tree.map(lambda leaf: leaf.sharding, state.params)
        step = make_train_step(task, model, optimizer, seed=0)
        state, metrics = step(state, sharding.put_batch(decoder(plan.batch(0)), mesh))
        first_moment = optax.tree.get(state.optimizer, "mu", default={})
        gradients = jax.tree.map(lambda moment: moment / (1 - config.optimizer.b1), first_moment)
        return jax.device_get((metrics, gradients, state.params)), placed


@pytest.fixture(scope="module")
def on_one_device(tone_data):
    """Task -> what one device computes."""

    @functools.cache
    def compute(task):
        return one_step(experiment(tone_data, task), "one")[0]

    return compute


def experiment(tone_data, task):
    config = tone_experiment(tone_data, task.removesuffix(" with adapters"))
    if task.endswith("adapters"):
        config.adapters.width = 3
    config.model.activation_dropout = 0.1
    config.model.layerdrop = 0.2
    return config


def assert_same_step(many, single):
    """Holds metrics (the loss among them), gradients and updated parameters to those of one device."""
    for name in single[0]:
        np.testing.assert_allclose(many[0][name].sum, single[0][name].sum, rtol=2e-4, atol=1e-5, err_msg=name)
        np.testing.assert_allclose(many[0][name].weight, single[0][name].weight)
    # Sums over devices associate differently; float32 leaves a few units in the last place of the largest gradient.
    largest = max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(single[1]))
    for ours, theirs in zip(jax.tree.leaves(many[1]), jax.tree.leaves(single[1])):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5 * largest)
    # Adam divides by the gradient's own size, so that a gradient of rounding noise still moves by the rate (1e-3).
    for ours, theirs in zip(jax.tree.leaves(many[2]), jax.tree.leaves(single[2])):
        np.testing.assert_allclose(ours, theirs, atol=2.5e-5)


@pytest.mark.parametrize("layout", ["data", "fsdp", "data x fsdp", "tensor"])
@pytest.mark.parametrize("task", ["asr", "pretrain"])
def test_step_is_the_same_on_any_mesh(tone_data, on_one_device, task, layout):
    many, placed = one_step(experiment(tone_data, task), layout)
    assert_same_step(many, on_one_device(task))
    kernel = placed["backbone"]["encoder"]["layers"]["attention"]["query"]["kernel"]
    if layout == "tensor":
        assert kernel.spec == jax.P(None, "fsdp", "tensor"), "born sharded"
        assert placed["backbone"]["feature_norm"]["scale"].is_fully_replicated


@pytest.mark.parametrize("task", ["asr with adapters", "lid"])
def test_banks_and_identifiers_have_the_same_step_on_the_fullest_mesh(tone_data, on_one_device, task):
    many, placed = one_step(experiment(tone_data, task), "tensor")
    assert_same_step(many, on_one_device(task))
    if task == "lid":
        assert placed["classifier"]["kernel"].spec == jax.P(None, "tensor")
    else:
        assert placed["heads"]["kernel"].spec[0] == "fsdp", "by language"
        assert placed["backbone"]["encoder"]["layers"]["adapters"]["down"].spec[1] == "fsdp"


@pytest.mark.slow
@pytest.mark.parametrize("layout", [str(sizes) for sizes in EVERY_LAYOUT])
@pytest.mark.parametrize("task", ["asr", "asr with adapters", "pretrain", "hubert", "lid"])
def test_step_is_the_same_on_every_mesh_of_eight_devices(tone_data, on_one_device, task, layout):
    assert_same_step(one_step(experiment(tone_data, task), layout)[0], on_one_device(task))


@pytest.mark.slow
def test_adafactor_has_the_same_step_on_the_fullest_mesh(tone_data):
    config = experiment(tone_data, "asr")
    config.optimizer.name = "adafactor"
    (_, _, many), (_, _, single) = (one_step(config, layout)[0] for layout in ("tensor", "one"))
    for ours, theirs in zip(jax.tree.leaves(many), jax.tree.leaves(single)):
        np.testing.assert_allclose(ours, theirs, atol=2.5e-5)


def test_step_is_the_same_on_an_explicit_mesh(tone_data, on_one_device):
    assert_same_step(one_step(experiment(tone_data, "asr"), "tensor", explicit=True)[0], on_one_device("asr"))


@pytest.mark.slow
def test_voices_step_is_the_same_on_eight_devices():
    """Voice and discriminators after one step, whose rows the mesh cuts in every number of parts, against one device."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(400, 640, 8)
    batch = {
        "waveforms": rng.normal(0, 0.1, (8, 640)).astype(np.float32) * (np.arange(640) < lengths[:, None]),
        "lengths": lengths,
        "labels": rng.integers(0, 11, (8, 16)),
        "label_lengths": rng.integers(5, 16, 8),
        "counted": np.arange(8) != 5,
    }
    task = TtsTask(voice_experiment(), SMALL, VoiceTokenizer.from_characters("abcdefghi", "swh"))
    model = FunctionalModel.abstract(task.build)
    optimizer = one_for_each(("voice", "discriminators"), optax.sgd(1e-2))
    params = jax.device_get(shaken(model, 0.02))
    results = {}
    layouts = ("data", "fsdp", "data x fsdp", "tensor", "(2, 1, 4)", "(1, 1, 8)")
    for layout in ("one", *layouts):
        sizes = LAYOUTS[layout]
        mesh = sharding.make_mesh(*sizes, devices=jax.devices()[: int(np.prod(sizes))])
        with jax.set_mesh(mesh):
            placed = jax.device_put(params, model.shardings(mesh))
            step = jax.jit(lambda p, b: task.update(model, optimizer, p, optimizer.init(p), b, jax.random.key(0), 0))
            after, _, metrics = step(placed, sharding.put_batch(batch, mesh))
            results[layout] = jax.device_get((after, {name: value.mean() for name, value in metrics.items()}))
    for layout in layouts:
        for name, value in results[layout][1].items():
            np.testing.assert_allclose(value, results["one"][1][name], rtol=1e-3, err_msg=name)
        for ours, theirs, before in zip(*map(jax.tree.leaves, (results[layout][0], results["one"][0], params))):
            moved = np.abs(theirs - before).max()
            np.testing.assert_allclose(ours, theirs, atol=2e-3 * moved + 1e-6)


def test_evaluation_fits_any_rows_to_the_mesh(tone_config, tmp_path):
    train(tone_config, str(tmp_path))
    scores = evaluate(tone_config, str(tmp_path))
    tone_config.input.rows_multiple, tone_config.input.batch_seconds = 1, 13.5
    assert evaluate(tone_config, str(tmp_path))["cer"] == pytest.approx(scores["cer"])


def test_rows_must_fit_the_mesh(tone_config, tmp_path):
    tone_config.input.rows_multiple = 3
    with pytest.raises(ValueError, match="must be a multiple of 8: the mesh cuts"):
        train(tone_config, str(tmp_path))


def test_mesh_that_does_not_fit_is_explained():
    with pytest.raises(ValueError, match=r"data=3 x fsdp=1 x tensor=1 does not fit 8 devices; set config\.mesh"):
        sharding.make_mesh(3)
    assert sharding.make_mesh(-1, 2, 2).shape == {"data": 2, "fsdp": 2, "tensor": 2}


@dataclasses.dataclass(frozen=True)
class Device:
    """Of a slice, as far as an arrangement asks."""

    id: int
    slice_index: int
    platform = "gpu"
    device_kind = "of this test"


@pytest.mark.parametrize(
    ("sizes", "leaving"),
    [((8, 1, 1), "data"), ((4, 2, 1), "data"), ((2, 2, 2), "data"), ((1, 8, 1), "fsdp"), ((1, 4, 2), "fsdp")],
)
def test_the_tensor_axis_stays_in_a_slice_and_fsdp_where_it_can(sizes, leaving):
    devices = [Device(number, number % 2) for number in range(8)]
    grid = sharding.arrange_slices(sizes, 2, devices)
    assert grid.shape == sizes and len(set(grid.flat)) == 8
    slices = np.vectorize(lambda device: device.slice_index)(grid)
    for axis, name in enumerate(sharding.MESH_AXES):
        assert (np.ptp(slices, axis=axis) > 0).any() == (name == leaving)


def test_slices_that_a_mesh_does_not_fill_are_explained():
    devices = [Device(number, number // 3) for number in range(9)]
    with pytest.raises(ConfigError, match=r"fill 3 slices .* set config\.mesh\.data to a multiple of 3"):
        sharding.arrange_slices((1, 1, 9), 3, devices)


def test_a_process_reads_the_rows_of_its_devices(monkeypatch):
    """Two processes whose devices take turns in the mesh."""
    grid = np.asarray(jax.devices()[:8]).reshape(4, 2, 1)
    mesh = jax.sharding.Mesh(grid, sharding.MESH_AXES)
    place = sharding.batch_sharding(mesh)
    ours = {device for device in grid.flat if device.id % 2}
    everywhere = place.devices_indices_map((8,))
    kept = {device: index for device, index in everywhere.items() if device in ours}
    monkeypatch.setattr(type(place), "addressable_devices_indices_map", lambda *unused: kept)
    assert sharding.parts_of_process(mesh) == {"parts": [1, 3, 5, 7], "of": 8}


def test_mesh_names_its_axis_types():
    assert set(sharding.make_mesh().axis_types) == {jax.sharding.AxisType.Auto}
    assert set(sharding.make_mesh(explicit=True).axis_types) == {jax.sharding.AxisType.Explicit}
