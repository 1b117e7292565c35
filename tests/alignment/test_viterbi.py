"""The fast searches against the readable one."""

import itertools

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from mms_jax.alignment import align_ctc, align_ctc_batch, viterbi_cpu, viterbi_xla
from mms_jax.alignment.reference import align_ctc_reference
from mms_jax.alignment.viterbi import needed_frames
from mms_jax.decoding.greedy import collapse
from mms_jax.errors import AlignmentError

BLANK = 1


def _scores(seed: int, frames: int, columns: int = 4) -> np.ndarray:
    probabilities = np.random.default_rng(seed).dirichlet(np.full(columns, 0.3), frames)
    return np.log(np.maximum(probabilities, 1e-9)).astype(np.float32)


@st.composite
def problems(draw):
    """Scores, and labels that may or may not fit; few symbols, so that repeats are common; column 1 is the blank."""
    frames = draw(st.integers(1, 40))
    labels = draw(st.lists(st.sampled_from([0, 2, 3]), max_size=20))
    return _scores(draw(st.integers(0, 2**20)), frames), np.asarray(labels, np.int32)


def _check(log_probs: np.ndarray, labels: np.ndarray, path: np.ndarray, score: float) -> None:
    _, expected = align_ctc_reference(log_probs, labels, BLANK)
    np.testing.assert_allclose(score, expected, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(np.take_along_axis(log_probs, path[:, None], axis=1).sum(), score, rtol=1e-5, atol=1e-4)
    np.testing.assert_array_equal(collapse(path, BLANK), labels)


@hypothesis.given(problems())
@hypothesis.settings(max_examples=300, deadline=None)
def test_score_is_the_references_and_path_spells_the_text(problem):
    log_probs, labels = problem
    if needed_frames(labels) > len(log_probs):
        with pytest.raises(AlignmentError, match="longer than the audio can hold"):
            align_ctc(log_probs, labels, BLANK)
        assert align_ctc_reference(log_probs, labels, BLANK)[1] == -np.inf
        return
    alignment = align_ctc(log_probs, labels, BLANK)
    _check(log_probs, labels, alignment.labels, alignment.score)
    assert list(dict.fromkeys(alignment.positions[alignment.positions >= 0])) == list(range(len(labels)))


@hypothesis.given(problems(), st.integers(1, 12))
@hypothesis.settings(max_examples=300, deadline=None)
def test_segments_of_any_length_find_the_same_path(problem, segment):
    log_probs, labels = problem
    if not len(labels) or needed_frames(labels) > len(log_probs):
        hypothesis.reject()
    states = viterbi_cpu.best_path(log_probs, labels, BLANK, segment)
    np.testing.assert_array_equal(states, viterbi_cpu.best_path(log_probs, labels, BLANK, 1000))


@pytest.mark.parametrize("segment", [1, 3, 8, 24])
def test_xla_batches_of_chapters(segment):
    rng = np.random.default_rng(segment)
    for seed in range(20):
        frames = rng.integers(1, 25, 4)
        texts = [rng.choice([0, 2, 3], rng.integers(0, 9)) for _ in frames]
        chapters = [_scores(100 * seed + row, count) for row, count in enumerate(frames)]
        fits = [needed_frames(text) <= count for text, count in zip(texts, frames)]
        padded = np.zeros((4, 24, 4), np.float32)
        labels = np.zeros((4, 8), np.int32)
        for row, (chapter, text) in enumerate(zip(chapters, texts)):
            padded[row, : len(chapter)], labels[row, : len(text)] = chapter, text
        lengths = np.asarray([len(text) for text in texts])
        states = np.asarray(viterbi_xla._best_paths(padded, frames, labels, lengths, BLANK, segment))
        for row in np.flatnonzero(fits):
            own = states[row, : frames[row]]
            path = np.where(own % 2 == 1, np.append(texts[row], BLANK)[np.minimum(own // 2, lengths[row])], BLANK)
            _check(chapters[row], texts[row], path, chapters[row][np.arange(len(path)), path].sum())


def test_xla_pads_chapters_of_different_lengths():
    rng = np.random.default_rng(0)
    chapters = [_scores(seed, frames) for seed, frames in enumerate((700, 30, 1100))]
    texts = [rng.choice([0, 2, 3], count).astype(np.int32) for count in (200, 0, 90)]
    for chapter, text, states in zip(chapters, texts, viterbi_xla.best_paths(chapters, texts, BLANK)):
        expected = align_ctc(chapter, text, BLANK)
        path = np.where(states % 2 == 1, np.append(text, BLANK)[np.minimum(states // 2, len(text))], BLANK)
        _check(chapter, text, path, expected.score)


def test_batch_is_each_alone():
    chapters = [_scores(seed, 50 + seed) for seed in range(5)]
    texts = [np.asarray([0, 2, 2, 3][: seed % 5]) for seed in range(5)]
    for chapter, text, together in zip(chapters, texts, align_ctc_batch(chapters, texts, BLANK)):
        alone = align_ctc(chapter, text, BLANK)
        np.testing.assert_array_equal(alone.labels, together.labels)
        assert alone.score == together.score


def test_every_path_is_tried():
    """All paths of a tiny trellis, written out."""
    log_probs, labels = _scores(7, 5, 3), [2, 2]
    spelling = [
        path for path in itertools.product(range(3), repeat=5) if list(collapse(np.asarray(path), BLANK)) == labels
    ]
    best = max(sum(log_probs[frame, symbol] for frame, symbol in enumerate(path)) for path in spelling)
    assert align_ctc(log_probs, labels, BLANK).score == pytest.approx(best, abs=1e-5)


def test_one_frame_between_equal_labels_is_a_blank():
    alignment = align_ctc(_scores(0, 3), [2, 2], BLANK)
    np.testing.assert_array_equal(alignment.labels, [2, BLANK, 2])
    with pytest.raises(AlignmentError, match="2 symbols need at least 3 frames, and there are 2"):
        align_ctc(_scores(0, 2), [2, 2], BLANK)


def test_no_text_is_all_blank():
    log_probs = _scores(0, 9)
    alignment = align_ctc(log_probs, [], BLANK)
    assert (alignment.labels == BLANK).all() and (alignment.positions == -1).all()
    assert alignment.score == pytest.approx(log_probs[:, BLANK].sum(), abs=1e-4)


def test_precision_holds_over_an_hour():
    """A planted path of an hour is found to the frame, though scores add up to hundreds of thousands."""
    rng = np.random.default_rng(0)
    frames, count = 180_000, 2_000
    labels = rng.integers(1, 20, count)
    places = np.sort(rng.choice(np.arange(0, frames, 3), count, replace=False))
    log_probs = rng.normal(-8.0, 0.5, (frames, 20)).astype(np.float32)
    log_probs[:, 0] = -3.0
    log_probs[places, labels] = -1.0
    positions = align_ctc(log_probs, labels).positions
    np.testing.assert_array_equal(np.flatnonzero(positions >= 0), places)


def test_wrong_arguments_are_named():
    log_probs = _scores(0, 5)
    with pytest.raises(ValueError, match="hold the blank"):
        align_ctc(log_probs, [2, BLANK], BLANK)
    with pytest.raises(ValueError, match="4 columns"):
        align_ctc(log_probs, [4], BLANK)
    with pytest.raises(ValueError, match="no column"):
        align_ctc(log_probs, [2], 4)
    with pytest.raises(ValueError, match="shape"):
        align_ctc(log_probs[0], [2], BLANK)
    with pytest.raises(ValueError, match="NaN"):
        align_ctc(np.where(np.arange(4) == 0, np.nan, log_probs), [2], BLANK)
    with pytest.raises(AlignmentError, match="positive probability"):
        align_ctc(np.where(np.arange(4) == 2, -np.inf, log_probs), [2], BLANK)
