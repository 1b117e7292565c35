"""The parts of VITS against numerical derivatives, round trips, librosa and the published size."""

import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from mms_jax.audio.spectrogram import log_mel, magnitudes
from mms_jax.interop.vits import entries
from mms_jax.models.functional import FunctionalModel
from mms_jax.models.vits.config import VitsConfig, geometry
from mms_jax.models.vits.convolution import Conv, ConvTranspose, convolve, convolve_transposed
from mms_jax.models.vits.durations import StochasticDurationPredictor
from mms_jax.models.vits.model import Vits, fold_weight_norm, spread_over_frames, symbol_of_frame
from mms_jax.models.vits.monotonic import monotonic_alignment, monotonic_alignment_reference, off_diagonal
from mms_jax.models.vits.spline import spline
from mms_jax.models.vits.text_encoder import band_to_square, square_to_band

FLOAT = jnp.dtype("float32")
SMALL = VitsConfig(
    vocabulary=12, hidden=16, layers=2, mlp=24, latent=12, bins=129, posterior_layers=3, flow_layers=2, flows=2,
    duration_flows=2, decoder_channels=16, upsample_rates=(4, 4), upsample_kernels=(8, 8), resblock_kernels=(3, 5),
    resblock_dilations=((1,), (3,)), discriminator_width=64, periods=(2,), dropout=0.0, duration_dropout=0.0,
)  # fmt: skip


def shaken(model, scale=0.2):
    """Parameters away from zeros and ones."""
    params = jax.jit(model.init)(jax.random.key(0))
    leaves, structure = jax.tree.flatten(params)
    rng = np.random.default_rng(0)
    return jax.tree.unflatten(
        structure, [leaf + scale * rng.standard_normal(leaf.shape).astype(np.float32) for leaf in leaves]
    )


@pytest.fixture(scope="module")
def voice():
    """(model, parameters) of a small voice."""
    model = FunctionalModel.abstract(lambda key: Vits(SMALL, dtype=FLOAT, rngs=nnx.Rngs(params=key)))
    return model, shaken(model, 0.1)


def test_published_size():
    model = FunctionalModel.abstract(lambda key: Vits(VitsConfig(), dtype=FLOAT, rngs=nnx.Rngs(params=key)))
    shapes = model.shapes()
    # As published: the generator's weight norm is folded, that of the WaveNets is not.
    published = {**shapes, "generator": jax.eval_shape(fold_weight_norm, shapes)["generator"]}
    assert sum(leaf.size for leaf in jax.tree.leaves(published)) == 36_284_592
    for entry in entries(VitsConfig(), folded=True):  # every parameter has its tensor
        place = published
        for step in entry.path:
            place = place[step]


@pytest.mark.parametrize("inverse", [False, True])
def test_spline_against_finite_differences(inverse):
    rng = np.random.default_rng(1)
    x = np.concatenate([np.linspace(-6, 6, 181), [-5.0, 5.0]])
    shape = [rng.normal(0, 2, (len(x), size)) for size in (10, 10, 9)]
    with jax.enable_x64(True):
        y, log_slope = spline(jnp.asarray(x), *map(jnp.asarray, shape), 5.0, inverse=inverse)
        above, _ = spline(jnp.asarray(x + 1e-6), *map(jnp.asarray, shape), 5.0, inverse=inverse)
        below, _ = spline(jnp.asarray(x - 1e-6), *map(jnp.asarray, shape), 5.0, inverse=inverse)
        back, log_slope_back = spline(y, *map(jnp.asarray, shape), 5.0, inverse=not inverse)
    numerical = (np.asarray(above) - np.asarray(below)) / 2e-6
    smooth = np.abs(np.abs(x) - 5.0) > 1e-3  # the slope jumps at the bounds
    np.testing.assert_allclose(np.exp(log_slope)[smooth], numerical[smooth], rtol=1e-4)
    np.testing.assert_allclose(back, x, atol=1e-9)
    np.testing.assert_allclose(log_slope_back, -np.asarray(log_slope), atol=1e-8)
    outside = np.abs(x) > 5.0
    np.testing.assert_array_equal(np.asarray(y)[outside], x[outside])


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.floats(0.1, 30.0))
def test_spline_comes_back_in_single_precision(seed, scale):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-7, 7, 50).astype(np.float32)
    shape = [jnp.asarray(rng.normal(0, scale, (50, size)), jnp.float32) for size in (10, 10, 9)]
    y, slope = spline(jnp.asarray(x), *shape, 5.0)
    back, slope_back = spline(y, *shape, 5.0, inverse=True)
    assert np.isfinite(y).all() and np.isfinite(slope).all() and np.isfinite(slope_back).all()
    assert (np.abs(np.asarray(back)[np.abs(x) <= 5.0]) <= 5.0).all()
    if scale <= 3.0:  # sharper ones are flat somewhere, and no longer to be inverted
        reach = 1e-5 + 1e-6 * np.exp(-np.asarray(slope))
        assert (np.abs(np.asarray(back) - x) <= 50 * reach).all()


