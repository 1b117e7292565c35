"""Inference on recordings of any length with a bounded window: overlapping windows, whose frames are merged."""

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np


@dataclasses.dataclass(frozen=True)
class Windows:
    """The positions of windows, and the frames of each window that belong in the merged result.

    Window i starts at sample i * hop, a whole number of frames, so its frames coincide with those of the recording. A
    window's first and last `context` samples only provide context; their frames are taken from its neighbors.

    Attributes:
      size: samples per window.
      context: samples at either end that only provide context.
      stride: samples per frame.
    """

    size: int
    context: int
    stride: int

    def __post_init__(self):
        if self.size % self.stride or self.context % self.stride or self.size <= 2 * self.context:
            raise ValueError("window and context must be whole frames, and the window longer than both contexts")

    @property
    def hop(self) -> int:
        """Samples from one window's start to the next."""
        return self.size - 2 * self.context

    def cut(self, blocks: Iterable[np.ndarray], samples: int) -> Iterator[np.ndarray]:
        """Cuts a recording that comes in blocks; no more than a window and a block are held.

        Args:
          blocks: consecutive pieces of the waveform, of any length.
          samples: number of samples in the whole waveform.

        Yields:
          (<= size,); window i starts at sample i * hop, and the last one reaches the end.
        """
        held, start = np.zeros(0, np.float32), 0
        for block in blocks:
            held = np.concatenate([held, block])
            # The window that reaches the end is left for after the loop.
            while start + self.size < samples and len(held) >= self.size:
                yield held[: self.size]
                held, start = held[self.hop :], start + self.hop
        yield held

    def kept(self, number: int, frames: int, last: bool) -> slice:
        """The frames of window `number` that belong in the merged result.

        Args:
          number: from 0.
          frames: real frames of the window.
          last: whether it reaches the end of the recording.
        """
        context, hop = self.context // self.stride, self.hop // self.stride
        return slice(0 if number == 0 else context, frames if last else context + hop)
