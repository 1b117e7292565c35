"""Fine-tunes MMS's 300M encoder with CTC, as fairseq fine-tunes wav2vec 2.0 and MMS its encoders (Pratap et al. 2023, 5).

    python -m mms_jax.train --config=asr_300m --workdir=DIR --config.init_from=facebook/mms-300m \
        --config.input.data_dir=DATA --config.input.corpora='("aligned_chapters/swh:train",)' \
        --config.input.dev_corpora='("aligned_chapters/swh:validation",)'

The paper's batch holds 0.8 hours of audio on 16 A100s. Its grid: peak learning rates of 7e-4, 3e-4, 1e-4, 1e-5, 7e-6, 3e-6
and 1e-6; 50,000, 100,000, 200,000 and 300,000 updates, chosen by the dev CER. Masks and dropout are those of fairseq's
vox_100h and vox_960h; MMS's own are not published. This config has not been run here.
"""

from ml_collections import ConfigDict

from mms_jax.config import default_config


def get_config() -> ConfigDict:
    """The experiment."""
    config = default_config("asr")
    config.total_steps = 50_000
    config.compute_dtype = "bfloat16"
    config.model.geometry = "300m"
    config.model.remat = "dots"
    config.model.layerdrop = 0.1
    config.model.activation_dropout = 0.1
    config.masking.time_probability = 0.5
    config.masking.channel_probability = 0.25
    config.masking.channel_length = 64
    config.input.bucket_seconds = (5.0, 10.0, 15.0, 20.0)
    config.input.batch_seconds = 2880.0
    config.input.rows_multiple = 16
    config.input.workers = 16
    config.optimizer.learning_rate = 1e-4
    config.optimizer.skip_above = 10.0
    config.optimizer.schedule = "tri_stage"
    config.eval_every = 2000
    config.checkpoint.every = 2000
    config.checkpoint.best = "cer"
    config.log_every = 100
    return config
