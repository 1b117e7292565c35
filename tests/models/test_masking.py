"""Span masks: their shape, share and limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mms_jax.models.wav2vec2.masking import Masking, mask_channels, mask_frames


def test_spans_stay_inside_real_frames():
    lengths = jnp.asarray([200, 57, 11, 10, 3, 0])
    masked = np.asarray(mask_frames(jax.random.key(0), lengths, 200, Masking()))
    for row, length in enumerate(lengths):
        assert not masked[row, int(length) :].any()
    assert masked[2].sum() == 10, "one start is possible: frames 0 to 9"
    assert not masked[3:].any(), "rows no longer than a span have no start, as in the original"


def test_masked_runs_are_unions_of_whole_spans():
    masked = np.asarray(mask_frames(jax.random.key(1), jnp.full(50, 300), 300, Masking(time_probability=0.1)))
    for row in masked:
        edges = np.flatnonzero(np.diff(np.pad(row.astype(int), 1)))
        runs = edges[1::2] - edges[::2]
        assert len(runs) >= 1 and (runs >= 10).all()


def test_share_is_that_of_the_paper():
    """p = 0.065 starts a frame and spans of 10 hide about 49 % of an utterance (Baevski et al. 2020, section 4.1)."""
    masked = np.asarray(mask_frames(jax.random.key(2), jnp.full(64, 1000), 1000, Masking()))
    assert masked.mean() == pytest.approx(0.49, abs=0.02)
    assert masked.sum(axis=1).max() <= Masking().most_frames(1000)


def test_minimum_number_of_spans():
    few = Masking(time_probability=0.0, time_minimum=2)
    counts = np.asarray(mask_frames(jax.random.key(3), jnp.full(40, 500), 500, few)).sum(axis=1)
    assert counts.max() == 20 and counts.min() >= 11


def test_channels_are_hidden_a_row_at_a_time():
    masking = Masking(channel_probability=0.5, channel_length=16)
    masked = np.asarray(mask_channels(jax.random.key(4), 32, 256, masking))
    assert 0.2 < masked.mean() < 0.5
    assert len({row.tobytes() for row in masked}) > 1
