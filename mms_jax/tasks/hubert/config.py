"""The keys of masked prediction of clusters: `config.model`, `config.masking` and `config.hubert`."""

from ml_collections import ConfigDict

from mms_jax.tasks.backbone import backbone_config


def default_config() -> ConfigDict:
    """The defaults; masking and the number of clusters are those of HuBERT's first round."""
    config = backbone_config()
    config.masking.time_probability = 0.8
    config.hubert = ConfigDict()
    config.hubert.clusters = 100
    config.hubert.unmasked_weight = 0.0  # of the loss of a frame that is not masked
    config.hubert.cluster_minutes = 20.0  # speech from the corpora that the clusters are fitted to
    return config
