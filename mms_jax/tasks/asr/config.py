"""The keys of recognition: model, masking, adapters, labels, scoring, and what learns in runs that start from a model."""

from ml_collections import ConfigDict

from mms_jax.tasks.backbone import backbone_config, fine_tuning_config

# Before these keys existed, all parameters learned from the first update on.
OLDER_VALUES = {"fine_tuning.freeze_extractor": False, "fine_tuning.freeze_backbone": 0.0}


def default_config() -> ConfigDict:
    """The defaults: what stands still, Adam and learning rate are fairseq's (vox_10h), the sampling is MMS's (section 5.3).

    Masks and dropout depend on the hours of labels; configs set them.
    """
    config = backbone_config()
    config.fine_tuning = fine_tuning_config(freeze_backbone=0.2)
    config.adapters = ConfigDict()
    config.adapters.width = 0  # of an adapter for each language in each layer (MMS: 16); 0: none
    config.adapters.shared_head = False  # one head for all languages, instead of one for each
    config.adapters.alone = False  # only adapters and heads learn (MMS's second stage), all else stands still
    config.labels = ConfigDict({"romanized": False})  # all languages in the letters a to z, with one head
    config.scoring = ConfigDict()
    config.scoring.normalization = "mms"  # or "whisper": of transcripts before they are compared
    config.scoring.published = ""  # a test whose published error rates are printed beside ours: "fleurs"
    config.optimizer = ConfigDict({"learning_rate": 1e-4, "eps": 1e-8})
    config.input = ConfigDict({"beta_corpus": 0.0, "beta_language": 0.3})
    return config
