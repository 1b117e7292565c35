"""Scores a recognizer on Common Voice, and prints the published word error rates beside.

    python -m input_pipeline.prepare catalog --set=common_voice --language=lug --splits test --data_dir=data
    python -m mms_jax.evaluate --config=evaluate_common_voice --workdir=facebook/mms-1b-all

All languages that are prepared are scored. The workdir may be a run, or any other recognizer.

TFDS has version 6.1 (2020), and the paper tested on 9.0: the figures are of other recordings.
"""

from ml_collections import ConfigDict

from mms_jax.config import default_config


def get_config() -> ConfigDict:
    """The experiment."""
    config = default_config("asr")
    config.input.eval_corpora = ("catalog/common_voice_*:test",)
    config.scoring.published = "common_voice"
    return config
