"""Errors that the command line explains without loading what raises them."""


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be written, found or read. The message names it and the fix."""
