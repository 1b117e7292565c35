"""A voice of the published size, trained or fine-tuned as MMS's were, on one reader's corpus.

    python -m input_pipeline.prepare voice --data_dir=data --name=mine --source=aligned_chapters/swh
    python -m mms_jax.train --config=tts_mms --workdir=runs/voice
    python -m mms_jax.train --config=tts_mms --workdir=runs/tuned --config.init_from=FOLDER_WITH_G_AND_D

It is for accelerators: MMS trained for 100,000 steps of 512 utterances on eight V100s; fine-tuning from one of its
voices, with the discriminators of its full_model archive, takes some thousand steps of 32 (--config.input.batch_rows=32
--config.optimizer.accumulate=1). The rows of a batch are computed in `optimizer.accumulate` parts, so that they fit one
GPU; divide it by the number of GPUs. The config has not been run to its end; the docstring of configs/tts_phrases.py
gives the scores of that smaller voice.
"""

from ml_collections import ConfigDict

from mms_jax.config import default_config


def get_config() -> ConfigDict:
    """The experiment."""
    config = default_config("tts")
    config.total_steps = 100_000
    config.compute_dtype = "bfloat16"
    config.model.geometry = "mms"
    config.input.corpora = ("voice/mine:train",)
    config.input.dev_corpora = ("voice/mine:validation",)
    config.input.eval_corpora = ("voice/mine:validation",)  # a voice is not chosen by it
    config.input.bucket_seconds = (4.8, 6.4, 8.0, 9.6, 11.2, 12.8, 14.4, 16.0)  # the original's, in seconds
    config.input.min_seconds = 0.6
    config.input.max_characters = 190
    config.input.batch_rows = 512  # 64 recordings a GPU on eight GPUs
    config.input.rows_multiple = 8
    config.optimizer.accumulate = 8
    config.optimizer.learning_rate = 2e-4
    config.optimizer.b1 = 0.8
    config.optimizer.b2 = 0.99
    config.optimizer.eps = 1e-9
    config.optimizer.weight_decay = 0.01
    config.optimizer.schedule = "epochs"
    config.optimizer.final_scale = 0.999875
    config.log_every = 100
    config.eval_every = 1000
    config.checkpoint.every = 1000
    return config
