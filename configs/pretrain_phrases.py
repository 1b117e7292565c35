"""Pretrains a tiny wav2vec 2.0 on the shipped corpus, transcripts unseen.

    python -m input_pipeline.prepare spoken_phrases --data_dir=data
    python -m mms_jax.train --config=configs/pretrain_phrases.py --workdir=runs/pretrain
    python -m mms_jax.evaluate --config=configs/pretrain_phrases.py --workdir=runs/pretrain
"""

from ml_collections import ConfigDict

from mms_jax.config import default_config


def get_config() -> ConfigDict:
    """The experiment."""
    config = default_config()
    config.task = "pretrain"
    config.total_steps = 260
    config.model.geometry = "tiny"
    config.input.bucket_seconds = (3.0, 5.2)
    config.input.batch_seconds = 48.0
    config.input.rows_multiple = 1
    config.optimizer.learning_rate = 1e-3
    config.optimizer.schedule = "polynomial"
    config.optimizer.weight_decay = 0.01
    config.optimizer.clip_norm = 1.0
    config.pretrain.gumbel_decay = 0.99
    config.pretrain.gumbel_end = 0.5
    config.log_every = 20
    config.checkpoint.every = 130
    return config
