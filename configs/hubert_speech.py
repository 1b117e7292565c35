"""Pretrains a tiny model by masked prediction of clusters on the corpora of pretrain_speech; not the objective of MMS.

    python -m mms_jax.train --config=hubert_speech --workdir=runs/hubert
    python -m mms_jax.evaluate --config=hubert_speech --workdir=runs/hubert

Result of 1,500 updates (20 hours of audio, 13 minutes on two x86-64 cores, one seed): 9.2 % of the masked frames' clusters
where the most frequent of 100 gives 3.8 %; cross-entropy 4.01 nats.
"""

from ml_collections import ConfigDict

from mms_jax.config import config_beside, default_config


def get_config() -> ConfigDict:
    """The experiment."""
    config = default_config("hubert")
    base = config_beside(__file__, "pretrain_speech")
    config.input, config.optimizer = base.input, base.optimizer
    config.total_steps = 3000
    config.model.geometry = "tiny"
    config.model.feature_gradient_scale = 0.3
    config.masking.time_probability = 0.5
    config.hubert.unmasked_weight = 1.0
    config.optimizer.learning_rate = 2e-3
    config.log_every = 20
    return config
