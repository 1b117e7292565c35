"""A starting point for your own recordings: a folder and a table, prepared as in the README.

    python -m input_pipeline.prepare audio_folder --data_dir=data --name=mine --table=recordings/table.tsv --language=swh
    python -m mms_jax.train --config=asr_folder --workdir=runs/mine

The small model suits an accelerator, or two CPU cores and a night; on a laptop set --config.model.geometry=tiny. With a
pretrained model of the same geometry, add --config.init_from=MODEL: its extractor then stands still, and its encoder for
the first fifth of the updates (config.fine_tuning). The checkpoint with the lowest CER on the validation split is kept as
runs/mine@best. The accuracy depends on the recordings: an hour by one reader gives a recognizer of that reader.
"""

from ml_collections import ConfigDict

from mms_jax.config import default_config


def get_config() -> ConfigDict:
    """The experiment."""
    config = default_config("asr")
    config.total_steps = 10_000
    config.model.geometry = "small"
    config.model.dropout = 0.1
    config.model.activation_dropout = 0.1
    config.model.layerdrop = 0.05
    config.input.corpora = ("audio_folder/mine:train",)
    config.input.eval_corpora = ("audio_folder/mine:test",)
    config.input.dev_corpora = ("audio_folder/mine:validation",)
    config.input.bucket_seconds = (2.0, 4.0, 7.0, 12.0)
    config.input.min_seconds = 0.3
    config.input.batch_seconds = 48.0
    config.masking.time_probability = 0.3
    config.masking.time_minimum = 0
    config.masking.channel_probability = 0.1
    config.masking.channel_length = 32
    config.optimizer.learning_rate = 5e-4
    config.optimizer.clip_norm = 1.0
    config.log_every = 50
    config.eval_every = 250
    config.checkpoint.best = "cer"
    return config
