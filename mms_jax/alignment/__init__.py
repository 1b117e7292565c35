"""Recordings and their texts together: who said what, when, and how sure that is."""

from mms_jax.alignment.viterbi import Alignment, align_ctc, align_ctc_batch

__all__ = ["Alignment", "align_ctc", "align_ctc_batch"]
