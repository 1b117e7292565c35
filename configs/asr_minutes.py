"""A tiny recognizer of some minutes of natural speech, for benchmarks.paper.

    python -m mms_jax.train --config=asr_minutes --workdir=runs/minutes --config.init_from=runs/hubert \
        --config.input.corpora='("audio_folder/mine:train",)' --config.input.dev_corpora='("audio_folder/mine:validation",)'

Result with a quarter of an hour by one Dutch reader, 1,500 updates (ten minutes on one x86-64 core, three seeds), test CER:
48.1 % from scratch, 33.8 % from hubert_speech.
"""

from ml_collections import ConfigDict

from mms_jax.config import default_config


def get_config() -> ConfigDict:
    """The experiment."""
    config = default_config("asr")
    config.total_steps = 1500
    config.model.geometry = "tiny"
    config.model.activation_dropout = 0.1
    config.model.dropout = 0.1
    # Encoders of minutes of pretraining have more to learn than to keep.
    config.fine_tuning.freeze_extractor = False
    config.fine_tuning.freeze_backbone = 0.0
    config.input.corpora = ("audio_folder/mine:train",)
    config.input.dev_corpora = ("audio_folder/mine:validation",)
    config.input.eval_corpora = ("audio_folder/mine:test",)
    config.input.bucket_seconds = (2.5, 4.0, 8.0, 11.0, 14.0)
    config.input.min_seconds = 0.3
    config.input.beta_corpus = 1.0
    config.input.beta_language = 1.0
    config.input.batch_seconds = 12.0
    config.masking.time_probability = 0.3
    config.masking.time_minimum = 0
    config.masking.channel_probability = 0.1
    config.masking.channel_length = 16
    config.optimizer.learning_rate = 1e-3
    config.optimizer.eps = 1e-6
    config.optimizer.schedule = "tri_stage"
    config.optimizer.clip_norm = 1.0
    config.log_every = 50
    config.eval_every = 100
    config.checkpoint.every = 500
    config.checkpoint.best = "cer"
    return config
