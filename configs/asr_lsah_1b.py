"""Fine-tunes MMS's 1B encoder with an adapter and a head for each language (LSAH; Pratap et al. 2023, section 5.4.2).

    python -m mms_jax.train --config=asr_lsah_1b --workdir=runs/first --config.init_from=facebook/mms-1b \
        --config.input.data_dir=DATA --config.input.corpora='("aligned_chapters/swh:train", "aligned_chapters/yor:train")' \
        --config.input.dev_corpora='("aligned_chapters/swh:validation", "aligned_chapters/yor:validation")'

The second stage trains the adapters and heads alone, for 2,000 updates; it may take all languages at once:

    ... --workdir=runs/second --config.init_from=runs/first@best --config.adapters.alone=True --config.total_steps=2000

Adapters of width 16 are the paper's; the other settings are those of asr_1b. This config has not been run here.
"""

from ml_collections import ConfigDict

from mms_jax.config import config_beside


def get_config() -> ConfigDict:
    """The experiment."""
    config = config_beside(__file__, "asr_1b")
    config.adapters.width = 16
    return config
