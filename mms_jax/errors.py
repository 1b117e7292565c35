"""The errors that wrong input and a failing environment cause. Commands print these as one line; anything else is a bug.

Every message names the file, key or argument at fault, and the remedy. Subclasses that describe a wrong value are also
ValueErrors.
"""

TRY_AGAIN = 75  # exit status, EX_TEMPFAIL of sysexits.h, after which launch/job.sh starts a job again


class MmsError(Exception):
    """The base class of every error that a user can cause and fix."""


class AlignmentError(MmsError, ValueError):
    """A text that cannot be aligned with its recording."""


class AudioError(MmsError, ValueError):
    """A recording or a waveform that cannot be used."""


class CheckpointError(MmsError, RuntimeError):
    """A checkpoint that cannot be written, found or read."""


class Unavailable(MmsError):
    """A service that does not answer: the same command may succeed later, and commands end with status 75."""


class StoreError(CheckpointError, Unavailable):
    """A bucket that refuses requests."""


class ConfigError(MmsError, ValueError):
    """A configuration that is inconsistent in itself, or with its corpora or devices."""


class ConversionError(MmsError, ValueError):
    """A foreign checkpoint that does not fit, or a model that a foreign format cannot hold."""


class CorpusError(MmsError, ValueError):
    """A corpus that is missing or cannot be used."""


class InputError(MmsError, ValueError):
    """An invalid argument of a command or a function."""


class LanguageError(MmsError, ValueError):
    """A language that a model does not support."""


class LanguageModelError(MmsError, ValueError):
    """A language model, lexicon or search setting that cannot be used."""


class SpeechError(MmsError, ValueError):
    """A text that a voice cannot speak."""


class TrainingError(MmsError, RuntimeError):
    """A run that cannot start or continue; the message says which checkpoint is safe."""


class Stopped(TrainingError):
    """A run that a signal ended, after it saved; the same command continues it.

    Attributes:
      number: of the signal.
    """

    def __init__(self, message: str, number: int):
        super().__init__(message)
        self.number = number
