"""fairseq's files give what the same weights give from Hugging Face's folders.

The files are made here, from the stored folders, with fairseq's names and layout; no published file is shipped.
"""

import pickle
import zipfile

import jax
import numpy as np
import pytest

import mms_jax
from mms_jax.errors import ConversionError
from mms_jax.inference.find import find_model
from mms_jax.interop.fairseq import geometry
from mms_jax.interop.huggingface import load_folder, read_tensors, read_vocabularies

SETTINGS = {
    "extractor_mode": "layer_norm", "layer_norm_first": True, "conv_bias": True,
    "conv_feature_layers": "[(8, 10, 5)] + [(8, 3, 2)] * 3 + [(12,3,2)] + [(12,2,2)] * 2",
    "encoder_embed_dim": 24, "encoder_ffn_embed_dim": 32, "encoder_layers": 2, "encoder_attention_heads": 4,
    "conv_pos": 16, "conv_pos_groups": 4, "final_dim": 10, "latent_dim": 12, "latent_groups": 2, "latent_vars": 6,
}  # fmt: skip
# Written out apart from the code under test.
NAMES = {
    "wav2vec2.masked_spec_embed": "mask_emb",
    "wav2vec2.feature_projection.layer_norm": "layer_norm",
    "wav2vec2.feature_projection.projection": "post_extract_proj",
    "wav2vec2.encoder.pos_conv_embed.conv.parametrizations.weight.original0": "encoder.pos_conv.0.weight_g",
    "wav2vec2.encoder.pos_conv_embed.conv.parametrizations.weight.original1": "encoder.pos_conv.0.weight_v",
    "wav2vec2.encoder.pos_conv_embed.conv.bias": "encoder.pos_conv.0.bias",
    "quantizer.codevectors": "quantizer.vars",
    "project_hid": "final_proj",
    "lm_head": "proj",
    "projector": "pooling_layer.linear",
    "classifier": "pooling_layer.projection",
    "adapter_layer.norm.weight": "adapter_layer.ln_W",
    "adapter_layer.norm.bias": "adapter_layer.ln_b",
    "adapter_layer.linear_1.weight": "adapter_layer.W_a",
    "adapter_layer.linear_1.bias": "adapter_layer.b_a",
    "adapter_layer.linear_2.weight": "adapter_layer.W_b",
    "adapter_layer.linear_2.bias": "adapter_layer.b_b",
    "conv.weight": "0.weight",
    "conv.bias": "0.bias",
}


def fairseq_name(name):
    for theirs, old in NAMES.items():
        if name.startswith(theirs) or (theirs.startswith("adapter") and theirs in name):
            return name.replace("wav2vec2.encoder.layers", "encoder.layers").replace(theirs, old)
    if "conv_layers" in name:
        name = name.replace(".conv.", ".0.").replace(".layer_norm.", ".2.1.")
    name = name.replace("attention.", "self_attn.").replace("feed_forward.intermediate_dense", "fc1")
    name = name.replace("feed_forward.output_dense", "fc2").removeprefix("wav2vec2.")
    if name.startswith("encoder.layers.") and ".layer_norm." in name:
        name = name.replace(".layer_norm.", ".self_attn_layer_norm.")
    return name


class Dictionary:
    """Pickles as fairseq's."""

    def __init__(self, symbols):
        self.symbols = symbols


Dictionary.__module__ = "fairseq.data.dictionary"


class Float:
    """Pickles as torch.FloatStorage."""


Float.__module__, Float.__qualname__ = "torch", "FloatStorage"


