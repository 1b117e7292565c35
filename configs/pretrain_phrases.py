"""Pretrains a tiny wav2vec 2.0 model on the shipped corpus, without its transcripts.

python -m input_pipeline.prepare spoken_phrases --data_dir=data
python -m mms_jax.train --config=pretrain_phrases --workdir=runs/pretrain
python -m mms_jax.evaluate --config=pretrain_phrases --workdir=runs/pretrain
"""

from ml_collections import ConfigDict

from mms_jax.config import default_config


def get_config() -> ConfigDict:
    """The experiment."""
    config = default_config("pretrain")
    config.total_steps = 250
    config.model.geometry = "tiny"
    # A few minutes are far too short for extractor, quantizer and encoder to learn targets that are both diverse and
    # predictable: they flatten the codes or collapse them. Here the targets are fixed, and only the encoder learns.
    config.model.feature_gradient_scale = 0.0
    config.optimizer.freeze = ("quantizer:-1", "project_target:-1", "backbone/feature_norm:-1")
    config.masking.time_probability = 0.5
    config.masking.time_length = 5
    config.input.bucket_seconds = (2.6, 4.0)
    config.input.batch_seconds = 12.0
    config.optimizer.learning_rate = 1e-3
    config.optimizer.schedule = "polynomial"
    config.optimizer.warmup = 0.05
    config.optimizer.clip_norm = 1.0
    config.log_every = 20
    config.checkpoint.every = 200
    return config