def test_duration_flow_log_determinant():
    """The log-determinant of the whole flow, against the Jacobian that JAX computes of it."""
    config = SMALL
    model = FunctionalModel.abstract(lambda key: StochasticDurationPredictor(config, rngs=nnx.Rngs(params=key)))
    params = shaken(model)
    symbols = 5
    rng = np.random.default_rng(2)
    x = jnp.asarray(rng.normal(size=(1, symbols, 2)), jnp.float32)
    condition = jnp.asarray(rng.normal(size=(1, symbols, config.hidden)), jnp.float32)
    mask = jnp.asarray([[True, True, True, True, False]])

    def flow(x, params, condition):
        y, log_determinant = model.bind(params).flow(x, mask, condition)
        return y[:, :4].ravel(), log_determinant

    jacobian, log_determinant = jax.jit(jax.jacobian(flow, has_aux=True))(x, params, condition)
    jacobian = jacobian.reshape(8, symbols * 2)[:, :8]
    np.testing.assert_allclose(log_determinant[0], np.linalg.slogdet(np.asarray(jacobian, np.float64))[1], atol=1e-3)


def test_prior_flow_comes_back(voice):
    model, params = voice
    x = jax.random.normal(jax.random.key(3), (2, 11, SMALL.latent))
    mask = jnp.arange(11) < jnp.asarray([[11], [7]])

    @jax.jit
    def there_and_back(params, x):
        flow = model.bind(params).flow
        return flow(flow(x, mask, None), mask, None, inverse=True)

    np.testing.assert_allclose(there_and_back(params, x), jnp.where(mask[:, :, None], x, 0.0), atol=1e-4)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 100_000), st.integers(1, 14), st.integers(0, 10))
def test_monotonic_alignment_is_the_references(seed, symbols, spare):
    rng = np.random.default_rng(seed)
    frames = symbols + spare
    scores = np.zeros((3, 26, 16), np.float32)
    scores[:] = rng.normal(size=scores.shape)
    lengths = np.asarray([[frames, symbols], [26, 16], [5, 5]])
    path = np.asarray(jax.jit(monotonic_alignment)(scores, lengths[:, 0], lengths[:, 1]))
    for row, (count, width) in enumerate(lengths):
        np.testing.assert_array_equal(path[row, :count], monotonic_alignment_reference(scores[row, :count, :width]))
        assert (path[row, count:] == -1).all()
        assert path[row, 0] == 0 and path[row, count - 1] == width - 1 and set(np.diff(path[row, :count])) <= {0, 1}


def test_monotonic_alignment_is_the_best_of_all():
    """Every way to cut seven frames into four symbols, by hand."""
    import itertools

    scores = np.random.default_rng(9).normal(size=(7, 4)).astype(np.float32)
    paths = [np.repeat(np.arange(4), np.diff([0, *cuts, 7])) for cuts in itertools.combinations(range(1, 7), 3)]
    best = max(paths, key=lambda path: scores[np.arange(7), path].sum())
    found = monotonic_alignment(scores[None], jnp.asarray([7]), jnp.asarray([4]))
    np.testing.assert_array_equal(found[0], best)


def test_off_the_diagonal():
    """An even pace costs nothing, and is what the search finds where nothing else speaks."""
    frames, symbols = jnp.asarray([12, 9]), jnp.asarray([4, 3])
    distance = off_diagonal(frames, symbols, 14, 5)
    np.testing.assert_allclose(distance[0, :3, 0], [1 / 3, 0.0, -1 / 3], atol=1e-6)
    np.testing.assert_allclose(distance[1, 4, 2], 1.0, atol=1e-6)
    path = monotonic_alignment(-(distance**2), frames, symbols)
    np.testing.assert_array_equal(path[0], [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, -1, -1])
    np.testing.assert_array_equal(path[1, :9], [0, 0, 0, 1, 1, 1, 2, 2, 2])


