"""Pretrains a tiny model by masked prediction of clusters on the corpora of pretrain_speech; not the objective of MMS.

    python -m mms_jax.train --config=hubert_speech --workdir=runs/hubert
    python -m mms_jax.evaluate --config=hubert_speech --workdir=runs/hubert

Result of 3,000 updates (40 hours of audio, an hour on one x86-64 core, one seed), on held-out speech: 15.9 % of the masked
frames' clusters, where the most frequent of 100 is 3.1 %; cross-entropy 3.51 nats. Where only masked frames counted and 0.8
was masked, 1,500 updates gave 9.2 %. docs/benchmarks.md tells what the encoder is worth.
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
