"""Forced alignment: the times and scores of verses, words and characters in a recording of their text."""

from mms_jax.alignment.viterbi import Alignment, align_ctc, align_ctc_batch

__all__ = ["Alignment", "align_ctc", "align_ctc_batch"]
