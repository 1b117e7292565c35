"""Fine-tunes MMS's 1B encoder with CTC: asr_300m with sharded parameters.

    python -m mms_jax.train --config=asr_1b --workdir=DIR --config.init_from=facebook/mms-1b \
        --config.input.data_dir=DATA --config.input.corpora='("aligned_chapters/swh:train",)' \
        --config.input.dev_corpora='("aligned_chapters/swh:validation",)' --config.mesh.fsdp=8

Batch, grid of learning rates and updates as in asr_300m. This config has not been run here.
"""

import importlib.util
import pathlib

from ml_collections import ConfigDict

_SPEC = importlib.util.spec_from_file_location("asr_300m", pathlib.Path(__file__).with_name("asr_300m.py"))


def get_config() -> ConfigDict:
    """The experiment."""
    assert _SPEC is not None and _SPEC.loader is not None
    base = importlib.util.module_from_spec(_SPEC)
    _SPEC.loader.exec_module(base)
    config = base.get_config()
    config.model.geometry = "1b"
    config.model.remat = "full"
    config.mesh.fsdp = 8
    return config
