"""The tones and texts of the alignment tests."""

from tests.alignment.conftest import greek, latin, write_audio  # noqa: F401
