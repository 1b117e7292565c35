"""The folders that transformers wrote."""

import pytest


@pytest.fixture(scope="session")
def folder(fixture_file):
    """NAME -> the folder of a stored model."""
    return lambda name: fixture_file("huggingface") / name
