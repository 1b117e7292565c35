"""Pretrains a tiny wav2vec 2.0 model on the shipped corpus, without its transcripts.

python -m input_pipeline.prepare spoken_phrases --data_dir=data
python -m mms_jax.train --config=pretrain_phrases --workdir=runs/pretrain
python -m mms_jax.evaluate --config=pretrain_phrases --workdir=runs/pretrain

The settings are those of pretrain_speech, for fewer updates.
"""

from ml_collections import ConfigDict

from mms_jax.config import default_config


def get_config() -> ConfigDict:
    """The experiment."""
    config = default_config("pretrain")
    config.total_steps = 600
    config.model.geometry = "tiny"
    config.model.feature_gradient_scale = 0.3
    config.pretrain.gumbel_end = 0.5
    config.pretrain.gumbel_decay = 0.9962  # from 2 to 0.5 in 60 % of the updates
    config.input.bucket_seconds = (6.0,)
    config.input.batch_seconds = 36.0
    config.optimizer.learning_rate = 5e-4
    config.optimizer.schedule = "polynomial"
    config.optimizer.warmup = 0.05
    config.optimizer.clip_norm = 1.0
    config.log_every = 20
    config.checkpoint.every = 200
    return config