class Rebuild:
    """Pickles as a call of torch's tensor constructor."""

    def __init__(self, writer, array):
        self.writer, self.array = writer, array

    def __reduce__(self):
        strides = tuple(step // 4 for step in np.empty(self.array.shape, np.float32).strides)
        return rebuild, (Stored(self.writer, self.array), 0, self.array.shape, strides, False, None)


def rebuild():
    pass


rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2"


class Stored:
    def __init__(self, writer, array):
        self.key = str(len(writer.storages))
        self.count = array.size
        writer.storages.append(np.ascontiguousarray(array, np.float32).tobytes())


class Writer(pickle._Pickler):
    """Writes what torch.save would, without PyTorch."""

    def __init__(self, stream):
        super().__init__(stream, protocol=2)
        self.storages = []

    def persistent_id(self, value):
        return ("storage", Float, value.key, "cpu", value.count) if isinstance(value, Stored) else None

    def save_global(self, value, name=None):
        self.write(pickle.GLOBAL + f"{value.__module__}\n{value.__qualname__}\n".encode())
        self.memoize(value)

    dispatch = pickle._Pickler.dispatch | {type: save_global, type(rebuild): save_global}


def write(path, content):
    """`content`, whose arrays become tensors, as an archive of torch.save."""
    with zipfile.ZipFile(path, "w") as archive, archive.open("model/data.pkl", "w") as stream:
        writer = Writer(stream)

        def tensors(value):
            if isinstance(value, dict):
                return {key: tensors(inner) for key, inner in value.items()}
            return Rebuild(writer, value) if isinstance(value, np.ndarray) else value

        writer.dump(tensors(content))
        stream.close()
        for number, data in enumerate(writer.storages):
            archive.writestr(f"model/data/{number}", data)
    return path


def state(path, prefix="", adapters=True):
    """The tensors of a stored file by fairseq's names."""
    named = {}
    for name, tensor in read_tensors(path).items():
        array = tensor.read()
        if "adapter_layer" in name:
            if not adapters:
                continue
            array = array[None]
        new = fairseq_name(name)
        inner = "" if new.startswith(("proj.", "pooling_layer")) else "w2v_model."
        start = prefix if not prefix or inner == "w2v_model." else prefix.removesuffix("w2v_model.")
        named[(start if not new.startswith("pooling") else "") + new] = array
    return named


def assert_same_model(one, other):
    jax.tree.map(np.testing.assert_array_equal, one.params, other.params)


def described(stored):
    """The description that the same model has from fairseq's file: everything but how waveforms are normalized."""
    model = stored.description["model"] | {"waveform_epsilon": 1e-5}
    return stored.description | {"model": model}


def test_pretrained(folder, tmp_path):
    content = {"args": None, "cfg": {"model": SETTINGS}, "model": state(folder("pretrain") / "model.safetensors")}
    ours = find_model(write(tmp_path / "base_300m.pt", content))
    theirs = load_folder(folder("pretrain"))
    assert ours.description == described(theirs)
    assert_same_model(ours, theirs)


def test_recognizer_with_its_table_of_adapters(folder, tmp_path):
    prefix = "w2v_encoder.w2v_model."
    vocabularies = read_vocabularies(folder("ctc") / "vocab.json")
    table = {
        language: {
            "model": state(folder("ctc") / f"adapter.{language}.safetensors", prefix),
            "task_state": {"target_dictionary": Dictionary(list(symbols))},
        }
        for language, symbols in vocabularies.items()
    }
    content = {
        "cfg": {"model": {"w2v_args": {"model": SETTINGS}}},
        "model": state(folder("ctc") / "model.safetensors", prefix),
        "adapter": table,
    }
    path = write(tmp_path / "mms1b_all.pt", content)
    assert_same_model(find_model(path), load_folder(folder("ctc")))
    assert find_model(path, ["swh"]).description == described(load_folder(folder("ctc"), ["swh"]))
    assert mms_jax.load(path, languages=["hin", "eng"]).languages == ("hin", "eng")
    with pytest.raises(ValueError, match="no language 'xxx'"):
        find_model(path, ["xxx"])


@pytest.mark.parametrize("activation", ["gelu", "linear"])
def test_identifier_with_the_activation_that_the_file_names(folder, tmp_path, activation):
    labels = ["eng", "swh", "hin", "ell", "fra"]
    content = {
        "cfg": {"model": {"w2v_args": {"model": SETTINGS}, "activation_fn": activation}},
        "model": state(folder("lid") / "model.safetensors", "w2v_encoder.w2v_model."),
        "task_state": {"target_dictionary": Dictionary(labels)},
    }
    path = write(tmp_path / "mms1b_l126.pt", content)
    ours, theirs = find_model(path), load_folder(folder("lid"))
    assert_same_model(ours, theirs)
    assert ours.description == described(theirs) | {"activation": activation}
    waveform = np.random.default_rng(0).normal(size=9000).astype(np.float32)
    logits = [mms_jax.load(model).logits([waveform])[0] for model in (path, folder("lid"))]
    assert np.allclose(*logits, atol=1e-5) == (activation == "linear")


def test_settings_are_read_and_not_evaluated():
    assert geometry(SETTINGS, "a.pt").conv_kernels == (10, 3, 3, 3, 3, 2, 2)
    with pytest.raises(ConversionError, match="cannot be read"):
        geometry(SETTINGS | {"conv_feature_layers": "__import__('os').system('true')"}, "a.pt")
    with pytest.raises(ConversionError, match="extractor_mode='default'"):
        geometry(SETTINGS | {"extractor_mode": "default"}, "a.pt")


def test_other_checkpoints_are_explained(tmp_path):
    with pytest.raises(ConversionError, match=r"of fairseq .* is not in it"):
        find_model(write(tmp_path / "a.pt", {"state_dict": {}}))
