"""Fine-tunes the tiny model of pretrain_phrases with CTC, eight languages at once.

python -m mms_jax.train --config=asr_phrases --workdir=runs/asr --config.init_from=runs/pretrain
python -m mms_jax.evaluate --config=asr_phrases --workdir=runs/asr
"""

from ml_collections import ConfigDict

from mms_jax.config import default_config


def get_config() -> ConfigDict:
    """The experiment."""
    config = default_config("asr")
    config.total_steps = 1700
    config.model.geometry = "tiny"
    # After minutes of pretraining, there is more to learn than to keep.
    config.fine_tuning.freeze_extractor = False
    config.fine_tuning.freeze_backbone = 0.0
    config.input.bucket_seconds = (2.6, 4.0)
    # Batches are small, since the first phase of CTC, in which only blanks are predicted, takes a number of updates,
    # not of hours of audio.
    config.input.batch_seconds = 8.0
    config.masking.time_probability = 0.0
    config.masking.time_minimum = 0
    config.optimizer.learning_rate = 1.2e-3
    config.optimizer.schedule = "tri_stage"
    config.optimizer.warmup = 0.05
    config.optimizer.hold = 0.5
    config.optimizer.clip_norm = 1.0
    config.log_every = 25
    config.checkpoint.every = 500
    return config
