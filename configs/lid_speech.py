"""A tiny identifier of fifteen languages of natural speech, tested on a set of recordings that it has never heard.

    for set in asterisk festvox fillets ktuberling tuxpaint; do
      python -m input_pipeline.prepare unlabeled --set=$set --data_dir=data
    done
    python -m mms_jax.train --config=lid_speech --workdir=runs/lid_speech --config.init_from=runs/hubert

Most languages have one speaker in a set: the validation split measures how well the voice and the microphone are told
apart. The test is ktuberling, by other speakers in other rooms, half of whose languages are unknown to the model.
"""

from ml_collections import ConfigDict

from mms_jax.config import config_beside

SETS = ("asterisk", "festvox", "fillets", "tuxpaint")


def get_config() -> ConfigDict:
    """The experiment."""
    config = config_beside(__file__, "lid_names")
    config.input.corpora = tuple(f"unlabeled/{name}:train" for name in SETS)
    config.input.dev_corpora = tuple(f"unlabeled/{name}:validation" for name in SETS)
    config.input.eval_corpora = ("unlabeled/ktuberling:train", "unlabeled/ktuberling:validation")
    config.input.bucket_seconds = (4.0, 8.0)
    config.input.batch_seconds = 32.0
    config.input.beta_corpus = 1.0
    config.input.beta_language = 0.3
    config.input.noise = (10.0, 40.0)
    config.total_steps = 1000
    return config
