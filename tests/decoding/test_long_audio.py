"""Windows: they cover a recording once, however it arrives, and merge into its frames."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mms_jax.decoding.long_audio import Windows

WINDOWS = Windows(size=40, context=10, stride=5)


@given(samples=st.integers(1, 300), block=st.integers(1, 90))
def test_windows_cover_the_recording_whatever_the_blocks(samples, block):
    waveform = np.arange(samples, dtype=np.float32)
    blocks = [waveform[start : start + block] for start in range(0, samples, block)]
    windows = list(WINDOWS.cut(blocks, samples))
    for number, window in enumerate(windows):
        np.testing.assert_array_equal(window, waveform[number * WINDOWS.hop :][: WINDOWS.size])
    assert (len(windows) - 1) * WINDOWS.hop + len(windows[-1]) == samples
    assert len(windows) == 1 or len(windows[-1]) > 2 * WINDOWS.context, "the last one brings something new"


@given(frames=st.integers(1, 60))
def test_kept_frames_are_all_frames_in_order(frames):
    samples = frames * WINDOWS.stride
    merged = []
    windows = list(WINDOWS.cut([np.zeros(samples, np.float32)], samples))
    for number, window in enumerate(windows):
        first = number * WINDOWS.hop // WINDOWS.stride
        own = range(first, first + len(window) // WINDOWS.stride)
        merged += own[WINDOWS.kept(number, len(own), number == len(windows) - 1)]
    assert merged == list(range(frames))


@pytest.mark.parametrize(("size", "context"), [(41, 10), (40, 7), (20, 10)])
def test_windows_that_cannot_work_are_refused(size, context):
    with pytest.raises(ValueError, match="whole frames"):
        Windows(size, context, stride=5)
