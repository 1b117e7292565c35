"""What can be wrong with a recording and its text together."""


class AlignmentError(ValueError):
    """A text that cannot be aligned. The message says why and what to do about it."""
