"""The keys of recognition: `config.model`, `config.masking` and `config.fine_tuning`."""

from ml_collections import ConfigDict

from mms_jax.tasks.backbone import backbone_config

# Before these keys existed, all parameters learned from the first update on.
OLDER_VALUES = {"fine_tuning.freeze_extractor": False, "fine_tuning.freeze_backbone": 0.0}


def default_config() -> ConfigDict:
    """The defaults: fairseq's for fine-tuning wav2vec 2.0 (vox_10h), and the sampling of MMS (section 5.3)."""
    config = backbone_config()
    config.fine_tuning = ConfigDict()  # for runs that start from another model, see config.init_from
    config.fine_tuning.freeze_extractor = True  # for the whole run
    # Share of the updates in which only the head learns: 10,000 of MMS's 50,000.
    config.fine_tuning.freeze_backbone = 0.2
    config.optimizer = ConfigDict({"learning_rate": 1e-4, "eps": 1e-8})
    config.input = ConfigDict({"beta_corpus": 0.0, "beta_language": 0.3})
    return config
