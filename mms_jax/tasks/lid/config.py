"""The keys of language identification: `config.model`, `config.masking`, `config.lid` and `config.fine_tuning`."""

from ml_collections import ConfigDict

from mms_jax.tasks.backbone import backbone_config, fine_tuning_config


def default_config() -> ConfigDict:
    """The defaults: the head is MMS's, all parameters but the extractor's learn (Pratap et al. 2023, section 5.4).

    The learning rate is one of the paper's grid, which reaches from 3e-6 to 3e-5; the paper names no masks.
    """
    config = backbone_config()
    config.masking.time_probability = 0.0
    config.masking.time_minimum = 0
    config.fine_tuning = fine_tuning_config(freeze_backbone=0.0)
    config.lid = ConfigDict()
    config.lid.latent = 1024  # width of the vectors whose mean over frames is classified
    config.lid.activation = (
        "linear"  # after the mean: "linear" as in Hugging Face's models, "gelu" as in fairseq's class
    )
    config.optimizer = ConfigDict({"learning_rate": 1e-5, "eps": 1e-8})
    config.checkpoint = ConfigDict({"best_mode": "max"})
    return config
