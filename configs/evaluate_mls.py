"""Scores a recognizer on Multilingual LibriSpeech, and prints the published word error rates beside.

    python -m input_pipeline.prepare catalog --set=mls --language=pol --splits test --data_dir=data
    python -m mms_jax.evaluate --config=evaluate_mls --workdir=facebook/mms-1b-all

All languages that are prepared are scored. The workdir may be a run, or any other recognizer.

The corpus has seven languages; the eighth of the paper's is LibriSpeech's English.
"""

from ml_collections import ConfigDict

from mms_jax.config import default_config


def get_config() -> ConfigDict:
    """The experiment."""
    config = default_config("asr")
    config.input.eval_corpora = ("catalog/mls_*:test",)
    config.scoring.published = "mls"
    return config
