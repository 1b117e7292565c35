"""The keys of voices: `config.model` and `config.tts`."""

from ml_collections import ConfigDict

# Keys of version 0.1 and their current names.
RENAMED_KEYS = {
    "tts.geometry": "model.geometry",
    "tts.flat_start": "tts.diagonal_prior_steps",
    "tts.adversarial_from": "tts.discriminator_start_step",
    "tts.recogniser": "tts.recognizer",
}
FREE_KEYS = ("tts.recognizer",)


def default_config() -> ConfigDict:
    """The defaults; those of the losses are the original's."""
    config = ConfigDict()
    config.model = ConfigDict({"geometry": "mms"})  # see mms_jax.models.vits.config
    config.tts = ConfigDict()
    config.tts.segment = 8192  # samples of each recording that are generated in a step
    config.tts.mel_weight = 45.0
    config.tts.kl_weight = 1.0
    config.tts.diagonal_prior_steps = 0  # updates in which a fading prior favors diagonal alignments
    config.tts.discriminator_start_step = 0  # first update with discriminators
    config.tts.speaker_width = 256  # of the embeddings, where the corpora have several speakers
    config.tts.uroman = False  # whether the corpus's transcripts are romanized; the voice then romanizes its texts
    config.tts.recognizer = ""  # a model that transcribes synthesized speech, for evaluation
    return config
