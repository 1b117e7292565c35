"""The backbone against transformers' stored outputs, published sizes, and its own promises."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mms_jax.audio.waveform import normalize_waveform
from mms_jax.models.functional import FunctionalModel
from mms_jax.models.layers import scale_gradient
from mms_jax.models.wav2vec2.attention import attend
from mms_jax.models.wav2vec2.config import Wav2Vec2Config, geometry
from mms_jax.models.wav2vec2.encoder import TransformerEncoder
from mms_jax.models.wav2vec2.feature_extractor import strided_windows
from mms_jax.models.wav2vec2.heads import Wav2Vec2ForPretraining
from mms_jax.models.wav2vec2.masking import Masking
from mms_jax.models.wav2vec2.model import Wav2Vec2, count_parameters


@pytest.mark.parametrize(
    ("name", "published", "backbone"), [("300m", 317_390_592, 315_438_720), ("1b", 965_514_752, 962_497_408)]
)
def test_parameter_counts_are_the_published_ones(name, published, backbone):
    model = nnx.eval_shape(lambda: Wav2Vec2ForPretraining(geometry(name), rngs=nnx.Rngs(0)))
    assert count_parameters(model) == published
    assert count_parameters(model.backbone) == backbone


@pytest.mark.parametrize(("name", "published"), [("3b", 3_080_423_636), ("7b", 6_504_786_132)])
def test_successor_geometries_are_the_published_ones(name, published):
    """Published with a CTC head of 9,812 symbols and without the mask embedding."""
    model = nnx.eval_shape(lambda: Wav2Vec2(geometry(name), rngs=nnx.Rngs(0)))
    hidden = geometry(name).hidden
    assert count_parameters(model) + (hidden + 1) * 9812 - hidden == published


def test_frames_follow_the_chain_of_convolutions():
    config = geometry("300m")
    assert (config.stride, config.receptive_field) == (320, 400)
    assert [config.frames(n) for n in (399, 400, 16_000, 320_000, 480_000)] == [0, 1, 49, 999, 1499]
    np.testing.assert_array_equal(config.frames(jnp.asarray([0, 719, 720])), [0, 1, 2])


def test_geometry_rejects_what_cannot_be():
    with pytest.raises(ValueError, match="there are tiny"):
        geometry("huge")
    with pytest.raises(ValueError, match="heads=5 must divide 192"):
        geometry("tiny", heads=5)
    with pytest.raises(TypeError, match="wings"):
        geometry("tiny", wings=2)


def test_config_survives_json():
    config = geometry("1b", layerdrop=0.1)
    assert Wav2Vec2Config.from_json(config.to_json()) == config


@pytest.mark.parametrize(("kernel", "stride"), [(10, 5), (3, 2), (2, 2), (5, 3)])
@pytest.mark.parametrize("time", [31, 32, 33])
def test_windows_make_a_convolution_a_matrix_product(kernel, stride, time):
    rng = np.random.default_rng(0)
    x, weight = rng.normal(size=(2, time, 3)), rng.normal(size=(kernel, 3, 4))
    expected = jax.lax.conv_general_dilated(x, weight, (stride,), "VALID", dimension_numbers=("NWC", "WIO", "NWC"))
    ours = strided_windows(jnp.asarray(x), kernel, stride) @ weight.reshape(-1, 4)
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def jitted(module):
    """The module's call, compiled: running it operation by operation takes minutes."""
    structure, state = nnx.split(module)
    call = jax.jit(lambda state, *inputs: nnx.merge(structure, state)(*inputs))
    return lambda *inputs: call(state, *inputs)


