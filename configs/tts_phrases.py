"""A small voice from one synthetic reader, in a quarter of an hour on two cores; a recognizer's CER on it is 42.7 %.

python -m input_pipeline.prepare spoken_phrases --config=reader --data_dir=data
python -m mms_jax.train --config=tts_phrases --workdir=runs/voice
python -m mms_jax.evaluate --config=tts_phrases --workdir=runs/voice --config.tts.recognizer=runs/asr
mms-jax speak "mkulima mzee anakumbuka hadithi nzuri" --model runs/voice --out voice.wav

Measured after 2,350 updates (3.0 a second on two shared x86-64 cores, 2.6 with discriminators, two minutes of compiling), on
36 held-out sentences: mel-cepstral distortion 2.1 dB for synthesized text; durations correlate 0.995 with the reader's and
are 9 % too long. The quickstart's recognizer has a CER of 10.0 % on the reader and of 42.7 % on the voice. A quarter of
an hour without the diagonal prior and with discriminators from the first step reached 7.4 dB and 75.9 %; 2,050 updates
reached 2.2 dB and 42.5 %. After some 500 updates the aligned letters are within 41 ms (median) of the recognizer's;
quality is then limited by the generator, which has been trained on little more than an hour of audio.
"""

from ml_collections import ConfigDict

from mms_jax.config import default_config


def get_config() -> ConfigDict:
    """The experiment."""
    config = default_config("tts")
    config.total_steps = 2350
    config.model.geometry = "tiny"
    config.tts.diagonal_prior_steps = 500
    # Discriminators help little before the voice is intelligible, and a step takes 15 to 40 % longer with them.
    config.tts.discriminator_start_step = 2100
    config.input.corpora = ("spoken_phrases/reader:train",)
    config.input.dev_corpora = ("spoken_phrases/reader:validation",)
    config.input.eval_corpora = ("spoken_phrases/reader:test",)
    config.input.bucket_seconds = (5.0,)  # one shape, since compiling the step takes longer than some hundred steps
    config.input.min_seconds = 0.6
    config.input.batch_seconds = 20.0
    # Ten times the usual rate, since there is time for only two thousand updates.
    config.optimizer.learning_rate = 2e-3
    config.optimizer.b1 = 0.8
    config.optimizer.b2 = 0.99
    config.optimizer.eps = 1e-9
    config.optimizer.weight_decay = 0.01
    config.optimizer.schedule = "tri_stage"
    config.optimizer.warmup = 0.02
    config.optimizer.hold = 0.5
    config.optimizer.final_scale = 0.1
    config.log_every = 20
    config.checkpoint.every = 700
    return config
