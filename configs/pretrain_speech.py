"""Pretrains a tiny wav2vec 2.0 model on seven hours of natural speech in two dozen languages, on two CPU cores.

    for set in asterisk fillets ktuberling tuxpaint; do
        python -m input_pipeline.prepare unlabeled --set=$set --data_dir=data; done
    python -m mms_jax.train --config=pretrain_speech --workdir=runs/speech
    python -m mms_jax.evaluate --config=pretrain_speech --workdir=runs/speech

The sets are Debian packages, see input_pipeline/corpora/unlabeled.py.

Result of 3,000 updates (40 hours of audio, 55 minutes on one x86-64 core, one seed): the accuracy leaves chance after
some 450 updates; after 1,500 it is 13 %, at the end 16.5 % on held-out speech, where a guess gives 1.9 %. The perplexity
of the two codebooks of 64 is 61 together. Fine-tuned with a quarter of an hour of labels, this model gives 46.4 % CER
(one seed), one from scratch 48.1 ± 1.2 %, and hubert_speech 33.8 %, see docs/benchmarks.md.
"""

from ml_collections import ConfigDict

from mms_jax.config import default_config

SETS = ("asterisk", "fillets", "ktuberling", "tuxpaint")


def get_config() -> ConfigDict:
    """The experiment."""
    config = default_config("pretrain")
    config.total_steps = 3000
    config.model.geometry = "tiny"
    config.model.feature_gradient_scale = 0.3
    config.pretrain.gumbel_end = 0.5
    config.pretrain.gumbel_decay = 0.9985
    config.input.corpora = tuple(f"unlabeled/{name}:train" for name in SETS)
    config.input.dev_corpora = config.input.eval_corpora = tuple(f"unlabeled/{name}:validation" for name in SETS)
    config.input.bucket_seconds = (6.0,)
    config.input.min_seconds = 2.0
    config.input.beta_corpus = 1.0
    config.input.beta_language = 1.0
    config.input.batch_seconds = 48.0
    config.optimizer.learning_rate = 5e-4
    config.optimizer.schedule = "polynomial"
    config.optimizer.warmup = 0.05
    config.optimizer.clip_norm = 1.0
    config.log_every = 20
    config.checkpoint.every = 500
    return config
