"""Scores a recognizer on LibriSpeech, and prints the published word error rates beside.

    python -m input_pipeline.prepare catalog --set=librispeech --language=eng --splits test --data_dir=data
    python -m mms_jax.evaluate --config=evaluate_librispeech --workdir=facebook/mms-1b-all

All languages that are prepared are scored. The workdir may be a run, or any other recognizer.

The figures are of the test "clean". The other one: --config.input.eval_corpora='("catalog/librispeech_eng:test_other",)'
--config.scoring.published=
"""

from ml_collections import ConfigDict

from mms_jax.config import default_config


def get_config() -> ConfigDict:
    """The experiment."""
    config = default_config("asr")
    config.input.eval_corpora = ("catalog/librispeech_*:test",)
    config.scoring.published = "librispeech"
    return config
