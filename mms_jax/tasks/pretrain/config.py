"""The keys of pretraining: `config.model`, `config.masking` and `config.pretrain`."""

from ml_collections import ConfigDict

from mms_jax.tasks.backbone import backbone_config


def default_config() -> ConfigDict:
    """The defaults; those of the losses are fairseq's for wav2vec 2.0."""
    config = backbone_config()
    config.pretrain = ConfigDict()
    config.pretrain.negatives = 100  # distractors for each masked frame
    config.pretrain.temperature = 0.1  # of the contrastive loss
    config.pretrain.gumbel_start = 2.0  # temperature of the Gumbel softmax at the first update
    config.pretrain.gumbel_end = 0.1
    config.pretrain.gumbel_decay = 0.999995  # factor per update
    config.pretrain.diversity_weight = 0.1
    config.pretrain.penalty_weight = 0.0  # of the mean square of the extractor's output
    return config
