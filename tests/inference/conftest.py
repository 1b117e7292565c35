"""The folders that transformers wrote."""

from tests.interop.conftest import folder  # noqa: F401
