"""MMS's 1B encoder: pretrain_300m with 768 rows a batch, and sharded parameters.

The paper has 3.5 hours of audio a batch on 64 A100s; here it is 4.3, since the rows must be a multiple of the chips of a
v5e-256. On fewer, --config.optimizer.accumulate computes the same batch in parts.

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
    config.input.batch_seconds = 15_360.0
    config.input.rows_multiple = 256
    config.mesh.fsdp = 8
    return config
