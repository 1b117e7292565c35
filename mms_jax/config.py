"""Every key of an experiment, with its default. Files in `configs/` start from here and change what differs."""

from ml_collections import ConfigDict


def default_config() -> ConfigDict:
    """The defaults, locked: setting a key that is not here fails and names the nearest one."""
    config = ConfigDict()
    config.task = "asr"  # "asr" (CTC), "pretrain" or "tts" (VITS)
    config.seed = 0
    config.total_steps = 1000  # batches
    config.compute_dtype = "float32"  # "bfloat16" on accelerators; parameters and losses stay float32
    config.init_from = ""  # a run whose backbone initialises this one; ignored once this run has a checkpoint

    config.model = ConfigDict()
    config.model.geometry = "tiny"  # see mms_jax.models.wav2vec2.config
    config.model.dropout = 0.0
    config.model.activation_dropout = 0.0
    config.model.feature_dropout = 0.0
    config.model.layerdrop = 0.0
    config.model.feature_gradient_scale = 1.0  # 0 freezes the extractor
    config.model.remat = "none"  # "dots" or "full" trade time for memory

    config.masking = ConfigDict()
    config.masking.time_probability = 0.65
    config.masking.time_length = 10
    config.masking.time_minimum = 2
    config.masking.channel_probability = 0.0
    config.masking.channel_length = 64

    config.pretrain = ConfigDict()
    config.pretrain.negatives = 100
    config.pretrain.temperature = 0.1
    config.pretrain.gumbel_start = 2.0
    config.pretrain.gumbel_end = 0.1
    config.pretrain.gumbel_decay = 0.999995
    config.pretrain.diversity_weight = 0.1
    config.pretrain.penalty_weight = 0.0

    config.tts = ConfigDict()
    config.tts.geometry = "mms"  # see mms_jax.models.vits.config
    config.tts.segment = 8192  # samples of each recording that are generated in a step
    config.tts.mel_weight = 45.0
    config.tts.kl_weight = 1.0
    config.tts.flat_start = 0  # batches in which alignments are drawn to an even pace, less and less
    config.tts.adversarial_from = 0  # batches before the discriminators join in
    config.tts.uroman = False  # the corpus holds romanised transcripts: the voice romanises what it is to say
    config.tts.recogniser = ""  # a run that transcribes what the voice says, for evaluation

    config.input = ConfigDict()
    config.input.data_dir = "data"
    config.input.corpora = ("spoken_phrases/verses:train",)  # NAME:SPLIT
    config.input.eval_corpora = ("spoken_phrases/verses:test",)
    config.input.beta_corpus = 0.5
    config.input.beta_language = 0.5
    config.input.bucket_seconds = (4.0, 8.0, 12.0, 16.0, 20.0)
    config.input.min_seconds = 0.5
    config.input.max_characters = 0  # longer transcripts are left out; 0: no limit
    config.input.batch_seconds = 160.0  # audio in a global batch, padding included
    config.input.rows_multiple = 1  # rows of a batch; a multiple of the mesh's data * fsdp
    config.input.noise = ()  # (low, high): what is trained on gets noise at so many dB below the speech; (): none
    config.input.workers = 0  # decoding processes; 0 decodes in threads
    config.input.prefetch = 4  # batches
    config.input.max_bad_share = 0.01  # of the utterances; more that cannot be decoded stop the run

    config.optimizer = ConfigDict()
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 1e-3
    config.optimizer.b1 = 0.9
    config.optimizer.b2 = 0.98
    config.optimizer.eps = 1e-6
    config.optimizer.weight_decay = 0.0
    config.optimizer.clip_norm = 0.0  # 0: no clipping
    config.optimizer.accumulate = 1  # batches an update
    config.optimizer.schedule = "tri_stage"  # or "polynomial", "constant", "epochs"
    config.optimizer.warmup = 0.1  # share of the updates
    config.optimizer.hold = 0.4  # tri_stage: share of the updates
    config.optimizer.final_scale = 0.05  # tri_stage: last learning rate, relative to the peak; epochs: factor an epoch
    config.optimizer.average = 0.0  # decay of a moving average, which is what checkpoints are loaded as; 0: none
    config.optimizer.freeze = ()  # "PATH:UPDATES": parameters below PATH stand still for so many updates; -1: always

    config.mesh = ConfigDict()
    config.mesh.data = -1  # all devices that are left
    config.mesh.fsdp = 1
    config.mesh.tensor = 1

    config.log_every = 20
    config.eval_every = 0  # steps; 0 evaluates only when asked
    config.checkpoint = ConfigDict()
    config.checkpoint.every = 500
    config.checkpoint.keep = 2
    config.checkpoint.keep_every = 0  # keep these steps for good; 0: none
    config.profile = ConfigDict()
    config.profile.start = 0  # first step of a profile written to WORKDIR/profile; 0: none
    config.profile.steps = 3
    config.distributed = False  # join a cluster even where none is detected
    return config.lock()


# What may change when a run goes on: none of it touches the parameters it will reach.
MAY_CHANGE = ("input.workers", "input.prefetch", "input.data_dir", "input.eval_corpora", "input.max_bad_share", "mesh",
              "log_every", "eval_every", "checkpoint", "profile", "distributed", "init_from", "tts.recogniser")  # fmt: skip


def flatten_config(config: ConfigDict) -> dict[str, object]:
    """{"input.corpora": ..., ...}, with tuples as lists, as JSON gives them back."""
    flat: dict[str, object] = {}
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            flat |= {f"{name}.{inner}": leaf for inner, leaf in flatten_config(value).items()}
        else:
            flat[name] = list(value) if isinstance(value, tuple) else value
    return flat


def differing_keys(config: dict[str, object], other: dict[str, object]) -> list[str]:
    """The keys whose values differ and which decide what a run computes."""
    names = sorted(set(config) | set(other))
    fixed = [name for name in names if not any(name == free or name.startswith(free + ".") for free in MAY_CHANGE)]
    return [name for name in fixed if config.get(name) != other.get(name)]
