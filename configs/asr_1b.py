"""Fine-tunes MMS's 1B encoder with CTC: asr_300m with sharded parameters.

    python -m mms_jax.train --config=asr_1b --workdir=DIR --config.init_from=facebook/mms-1b \
        --config.input.data_dir=DATA --config.input.corpora='("aligned_chapters/swh:train",)' \
        --config.input.dev_corpora='("aligned_chapters/swh:validation",)' --config.mesh.fsdp=8

Batch, grid of learning rates and updates as in asr_300m. This config has not been run here.
"""

from ml_collections import ConfigDict

from mms_jax.config import config_beside


def get_config() -> ConfigDict:
    """The experiment."""
    config = config_beside(__file__, "asr_300m")
    config.model.geometry = "1b"
    config.model.remat = "full"
    config.mesh.fsdp = 8
    return config
