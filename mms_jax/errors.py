"""Errors that the command line explains without loading what raises them."""


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be written, found or read. The message names it and the fix."""


class TrainingError(RuntimeError):
    """A run that cannot start or go on. The message says why, what is safe, and what to do."""
