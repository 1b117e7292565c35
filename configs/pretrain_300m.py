"""MMS's 300M encoder: wav2vec 2.0 as in Pratap et al. 2023, section 4, with fairseq's large settings.

    python -m mms_jax.train --config=pretrain_300m --workdir=DIR \
        --config.input.data_dir=DATA --config.input.corpora='("audio_folder/one:train","audio_folder/two:train")'

The paper used 2.3 hours of audio a batch on 48 A100s and a million updates. The peak learning rate is not published; 5e-3
is fairseq's for its large LibriVox model. This config has not been run here.
"""

from ml_collections import ConfigDict

from mms_jax.config import default_config


def get_config() -> ConfigDict:
    """The experiment."""
    config = default_config("pretrain")
    config.total_steps = 1_000_000
    config.compute_dtype = "bfloat16"
    config.model.geometry = "300m"
    config.model.remat = "dots"
    config.input.bucket_seconds = (5.0, 10.0, 15.0, 20.0)
    config.input.min_seconds = 2.0
    config.input.batch_seconds = 8280.0
    config.input.rows_multiple = 48
    config.input.workers = 16
    config.optimizer.learning_rate = 5e-3
    config.optimizer.schedule = "polynomial"
    config.optimizer.warmup = 0.032
    config.optimizer.weight_decay = 0.01
    config.optimizer.skip_above = 10.0
    config.checkpoint.every = 5000
    config.checkpoint.keep_every = 100_000
    config.log_every = 100
    return config
