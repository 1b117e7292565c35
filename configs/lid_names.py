"""A tiny identifier of the forty languages of spoken_names, on two CPU cores.

    for language in swh por ...; do python -m input_pipeline.prepare spoken_names --language=$language --data_dir=data; done
    python -m mms_jax.train --config=lid_names --workdir=runs/lid_names --config.init_from=runs/hubert

The voices of the test are not heard in training, nor are its names.
"""

from ml_collections import ConfigDict

from input_pipeline.corpora.spoken_names import LANGUAGES
from mms_jax.config import default_config


def get_config() -> ConfigDict:
    """The experiment."""
    config = default_config("lid")
    config.total_steps = 1500
    config.model.geometry = "tiny"
    config.model.dropout = 0.1
    config.model.activation_dropout = 0.1
    config.lid.latent = 192
    # Encoders of minutes of pretraining have more to learn than to keep.
    config.fine_tuning.freeze_extractor = False
    config.input.corpora = tuple(f"spoken_names/{language}:train" for language in LANGUAGES)
    config.input.dev_corpora = tuple(f"spoken_names/{language}:validation" for language in LANGUAGES)
    config.input.eval_corpora = tuple(f"spoken_names/{language}:test" for language in LANGUAGES)
    config.input.bucket_seconds = (4.0,)
    config.input.batch_seconds = 32.0
    config.masking.time_probability = 0.3
    config.masking.channel_probability = 0.1
    config.masking.channel_length = 16
    config.optimizer.learning_rate = 1e-3
    config.optimizer.clip_norm = 1.0
    config.log_every = 50
    config.eval_every = 250
    config.checkpoint.best = "macro_accuracy"
    return config