def load_transformers_weights(model: FunctionalModel, stored) -> dict:
    """Parameters of the miniature from the stored transformers state."""

    def weight(name):
        return jnp.asarray(stored[f"weight/{name}"])

    def linear(name):
        return {"kernel": weight(f"{name}.weight").T, "bias": weight(f"{name}.bias")}

    def norm(name):
        return {"scale": weight(f"{name}.weight"), "bias": weight(f"{name}.bias")}

    def extractor_layer(number):
        name = f"wav2vec2.feature_extractor.conv_layers.{number}"
        kernel = weight(f"{name}.conv.weight").transpose(2, 1, 0)
        return {
            "conv": {"kernel": kernel.reshape(-1, kernel.shape[-1]), "bias": weight(f"{name}.conv.bias")},
            "norm": norm(f"{name}.layer_norm"),
        }

    def encoder_layer(number):
        name = f"wav2vec2.encoder.layers.{number}"
        attention = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "out": "out_proj"}
        return {
            "attention_norm": norm(f"{name}.layer_norm"),
            "attention": {ours: linear(f"{name}.attention.{theirs}") for ours, theirs in attention.items()},
            "feed_forward_norm": norm(f"{name}.final_layer_norm"),
            "feed_forward": {
                "up": linear(f"{name}.feed_forward.intermediate_dense"),
                "down": linear(f"{name}.feed_forward.output_dense"),
            },
        }

    positions = "wav2vec2.encoder.pos_conv_embed.conv"
    layers = [encoder_layer(number) for number in range(2)]
    return {
        "backbone": {
            "extractor": {"layers": {str(number): extractor_layer(number) for number in range(7)}},
            "feature_norm": norm("wav2vec2.feature_projection.layer_norm"),
            "projection": linear("wav2vec2.feature_projection.projection"),
            "mask_embedding": weight("wav2vec2.masked_spec_embed"),
            "encoder": {
                "positions": {
                    "magnitude": weight(f"{positions}.parametrizations.weight.original0").reshape(-1),
                    "direction": weight(f"{positions}.parametrizations.weight.original1").transpose(2, 1, 0),
                    "bias": weight(f"{positions}.bias"),
                },
                "layers": jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers),
                "norm": norm("wav2vec2.encoder.layer_norm"),
            },
        },
        "quantizer": {
            "logits": linear("quantizer.weight_proj"),
            "codebook": weight("quantizer.codevectors").reshape(2, 6, 6),
        },
        "project_target": linear("project_q"),
        "project_context": linear("project_hid"),
    }


@pytest.fixture(scope="module")
def reference(miniature):
    from tests.conftest import FIXTURES

    stored = np.load(FIXTURES / "wav2vec2_tiny.npz")
    model = FunctionalModel.abstract(
        lambda key: Wav2Vec2ForPretraining(
            Wav2Vec2Config(**{**vars(miniature), "conv_dims": (8, 8, 8, 16, 16, 16, 16)}), rngs=nnx.Rngs(params=key)
        )
    )
    return stored, model.bind(load_transformers_weights(model, stored))


def test_backbone_equals_transformers_on_a_padded_batch(reference):
    stored, module = reference
    encoded = jitted(module.backbone)(jnp.asarray(stored["waveforms"]), jnp.asarray(stored["lengths"]))
    np.testing.assert_array_equal(encoded.frames, stored["frames"])
    for row, frames in enumerate(stored["frames"]):
        np.testing.assert_allclose(encoded.features[row, :frames], stored["features"][row, :frames], atol=1e-4)
        np.testing.assert_allclose(encoded.context[row, :frames], stored["context"][row, :frames], atol=1e-4)


def test_masked_prediction_equals_transformers(reference, monkeypatch):
    stored, module = reference
    masked = jnp.asarray(stored["masked"])
    monkeypatch.setattr("mms_jax.models.wav2vec2.model.mask_frames", lambda *_: masked)
    out = module(
        jnp.asarray(stored["waveforms"]),
        jnp.asarray(stored["lengths"]),
        masking=Masking(time_probability=1.0),
        key=jax.random.key(0),
        train=False,
    )
    for row in range(3):
        frames = np.flatnonzero(stored["masked"][row])
        assert int(out.valid[row].sum()) == len(frames) > 0
        np.testing.assert_allclose(out.predicted[row, : len(frames)], stored["predicted"][row, frames], atol=1e-4)
        np.testing.assert_allclose(out.target[row, : len(frames)], stored["target"][row, frames], atol=1e-4)


