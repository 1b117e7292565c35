"""The keys of recognition: `config.model` and `config.masking`."""

from ml_collections import ConfigDict

from mms_jax.tasks.backbone import backbone_config


def default_config() -> ConfigDict:
    """The defaults."""
    return backbone_config()
