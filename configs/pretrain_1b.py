"""MMS's 1B encoder: pretrain_300m with 3.5 hours of audio per batch (64 A100s in the paper) and sharded parameters.

    python -m mms_jax.train --config=pretrain_1b --workdir=DIR --config.input.data_dir=DATA \
        --config.input.corpora='("audio_folder/one:train",)' --config.mesh.fsdp=8

This config has not been run here.
"""

import importlib.util
import pathlib

from ml_collections import ConfigDict

_SPEC = importlib.util.spec_from_file_location("pretrain_300m", pathlib.Path(__file__).with_name("pretrain_300m.py"))


def get_config() -> ConfigDict:
    """The experiment."""
    assert _SPEC is not None and _SPEC.loader is not None
    base = importlib.util.module_from_spec(_SPEC)
    _SPEC.loader.exec_module(base)
    config = base.get_config()
    config.model.geometry = "1b"
    config.model.remat = "full"
    config.model.input_dropout = 0.1  # as Omnilingual ASR's 1B encoder
    config.input.batch_seconds = 12_600.0
    config.input.rows_multiple = 64
    config.mesh.fsdp = 8
    return config
