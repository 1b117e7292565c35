"""MMS's 1B encoder: pretrain_300m with 3.5 hours of audio per batch (64 A100s in the paper) and sharded parameters.

    python -m mms_jax.train --config=pretrain_1b --workdir=DIR --config.input.data_dir=DATA \
        --config.input.corpora='("audio_folder/one:train",)' --config.mesh.fsdp=8

This config has not been run here.
"""

from ml_collections import ConfigDict

from mms_jax.config import config_beside


def get_config() -> ConfigDict:
    """The experiment."""
    config = config_beside(__file__, "pretrain_300m")
    config.model.geometry = "1b"
    config.model.input_dropout = 0.1  # as Omnilingual ASR's 1B encoder
    config.input.batch_seconds = 12_600.0
    config.input.rows_multiple = 64
    config.mesh.fsdp = 8
    return config
