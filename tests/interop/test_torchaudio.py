"""MMS's forced aligner in torchaudio's layout."""

import numpy as np
import pytest

import mms_jax
from mms_jax.errors import ConversionError
from mms_jax.inference.recognizer import log_softmax
from mms_jax.interop.keys import Tensor
from mms_jax.interop.torch_files import read_torch
from mms_jax.interop.torchaudio import load_state


def test_scores_are_the_pipelines(fixture_file):
    model = mms_jax.load(fixture_file("torchaudio/mms_fa.pt"))
    assert model.languages == ("und",)
    assert "".join(model.vocabulary.tokens_of("und")[1:]) == "aienoutsrmkldghybpwcvjzf'qx"
    with np.load(fixture_file("torchaudio/answers.npz")) as answers:
        for number in range(2):
            logits = model.logits([answers[f"waveform{number}"]], language="und")[0]
            np.testing.assert_allclose(log_softmax(logits), answers[f"log_probs{number}"], atol=1e-4)


def test_another_model_is_refused(fixture_file):
    state = read_torch(fixture_file("torchaudio/mms_fa.pt"))
    other = state | {"aux.weight": Tensor((29, 32), lambda: np.zeros((29, 32), np.float32))}
    with pytest.raises(ConversionError, match="29 symbols"):
        load_state(other, "other.pt")
    del state["encoder.transformer.layers.0.feed_forward.intermediate_dense.weight"]
    with pytest.raises(ConversionError, match=r"other\.pt.*intermediate_dense"):
        load_state(state, "other.pt")