def test_padded_example_gives_the_output_it_has_alone(miniature):
    module = jitted(Wav2Vec2(miniature, rngs=nnx.Rngs(0)))
    rng = np.random.default_rng(0)
    short, long = rng.normal(size=3000).astype(np.float32), rng.normal(size=8000).astype(np.float32)
    batch = np.zeros((3, 8000), np.float32)
    batch[0, :3000], batch[1] = short, long
    together = module(jnp.asarray(batch), jnp.asarray([3000, 8000, 0]))
    for row, waveform in enumerate((short, long)):
        alone = module(jnp.asarray(waveform[None]), jnp.asarray([len(waveform)]))
        frames = int(alone.frames[0])
        assert frames == int(together.frames[row])
        np.testing.assert_allclose(together.context[row, :frames], alone.context[0], atol=1e-5)
    assert int(together.frames[2]) == 0
    assert bool(jnp.isfinite(together.context).all())


@pytest.mark.parametrize("remat", ["dots", "full"])
def test_rematerialisation_changes_no_gradient(miniature, remat):
    x = jax.random.normal(jax.random.key(0), (2, 9, miniature.hidden))
    mask = jnp.ones((2, 9), bool)

    def gradient(config):
        structure, state = nnx.split(TransformerEncoder(config, dtype=jnp.float32, rngs=nnx.Rngs(0)))
        return jax.jit(jax.grad(lambda s: jnp.sum(nnx.merge(structure, s)(x, mask) ** 2)))(state)

    changed = Wav2Vec2Config(**{**vars(miniature), "remat": remat})
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), gradient(miniature), gradient(changed)
    )


def test_scanned_layers_equal_the_same_layers_in_a_row(miniature):
    encoder = TransformerEncoder(miniature, dtype=jnp.float32, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (2, 9, miniature.hidden))
    mask = jnp.asarray([[True] * 9, [True] * 5 + [False] * 4])
    structure, stacked = nnx.split(encoder.layers)
    y = jnp.where(mask[:, :, None], x, 0.0)
    y = y + encoder.positions(y)
    for number in range(miniature.layers):
        layer = nnx.merge(structure, jax.tree.map(lambda leaf, n=number: leaf[n], stacked))
        y = layer(y, mask, None, None)
    np.testing.assert_allclose(encoder(x, mask), encoder.norm(y), atol=1e-5)


def test_layerdrop_skips_layers(miniature):
    always = Wav2Vec2Config(**{**vars(miniature), "layerdrop": 1.0})
    encoder = TransformerEncoder(always, dtype=jnp.float32, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (1, 9, miniature.hidden))
    mask = jnp.ones((1, 9), bool)
    skipped = encoder.norm(x + encoder.positions(x))
    np.testing.assert_allclose(encoder(x, mask, jax.random.key(1)), skipped, atol=1e-5)
    assert float(jnp.abs(encoder(x, mask) - skipped).max()) > 1e-2


def test_extractor_gradient_is_scaled(miniature):
    def gradients(scale):
        config = Wav2Vec2Config(**{**vars(miniature), "feature_gradient_scale": scale})
        structure, state = nnx.split(Wav2Vec2(config, rngs=nnx.Rngs(0)))
        waveform = jax.random.normal(jax.random.key(0), (1, 4000))

        def loss(s):
            return jnp.sum(nnx.merge(structure, s)(waveform, jnp.asarray([4000])).context ** 3)

        return nnx.to_pure_dict(jax.jit(jax.grad(loss))(state))

    full, tenth, none = gradients(1.0), gradients(0.1), gradients(0.0)
    first = lambda tree: np.asarray(tree["extractor"]["layers"][0]["conv"]["kernel"])  # noqa: E731
    assert np.abs(first(full)).max() > 0
    np.testing.assert_allclose(first(tenth), 0.1 * first(full), rtol=1e-3, atol=1e-6)
    assert np.abs(first(none)).max() == 0
    np.testing.assert_allclose(tenth["projection"]["kernel"], full["projection"]["kernel"], rtol=1e-4, atol=1e-5)
    assert float(jax.grad(lambda x: scale_gradient(x, 0.5) * 3)(2.0)) == 1.5


def test_bfloat16_stays_near_float32(miniature):
    waveform = jax.random.normal(jax.random.key(0), (1, 8000))
    outputs = [
        jitted(Wav2Vec2(miniature, dtype=dtype, rngs=nnx.Rngs(0)))(waveform, jnp.asarray([8000])).context
        for dtype in (jnp.float32, jnp.bfloat16)
    ]
    assert outputs[1].dtype == jnp.bfloat16
    # bfloat16 has 8 bits of mantissa; outputs are of order 1 after the final norm.
    np.testing.assert_allclose(outputs[0], outputs[1].astype(jnp.float32), atol=0.15)


