"""What can be wrong with a recording."""


class AudioError(ValueError):
    """A recording that cannot be used. The message names the file, what is wrong and what to do about it."""
