"""Pretrains the quickstart's tiny model by masked prediction of clusters, without transcripts; not the objective of MMS.

python -m input_pipeline.prepare spoken_phrases --data_dir=data
python -m mms_jax.train --config=hubert_phrases --workdir=runs/hubert
python -m mms_jax.evaluate --config=hubert_phrases --workdir=runs/hubert

In the few minutes that a quickstart has, wav2vec 2.0 (pretrain_phrases) is still learning its own targets.

Result of 600 updates (6 hours of audio, one seed), on single verses by unseen voices: 8.3 % of the masked frames' clusters,
where the most frequent of 100 is 2.0 %. The quickstart's aligner then has 25.6 % CER, from scratch 42.9 %.
"""

from ml_collections import ConfigDict

from mms_jax.config import default_config


def get_config() -> ConfigDict:
    """The experiment."""
    config = default_config("hubert")
    config.total_steps = 600
    config.model.geometry = "tiny"
    config.model.feature_gradient_scale = 0.3
    config.input.bucket_seconds = (6.0,)
    config.input.batch_seconds = 36.0
    config.masking.time_probability = 0.5
    config.hubert.unmasked_weight = 1.0
    config.optimizer.learning_rate = 2e-3
    config.optimizer.schedule = "polynomial"
    config.optimizer.warmup = 0.05
    config.optimizer.clip_norm = 1.0
    config.log_every = 20
    config.checkpoint.every = 200
    return config
