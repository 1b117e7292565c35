"""A small voice from one synthetic reader, in a quarter of an hour on two cores.

python -m input_pipeline.prepare spoken_phrases --config=reader --data_dir=data
python -m mms_jax.train --config=configs/tts_phrases.py --workdir=runs/voice
python -m mms_jax.evaluate --config=configs/tts_phrases.py --workdir=runs/voice --config.tts.recogniser=runs/asr
mms-jax speak "mkulima mzee anakumbuka hadithi nzuri" --model runs/voice --out voice.wav
"""

from ml_collections import ConfigDict

from mms_jax.config import default_config


def get_config() -> ConfigDict:
    """The experiment."""
    config = default_config()
    config.task = "tts"
    config.total_steps = 800
    config.tts.geometry = "tiny"
    config.input.corpora = ("spoken_phrases/reader:train",)
    config.input.eval_corpora = ("spoken_phrases/reader:test",)
    config.input.bucket_seconds = (5.0,)  # one shape: compiling the step takes longer than some hundred of them
    config.input.min_seconds = 0.6
    config.input.batch_seconds = 40.0
    # Five times the usual rate: a few hundred updates are all that there is time for.
    config.optimizer.learning_rate = 1e-3
    config.optimizer.b1 = 0.8
    config.optimizer.b2 = 0.99
    config.optimizer.eps = 1e-9
    config.optimizer.weight_decay = 0.01
    config.optimizer.schedule = "tri_stage"
    config.optimizer.warmup = 0.02
    config.optimizer.hold = 0.5
    config.optimizer.final_scale = 0.1
    config.log_every = 20
    config.checkpoint.every = 400
    return config
