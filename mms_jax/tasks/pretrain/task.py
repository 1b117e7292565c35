"""wav2vec 2.0 pretraining as a task."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from input_pipeline.corpora.storage import Corpus
from input_pipeline.dataset import DataNeeds
from input_pipeline.decode import Batch
from mms_jax.models.description import ENCODER, Description
from mms_jax.models.functional import FunctionalModel
from mms_jax.models.layers import compute_dtype, length_mask
from mms_jax.models.wav2vec2.config import Wav2Vec2Config
from mms_jax.models.wav2vec2.heads import Predictions, Wav2Vec2ForPretraining
from mms_jax.models.wav2vec2.masking import Masking
from mms_jax.models.wav2vec2.quantizer import gumbel_temperature
from mms_jax.tasks.backbone import backbone_geometry, check_backbone, check_maskable, frozen_extractor
from mms_jax.tasks.base import Evaluation, Task
from mms_jax.tasks.gradient_update import gradient_update
from mms_jax.tasks.masked_evaluation import make_evaluation
from mms_jax.tasks.pretrain import config as defaults
from mms_jax.tasks.pretrain import loss as losses
from mms_jax.tasks.pretrain import metrics
from mms_jax.tasks.weighted import Loss, Weighted

Array = jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Totals:
    """Sums over a batch.

    Attributes:
      probabilities: float32 (codebooks, codes), see `losses.code_totals`.
      masked, counted, frames: numbers of masked frames, of those with a weight, and of all real frames.
    """

    probabilities: Array
    masked: Array
    counted: Array
    frames: Array


def _totals(out: Predictions, counted: Array, frames: Array) -> Totals:
    return Totals(
        *losses.code_totals(out.quantized.logits, out.valid), *(x.astype(jnp.float32) for x in (counted, frames))
    )


class PretrainTask(Task):
    """Contrastive prediction of masked frames."""

    name = "pretrain"
    kind = ENCODER
    figures = metrics.FIGURES
    default_config = staticmethod(defaults.default_config)
    check_config = staticmethod(check_backbone)
    format_result = staticmethod(metrics.format_table)
    update = gradient_update

    def __init__(self, config: ConfigDict, model: Wav2Vec2Config):
        """Stores the settings of the loss.

        Args:
          config: the experiment.
          model: the geometry.
        """
        self.model = model
        self.dtype = compute_dtype(config.compute_dtype)
        self.masking = Masking(**config.masking)
        self.settings = config.pretrain.to_dict()
        self.frozen = frozen_extractor(model)
        self.needs = DataNeeds(crop=True, waveform_epsilon=model.waveform_epsilon)

    @classmethod
    def from_corpora(cls, config: ConfigDict, corpora: Sequence[Corpus]) -> "PretrainTask":
        """See Task."""
        model = backbone_geometry(config)
        check_maskable(config, corpora, model)
        return cls(config, model)

    @classmethod
    def from_description(cls, config: ConfigDict, description: Description) -> "PretrainTask":
        """See Task."""
        return cls(config, Wav2Vec2Config.from_json(description["model"]))

    def build(self, key: Array) -> Wav2Vec2ForPretraining:
        """See Task."""
        return Wav2Vec2ForPretraining(self.model, dtype=self.dtype, rngs=nnx.Rngs(params=key))

    def describe(self) -> Description:
        """See Task."""
        return {"kind": self.kind, "model": self.model.to_json()}

    def loss(
        self,
        module: Wav2Vec2ForPretraining,
        batch: Batch,
        key: Array,
        step: Array,
        *,
        train: bool = True,
        totals: Totals | None = None,
    ) -> Loss:
        """InfoNCE + weighted diversity + weighted feature penalty, each a mean over masked (or real) frames.

        Args:
          module: from `build`.
          batch: waveforms (rows, samples) and lengths (rows,).
          key: randomness of this step.
          step: int, updates so far, for the temperature of the Gumbel softmax.
          train: False for evaluation: no noise and no dropout, but the same masking.
          totals: of the batch that this one is a part of; None for a batch of its own.
        """
        s = self.settings
        out, negative_key = self._predict(module, batch, key, step, train)
        codes = out.quantized.codes
        negatives = losses.sample_negatives(negative_key, out.valid, s["negatives"])
        contrastive, accuracy = losses.contrastive_loss(
            out.predicted, out.target, codes, negatives, out.valid, s["temperature"]
        )
        frames = length_mask(out.encoded.frames, out.encoded.masked.shape[1])
        penalty = losses.feature_penalty(out.encoded.extracted, frames)
        own = _totals(out, contrastive.weight, penalty.weight)
        whole = own if totals is None else totals
        # Diversity is a function of the whole batch: its value is the same in all parts, and each has the gradient through
        # its own frames.
        probabilities = jax.lax.stop_gradient(whole.probabilities - own.probabilities) + own.probabilities
        diversity = losses.diversity_loss(probabilities, whole.masked)
        value = jax.lax.stop_gradient(diversity)
        diversity_sum = value * contrastive.weight + (diversity - value) * whole.counted
        penalty_sum = penalty.sum * whole.counted / jnp.maximum(whole.frames, 1.0)
        total = contrastive.sum + s["diversity_weight"] * diversity_sum + s["penalty_weight"] * penalty_sum
        perplexity = losses.code_perplexity(whole.probabilities, whole.masked)
        return Loss(
            Weighted(total, contrastive.weight),
            {
                "contrastive": contrastive,
                "accuracy": accuracy,
                "chance": losses.chance_accuracy(codes, negatives, out.valid),
                "diversity": Weighted(value * contrastive.weight, contrastive.weight),
                "feature_penalty": penalty,
                "code_perplexity": Weighted(perplexity, jnp.ones(())),
            },
        )

    def totals(self, module: Wav2Vec2ForPretraining, batch: Batch, key: Array) -> Totals:
        """The sums over a batch that the loss of each of its parts needs. The encoder is not run for them."""
        out, _ = self._predict(module, batch, key, jnp.zeros((), jnp.int32), train=True)
        return _totals(out, jnp.sum(losses.counted_frames(out.valid)), jnp.sum(out.encoded.frames))

    def _predict(
        self, module: Wav2Vec2ForPretraining, batch: Batch, key: Array, step: Array, train: bool
    ) -> tuple[Predictions, Array]:
        """Predictions, and the key of the distractors."""
        s = self.settings
        forward_key, negative_key = jax.random.split(key)
        temperature = gumbel_temperature(step, s["gumbel_start"], s["gumbel_end"], s["gumbel_decay"])
        out = module(
            batch["waveforms"],
            batch["lengths"],
            masking=self.masking,
            key=forward_key,
            temperature=temperature,
            train=train,
        )
        return out, negative_key

    def make_evaluation(self, model: FunctionalModel, gathered: jax.sharding.Sharding) -> Evaluation:
        """See Task: accuracy and loss over all masked frames."""
        return make_evaluation(self.loss, model, gathered, metrics.FIGURES)
