"""Trains MMS's 1B encoder to identify languages, as MMS-LID (Pratap et al. 2023, section 5.4).

    python -m mms_jax.train --config=lid_1b --workdir=DIR --config.init_from=facebook/mms-1b \
        --config.input.data_dir=DATA --config.input.corpora='("unlabeled/mine:train",)' \
        --config.input.dev_corpora='("unlabeled/mine:validation",)' --config.mesh.fsdp=8

The paper's grid: learning rates of 3e-6, 5e-6, 7e-6, 1e-5 and 3e-5; 10,000 to 50,000 updates; 1.5, 3 or 6 minutes of audio
on each of 16 GPUs; beta of 0, 0.3, 0.5, 0.7 and 1 for languages and for corpora. Which of these it chose, and whether it
masked, is not published. This config has not been run here.
"""

from ml_collections import ConfigDict

from mms_jax.config import default_config


def get_config() -> ConfigDict:
    """The experiment."""
    config = default_config("lid")
    config.total_steps = 50_000
    config.compute_dtype = "bfloat16"
    config.model.geometry = "1b"
    config.model.remat = "dots"
    config.mesh.fsdp = 8
    config.input.bucket_seconds = (5.0, 10.0, 15.0, 20.0)
    config.input.batch_seconds = 2880.0
    config.input.rows_multiple = 16
    config.input.workers = 16
    config.optimizer.schedule = "tri_stage"
    config.optimizer.skip_above = 10.0
    config.eval_every = 2000
    config.checkpoint.every = 2000
    config.checkpoint.best = "macro_accuracy"
    config.log_every = 100
    return config