@pytest.mark.parametrize("frames", [4, 7, 100])
def test_pieces_change_no_number(miniature, frames):
    whole = Wav2Vec2(miniature, rngs=nnx.Rngs(0))
    pieces = Wav2Vec2(
        Wav2Vec2Config(**{**vars(miniature), "extractor_chunk": frames, "attention_chunk": 1}), rngs=nnx.Rngs(0)
    )
    waveforms = np.random.default_rng(0).normal(size=(2, 8000)).astype(np.float32)
    lengths = jnp.asarray([8000, 5000])
    one, other = jitted(whole)(waveforms, lengths), jitted(pieces)(waveforms, lengths)
    np.testing.assert_allclose(one.extracted, other.extracted, atol=1e-5)
    for row, count in enumerate(one.frames):
        np.testing.assert_allclose(one.context[row, :count], other.context[row, :count], atol=1e-5)


def test_the_first_layer_hears_sixteen_bits_in_bfloat16(miniature):
    """Quiet speech beside a loud click: the first convolution and norm are exact, and the output is within 2 %."""
    rng = np.random.default_rng(0)
    time = np.arange(16_000) / 16_000
    quiet = 2e-3 * np.sin(2 * np.pi * 180 * time) * (1 + np.sin(20 * time)) + 1e-4 * rng.normal(size=16_000)
    quiet[8000] = 0.9
    waveform = normalize_waveform((np.round(quiet * 32768) / 32768).astype(np.float32), 1e-5)

    @functools.partial(jax.jit, static_argnums=1)
    def run(params, dtype, waveforms):
        module = models[dtype].bind(params)
        first = module.extractor.layers[0](waveforms[:, :, None])
        return first, module(waveforms, jnp.asarray([16_000])).context.astype(jnp.float32)

    def build(dtype):
        return FunctionalModel.abstract(lambda key: Wav2Vec2(miniature, dtype=dtype, rngs=nnx.Rngs(params=key)))

    models = {dtype: build(dtype) for dtype in (jnp.float32, jnp.bfloat16)}
    params = jax.jit(models[jnp.float32].init)(jax.random.key(0))
    (first, exact), (first_half, near) = (run(params, dtype, jnp.asarray(waveform)[None]) for dtype in models)
    np.testing.assert_array_equal(first, first_half)
    assert float(jnp.linalg.norm(near - exact) / jnp.linalg.norm(exact)) < 0.02


def test_input_dropout_comes_before_the_masks_and_spares_the_targets(miniature):
    config = dataclasses.replace(miniature, input_dropout=0.5)
    module = Wav2Vec2(config, rngs=nnx.Rngs(0))
    seen = []
    module.encoder = lambda x, *_: seen.append(x) or x
    waveforms, lengths = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8000)), jnp.float32), jnp.full(2, 8000)
    still = module(waveforms, lengths)
    masking = Masking(time_length=3, time_minimum=1)
    dropped = module(waveforms, lengths, masking=masking, mask_key=jax.random.key(1), key=jax.random.key(2))
    np.testing.assert_array_equal(dropped.features, still.features)
    masked = np.asarray(dropped.masked)
    np.testing.assert_array_equal(seen[1][masked], np.broadcast_to(module.mask_embedding[...], seen[1][masked].shape))
    assert 0.4 < np.mean(np.asarray(seen[1])[~masked] == 0.0) < 0.6


def test_attention_dropout_zeroes_weights_and_keeps_their_mean():
    rng = np.random.default_rng(0)
    q, k, v = (jnp.asarray(rng.normal(size=(1, 2, 40, 8)), jnp.float32) for _ in range(3))
    mask = jnp.arange(40)[None] < 30
    exact = attend(q, k, v, mask)
    draws = jax.vmap(lambda key: attend(q, k, v, mask, 0.3, key))(jax.random.split(jax.random.key(0), 2000))
    assert float(jnp.abs(draws[0] - exact).max()) > 0.05
    np.testing.assert_allclose(draws.mean(axis=0), exact, atol=0.05)
    np.testing.assert_array_equal(attend(q, k, v, mask, 0.3, None), exact)
