"""A task is added without touching the program: its class, and a line in the table of tasks.

The toy tells the language of an utterance from the mean of its features. It has a head, labels, a loss and a metric of its
own; the loop, the data, the checkpoints and the evaluation know it only through `mms_jax.tasks.base.Task`.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import mms_jax
from input_pipeline.dataset import DataNeeds, language_hours
from mms_jax import tasks
from mms_jax.checkpoint import load_model
from mms_jax.config import flatten_config
from mms_jax.errors import CheckpointError, ConfigError, LanguageError
from mms_jax.evaluate import evaluate
from mms_jax.models.layers import linear
from mms_jax.models.wav2vec2.config import Wav2Vec2Config
from mms_jax.models.wav2vec2.model import Wav2Vec2
from mms_jax.tasks.backbone import backbone_config, backbone_geometry
from mms_jax.tasks.base import Task
from mms_jax.tasks.gradient_update import gradient_update
from mms_jax.tasks.weighted import Loss, Weighted
from mms_jax.train import train
from tests.conftest import tone_experiment


class Languages:
    """A tokenizer without transcripts."""

    def __init__(self, languages):
        self.languages = tuple(languages)

    def language_index(self, language):
        if language not in self.languages:
            raise LanguageError(f"no language {language!r}; this model knows {', '.join(self.languages)}")
        return self.languages.index(language)


class ToyModel(nnx.Module):
    def __init__(self, config, languages, rngs):
        self.backbone = Wav2Vec2(config, rngs=rngs)
        self.toy_head = linear(config.hidden, languages, (None, None), dtype=jnp.float32, rngs=rngs)

    def __call__(self, batch):
        return self.toy_head(self.backbone(batch["waveforms"], batch["lengths"]).context.mean(axis=1))


class ToyTask(Task):
    name = "toy"
    kind = "toy"
    default_config = staticmethod(backbone_config)
    update = gradient_update

    def __init__(self, config, model, languages):
        self.model, self.languages = model, languages
        self.needs = DataNeeds(Languages(languages), transcripts=False, crop=True, waveform_epsilon=1e-5)

    @classmethod
    def from_corpora(cls, config, corpora):
        return cls(config, backbone_geometry(config), sorted(language_hours(corpora)))

    @classmethod
    def from_description(cls, config, description):
        return cls(config, Wav2Vec2Config.from_json(description["model"]), description["toys"])

    def build(self, key):
        return ToyModel(self.model, len(self.languages), nnx.Rngs(params=key))

    def describe(self):
        return {"kind": self.kind, "model": self.model.to_json(), "toys": self.languages}

    def loss(self, module, batch, key, step):
        logits = module(batch)
        rows = optax.softmax_cross_entropy_with_integer_labels(logits, batch["language"])
        right, weight = jnp.argmax(logits, axis=-1) == batch["language"], jnp.sum(batch["counted"]).astype(jnp.float32)
        total = Weighted(jnp.sum(jnp.where(batch["counted"], rows, 0.0)), weight)
        return Loss(total, {"right": Weighted(jnp.sum(right & batch["counted"]).astype(jnp.float32), weight)})

    def make_evaluation(self, model, gathered):
        predict = jax.jit(
            lambda params, batch: self.loss(model.bind(params), batch, None, None).metrics["right"],
            out_shardings=gathered,
        )

        def run(params, data):
            found = [jax.device_get(predict(params, batch)) for batch in data.batches()]
            right, weight = (float(sum(getattr(one, name) for one in found)) for name in ("sum", "weight"))
            return {"toy_accuracy": right / weight, "utterances": int(weight)}

        return run

    @staticmethod
    def format_result(result):
        return f"toy accuracy {100 * result['toy_accuracy']:.1f} %"


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    monkeypatch.setitem(tasks.TASKS, "toy", ToyTask)


def test_a_new_task_is_trained_saved_restored_and_evaluated(tone_data, tmp_path):
    config = tone_experiment(tone_data, "toy")
    assert not any(name.startswith(("pretrain.", "tts.")) for name in flatten_config(config))
    config.total_steps, config.checkpoint.every, config.log_every, config.eval_every = 2, 1, 1, 2
    state = train(config, str(tmp_path))
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "right" in row] == [1, 2]
    assert [row["eval/utterances"] for row in rows if "eval/toy_accuracy" in row] == [12]

    again = train(config, str(tmp_path))  # restores the last step, and has nothing left to do
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(state.params), jax.device_get(again.params))
    stored = load_model(tmp_path)
    assert stored.description["task"] == "toy" and stored.description["toys"] == ["eng", "swh"]
    result = evaluate(config, str(tmp_path))
    assert result["utterances"] == 12 and 0 <= result["toy_accuracy"] <= 1
    assert ToyTask.format_result(result).startswith("toy accuracy")


def test_a_new_task_starts_from_any_model(tone_data, tmp_path, carried_over):
    pretrain = tone_experiment(tone_data, "pretrain")
    pretrain.total_steps = 1
    before = train(pretrain, str(tmp_path / "pretrain")).params
    config = tone_experiment(tone_data, "toy")
    config.total_steps, config.init_from = 1, str(tmp_path / "pretrain")
    config.optimizer.learning_rate = 0.0
    after = train(config, str(tmp_path / "toy")).params
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(before["backbone"]), jax.device_get(after["backbone"]))
    [table] = carried_over
    assert "taken  backbone" in table and "fresh  toy_head" in table and "left   quantizer" in table


def test_inference_refuses_a_kind_that_it_has_no_use_for(tone_data, tmp_path):
    config = tone_experiment(tone_data, "toy")
    config.total_steps = 1
    train(config, str(tmp_path))
    with pytest.raises(CheckpointError, match="kind 'toy', which has no use but evaluation"):
        mms_jax.load(tmp_path)


def test_a_config_of_another_task_is_refused(tone_config, tmp_path):
    tone_config.task = "tts"
    with pytest.raises(ConfigError, match=r"lacks: tts\.diagonal_prior_steps.*default_config\('tts'\)"):
        train(tone_config, str(tmp_path))
    tone_config.task = "song"
    with pytest.raises(ConfigError, match="choose one of pretrain, hubert, asr, lid, tts, toy"):
        train(tone_config, str(tmp_path))
