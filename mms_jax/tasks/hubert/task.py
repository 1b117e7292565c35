"""Masked prediction of clusters as a task: HuBERT's first round (Hsu et al. 2021). It is not the objective of MMS.

The targets of wav2vec 2.0 are learned, and a small budget ends before they are worth predicting. Clusters of cepstra are
there from the first step.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from input_pipeline.corpora.storage import Corpus
from input_pipeline.dataset import DataNeeds, training_data
from input_pipeline.decode import Batch
from mms_jax.audio.waveform import SAMPLE_RATE
from mms_jax.errors import CorpusError
from mms_jax.models.description import ENCODER, Description
from mms_jax.models.functional import FunctionalModel
from mms_jax.models.layers import compute_dtype, length_mask
from mms_jax.models.wav2vec2.config import Wav2Vec2Config
from mms_jax.models.wav2vec2.heads import Wav2Vec2ForClusters
from mms_jax.models.wav2vec2.masking import Masking
from mms_jax.tasks.backbone import backbone_geometry, check_backbone, check_maskable, frozen_extractor
from mms_jax.tasks.base import Evaluation, Task
from mms_jax.tasks.gradient_update import gradient_update
from mms_jax.tasks.hubert import config as defaults
from mms_jax.tasks.hubert import metrics
from mms_jax.tasks.hubert.loss import cluster_loss, cluster_shares
from mms_jax.tasks.hubert.targets import WIDTH, cepstra, fit_centers, nearest
from mms_jax.tasks.masked_evaluation import make_evaluation
from mms_jax.tasks.weighted import Loss, Weighted

Array = jax.Array


class HubertTask(Task):
    """Prediction of the cluster of masked frames."""

    name = "hubert"
    kind = ENCODER
    figures = metrics.FIGURES
    default_config = staticmethod(defaults.default_config)
    check_config = staticmethod(check_backbone)
    format_result = staticmethod(metrics.format_table)
    update = gradient_update

    def __init__(self, config: ConfigDict, model: Wav2Vec2Config, centers: np.ndarray):
        """Stores the settings of the loss.

        Args:
          config: the experiment.
          model: the geometry.
          centers: float32 (clusters, width), of the targets.
        """
        self.model, self.centers = model, centers
        self.dtype = compute_dtype(config.compute_dtype)
        self.masking = Masking(**config.masking)
        self.unmasked_weight = config.hubert.unmasked_weight
        self.needs = _needs(model)
        self.frozen = ("centers:-1", *frozen_extractor(model))

    @classmethod
    def from_corpora(cls, config: ConfigDict, corpora: Sequence[Corpus]) -> "HubertTask":
        """See Task. The centers are fitted to speech from the corpora."""
        model = backbone_geometry(config)
        check_maskable(config, corpora, model)
        frames = _sample_frames(config, corpora, model)
        return cls(config, model, fit_centers(frames, config.hubert.clusters, config.seed))

    @classmethod
    def from_description(cls, config: ConfigDict, description: Description) -> "HubertTask":
        """See Task."""
        centers = np.zeros((config.hubert.clusters, WIDTH), np.float32)  # the checkpoint's take their place
        return cls(config, Wav2Vec2Config.from_json(description["model"]), centers)

    def build(self, key: Array) -> Wav2Vec2ForClusters:
        """See Task."""
        return Wav2Vec2ForClusters(self.model, self.centers, dtype=self.dtype, rngs=nnx.Rngs(params=key))

    def describe(self) -> Description:
        """See Task."""
        return {"kind": self.kind, "model": self.model.to_json()}

    def loss(self, module: Wav2Vec2ForClusters, batch: Batch, key: Array, step: Array, *, train: bool = True) -> Loss:
        """Cross-entropy, a mean over masked frames, and over the others by `unmasked_weight`.

        Args:
          module: from `build`.
          batch: waveforms (rows, samples) and lengths (rows,).
          key: randomness of this step.
          step: unused.
          train: False for evaluation: no dropout, but the same masking.
        """
        del step
        loss, shares = self._loss_and_shares(module, batch, key, train=train)
        chance = Weighted(jnp.max(shares.sum), shares.weight)
        return Loss(loss.total, loss.metrics | {"chance": chance})

    def _loss_and_shares(
        self, module: Wav2Vec2ForClusters, batch: Batch, key: Array, *, train: bool
    ) -> tuple[Loss, Weighted]:
        waveforms, lengths = batch["waveforms"], batch["lengths"]
        targets = nearest(cepstra(waveforms, lengths, self.model), jax.lax.stop_gradient(module.centers[...]))
        logits, masked = module(waveforms, lengths, masking=self.masking, key=key, train=train)
        real = length_mask(self.model.frames(lengths), logits.shape[1])
        loss = cluster_loss(logits, targets, masked, real, self.unmasked_weight)
        return loss, cluster_shares(targets, masked, len(self.centers))

    def make_evaluation(self, model: FunctionalModel, gathered: jax.sharding.Sharding) -> Evaluation:
        """See Task: accuracy and loss over all masked frames; one cluster is the guess for all of them."""

        def loss(module: Wav2Vec2ForClusters, batch: Batch, key: Array, step: Array, *, train: bool) -> Loss:
            del step
            found, shares = self._loss_and_shares(module, batch, key, train=train)
            return Loss(found.total, found.metrics | {"chance": shares})

        return make_evaluation(loss, model, gathered, metrics.FIGURES)


def _needs(model: Wav2Vec2Config) -> DataNeeds:
    return DataNeeds(crop=True, waveform_epsilon=model.waveform_epsilon)


def _sample_frames(config: ConfigDict, corpora: Sequence[Corpus], model: Wav2Vec2Config) -> np.ndarray:
    """Cepstra of the first `cluster_minutes` that the run hears, float32 (frames, width)."""
    plan, decoder = training_data(config.input, corpora, _needs(model), config.seed)
    heard, found, step = 0.0, [], 0
    compute = jax.jit(lambda waveforms, lengths: cepstra(waveforms, lengths, model))
    while heard < 60.0 * config.hubert.cluster_minutes and step < plan.batches:
        batch = decoder(plan.batch(step))
        features = np.asarray(compute(batch["waveforms"], batch["lengths"]))
        found += [row[:frames] for row, frames in zip(features, model.frames(batch["lengths"]))]
        heard += float(batch["lengths"].sum()) / SAMPLE_RATE
        step += 1
    frames = np.concatenate(found)
    if len(frames) < config.hubert.clusters:
        raise CorpusError(
            f"the corpora have {len(frames)} frames for config.hubert.clusters={config.hubert.clusters}; add speech, or "
            "lower the number of clusters"
        )
    return frames