def test_band_and_square():
    rng = np.random.default_rng(4)
    band = rng.normal(size=(2, 6, 5)).astype(np.float32)
    square = np.asarray(band_to_square(band))
    for row in range(6):
        for column in range(6):
            near = abs(column - row) <= 2
            np.testing.assert_array_equal(
                square[:, row, column], band[:, row, column - row + 2] if near else np.zeros(2, np.float32)
            )
    full = rng.normal(size=(2, 6, 6)).astype(np.float32)
    back = np.asarray(square_to_band(full, 2))
    for row in range(6):
        for place in range(5):
            column = row + place - 2
            expected = full[:, row, column] if 0 <= column < 6 else np.zeros(2, np.float32)
            np.testing.assert_array_equal(back[:, row, place], expected)


def test_convolutions_against_sums():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(2, 9, 8)).astype(np.float32)
    for taps, dilation, stride, groups in ((3, 2, 1, 1), (5, 1, 3, 1), (5, 1, 2, 2), (3, 3, 1, 8), (1, 1, 1, 1)):
        kernel = rng.normal(size=(taps, 8 // groups, 8)).astype(np.float32)
        padded = np.pad(x, ((0, 0), ((taps - 1) * dilation // 2,) * 2, (0, 0)))
        expected = np.zeros((2, -(-9 // stride), 8))
        for place in range(expected.shape[1]):
            for tap in range(taps):
                seen = padded[:, place * stride + tap * dilation].reshape(2, groups, -1)
                weight = kernel[tap].reshape(8 // groups, groups, -1)
                expected[:, place] += np.einsum("bgi,igo->bgo", seen, weight).reshape(2, 8)
        ours = convolve(jnp.asarray(x), jnp.asarray(kernel), dilation, stride, groups)
        np.testing.assert_allclose(ours, expected, atol=1e-4)


@pytest.mark.parametrize("time, taps, stride, groups", [(21, 7, 4, 2), (16, 41, 4, 4), (5, 3, 1, 2), (9, 3, 8, 4)])
def test_gradients_of_grouped_convolutions_are_xlas_own(time, taps, stride, groups):
    rng = np.random.default_rng(8)
    x = jnp.asarray(rng.normal(size=(2, time, 8)).astype(np.float32))
    kernel = jnp.asarray(rng.normal(size=(taps, 8 // groups, 12)).astype(np.float32))

    def plain(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (stride,), [(taps // 2, taps // 2)], feature_group_count=groups,
            dimension_numbers=("NWC", "WIO", "NWC"),
        )  # fmt: skip

    expected, pull_back = jax.vjp(plain, x, kernel)
    ours, our_pull_back = jax.vjp(lambda x, kernel: convolve(x, kernel, 1, stride, groups), x, kernel)
    np.testing.assert_allclose(ours, expected, atol=1e-4)
    gradient = jnp.asarray(rng.normal(size=expected.shape).astype(np.float32))
    for one, other in zip(our_pull_back(gradient), pull_back(gradient)):
        np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("taps, rate", [(8, 4), (4, 2), (4, 4), (7, 3)])
def test_transposed_convolution_against_sums(taps, rate):
    rng = np.random.default_rng(6)
    x, kernel = rng.normal(size=(2, 5, 3)).astype(np.float32), rng.normal(size=(taps, 3, 4)).astype(np.float32)
    spread = np.zeros((2, 5 * rate + taps, 4))
    for place in range(5):
        for tap in range(taps):
            spread[:, place * rate + tap] += x[:, place] @ kernel[tap]
    cut = (taps - rate) // 2
    ours = convolve_transposed(jnp.asarray(x), jnp.asarray(kernel), rate)
    np.testing.assert_allclose(ours, spread[:, cut : cut + 5 * rate], atol=1e-4)


def test_spectrograms_are_librosas():
    rng = np.random.default_rng(7)
    waveform = rng.normal(0, 0.2, 256 * 20).astype(np.float32)
    padded = np.pad(waveform, 384, mode="reflect")
    spectrum = librosa.stft(padded, n_fft=1024, hop_length=256, window="hann", center=False)
    ours = magnitudes(jnp.asarray(waveform)[None], None, 1024, 256)[0]
    np.testing.assert_allclose(ours, np.abs(spectrum).T, atol=2e-3)
    mel = librosa.feature.melspectrogram(S=np.abs(spectrum), sr=16_000, n_mels=80, n_fft=1024)
    np.testing.assert_allclose(log_mel(ours, 16_000), np.log(np.maximum(mel, 1e-5)).T, atol=1e-2)


def test_spectrogram_of_a_padded_row_is_its_own():
    rng = np.random.default_rng(8)
    waveforms = rng.normal(0, 0.2, (2, 256 * 20)).astype(np.float32)
    lengths = np.asarray([256 * 20, 256 * 9 + 100])
    waveforms[1, lengths[1] :] = 0
    both = magnitudes(jnp.asarray(waveforms), jnp.asarray(lengths), 1024, 256)
    alone = np.pad(waveforms[1, : lengths[1]], 384, mode="reflect")
    spectrum = np.abs(librosa.stft(alone, n_fft=1024, hop_length=256, window="hann", center=False)).T
    np.testing.assert_allclose(both[1, :9], spectrum[:9], atol=2e-3)


def test_frames_take_what_their_symbol_has():
    durations = jnp.asarray([[2, 0, 3, 0], [1, 1, 1, 1]])
    symbol = symbol_of_frame(durations, 6)
    np.testing.assert_array_equal(symbol, [[0, 0, 2, 2, 2, -1], [0, 1, 2, 3, -1, -1]])
    values = jnp.arange(8.0).reshape(2, 4, 1)
    np.testing.assert_array_equal(spread_over_frames(values, symbol)[..., 0], [[0, 0, 2, 2, 2, 0], [4, 5, 6, 7, 0, 0]])


def test_padding_changes_nothing(voice):
    """A short text in a batch with a long one, and a row of latents with zeros behind, as they are alone."""
    model, params = voice
    symbols = np.random.default_rng(10).integers(1, 12, (2, 20))

    @jax.jit
    def encode(params, symbols, lengths, noise):
        text = model.bind(params).text_encoder(symbols, lengths)
        return text, model.bind(params).log_durations(text, None, noise)

    noise = np.random.default_rng(12).normal(size=(2, 20, 2)).astype(np.float32)
    both, durations = encode(params, symbols, np.asarray([20, 7]), noise)
    alone, duration = encode(params, symbols[1:, :7], np.asarray([7]), noise[1:, :7])
    np.testing.assert_allclose(both.mean[1, :7], alone.mean[0], atol=1e-5)
    np.testing.assert_allclose(durations[1, :7], duration[0], atol=1e-5)
    latents = np.random.default_rng(11).normal(size=(1, 30, SMALL.latent)).astype(np.float32)
    generate = jax.jit(lambda params, x, begin, end: model.bind(params).generator(x, None, begin=begin, end=end))
    padded = generate(params, np.pad(latents, ((0, 0), (8, 13), (0, 0))), jnp.asarray([8]), jnp.asarray([38]))
    whole = jax.jit(lambda params, x: model.bind(params).generator(x))(params, latents)
    np.testing.assert_allclose(padded[0, 8 * 16 : 38 * 16], whole[0], atol=1e-5)


def test_reach_is_what_the_generator_hears(voice):
    model, params = voice
    latents = jax.random.normal(jax.random.key(2), (1, 61, SMALL.latent))

    def middle(x, params):
        return jnp.sum(model.bind(params).generator(x)[0, 30 * 16 : 31 * 16])

    touched = np.flatnonzero(np.abs(jax.jit(jax.grad(middle))(latents, params)[0]).sum(axis=1))
    assert 30 - touched.min() <= SMALL.decoder_reach and touched.max() - 30 <= SMALL.decoder_reach
    assert 30 - touched.min() >= SMALL.decoder_reach - 3  # and not much more is computed than must be


def test_impossible_geometries():
    with pytest.raises(ValueError, match="hidden=192 must be a multiple of 5, for the attention heads"):
        geometry("mms", heads=5)
    with pytest.raises(ValueError, match="upsample kernel 3 must exceed its rate 8"):
        geometry("mms", upsample_kernels=(3, 16, 4, 4))
    with pytest.raises(ValueError, match="speakers > 1 and speaker_width"):
        geometry("mms", speakers=3)
    with pytest.raises(ValueError, match="no geometry 'large'"):
        geometry("large")


def test_initial_convolutions_are_pytorchs():
    """Uniform within 1 / sqrt(fan in), biases too; a transposed convolution counts its outputs as fan in."""
    conv = Conv(32, 48, 7, normed=True, dtype=FLOAT, rngs=nnx.Rngs(0))
    up = ConvTranspose(64, 32, 16, 8, normed=True, dtype=FLOAT, rngs=nnx.Rngs(0))
    for module, fan_in in ((conv, 7 * 32), (up, 16 * 32)):
        bound = fan_in**-0.5
        kernel = np.asarray(module.direction[...])
        assert np.abs(kernel).max() <= bound and kernel.std() == pytest.approx(bound / 3**0.5, rel=0.02)
        bias = np.asarray(module.bias[...])
        assert 0.8 * bound < np.abs(bias).max() <= bound
    zero = Conv(4, 4, zero=True, dtype=FLOAT, rngs=nnx.Rngs(0))
    assert not np.any(zero.kernel[...]) and not np.any(zero.bias[...])
