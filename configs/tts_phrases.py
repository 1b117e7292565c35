"""A small voice from one synthetic reader.

python -m input_pipeline.prepare spoken_phrases --config=reader --data_dir=data
python -m mms_jax.train --config=configs/tts_phrases.py --workdir=runs/voice
"""

from ml_collections import ConfigDict

from mms_jax.config import default_config


def get_config() -> ConfigDict:
    """The experiment."""
    config = default_config()
    config.task = "tts"
    config.total_steps = 1500
    config.tts.geometry = "tiny"
    config.tts.segment = 4096
    config.input.corpora = ("spoken_phrases/reader:train",)
    config.input.eval_corpora = ("spoken_phrases/reader:test",)
    config.input.bucket_seconds = (3.5, 5.0)
    config.input.min_seconds = 0.6
    config.input.batch_seconds = 40.0
    config.optimizer.learning_rate = 5e-4
    config.optimizer.b1 = 0.8
    config.optimizer.b2 = 0.99
    config.optimizer.eps = 1e-9
    config.optimizer.weight_decay = 0.01
    config.optimizer.schedule = "tri_stage"
    config.optimizer.warmup = 0.02
    config.optimizer.hold = 0.5
    config.optimizer.final_scale = 0.1
    config.log_every = 20
    config.checkpoint.every = 500
    return config
