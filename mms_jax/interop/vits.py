"""VITS voices: reads and writes Hugging Face's folders, and reads the original's G_*.pth and D_*.pth.

Hugging Face stores the generator's weights folded and the WaveNets' with weight norm; the original stores all of them
with weight norm. Here a voice always has weight norm, with which it is trained: a folded kernel becomes its own
direction.
"""

import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from mms_jax.checkpoint import StoredModel
from mms_jax.errors import ConversionError
from mms_jax.files import read_json, read_text
from mms_jax.interop.huggingface import read_vocabularies, read_weights, respelled, shapes_of
from mms_jax.interop.huggingface_export import make_folder, save_json
from mms_jax.interop.keys import REVERSED, Entry, Layout, Place, Tensor, fill, spread
from mms_jax.interop.safetensors_files import save_safetensors
from mms_jax.interop.torch_files import read_torch
from mms_jax.models.description import VOICE, Description
from mms_jax.models.functional import Params
from mms_jax.models.vits.config import VitsConfig
from mms_jax.models.vits.discriminators import Discriminators
from mms_jax.models.vits.durations import SEPARABLE_LAYERS
from mms_jax.models.vits.model import Vits, fold_weight_norm
from mms_jax.text.voice_tokenizer import VoiceTokenizer

_FLOAT = np.dtype(np.float32)
_MAGNITUDE, _DIRECTION = "parametrizations.weight.original0", "parametrizations.weight.original1"
_TRANSPOSED_CONV = Layout(lambda x: x.transpose(2, 0, 1), lambda x: x.transpose(1, 2, 0))  # (in, out, taps) there
_SHARED = Layout(lambda x: x[0], lambda x: x[None])  # (1, distances, width): one for all heads
_LENGTHS = Layout(lambda x: x.reshape(-1), lambda x: x.reshape(-1, 1, 1))
_COLUMN = Layout(lambda x: x[:, 0], lambda x: x[:, None])

# Settings of Hugging Face's configuration that are fixed in this model, with their values.
_FIXED = {
    "hidden_act": "relu", "use_bias": True, "layer_norm_eps": 1e-5, "leaky_relu_slope": 0.1, "wavenet_dilation_rate": 1,
    "depth_separable_channels": 2, "depth_separable_num_layers": SEPARABLE_LAYERS,
}  # fmt: skip
# Hugging Face's name of each field, with its default.
_FIELDS: dict[str, tuple[str, Any]] = {
    "vocabulary": ("vocab_size", 38),
    "hidden": ("hidden_size", 192),
    "layers": ("num_hidden_layers", 6),
    "heads": ("num_attention_heads", 2),
    "window": ("window_size", 4),
    "mlp": ("ffn_dim", 768),
    "mlp_kernel": ("ffn_kernel_size", 3),
    "dropout": ("hidden_dropout", 0.1),
    "latent": ("flow_size", 192),
    "bins": ("spectrogram_bins", 513),
    "wavenet_kernel": ("wavenet_kernel_size", 5),
    "posterior_layers": ("posterior_encoder_num_wavenet_layers", 16),
    "flow_layers": ("prior_encoder_num_wavenet_layers", 4),
    "flows": ("prior_encoder_num_flows", 4),
    "stochastic_durations": ("use_stochastic_duration_prediction", True),
    "duration_width": ("duration_predictor_filter_channels", 256),
    "duration_kernel": ("duration_predictor_kernel_size", 3),
    "duration_dropout": ("duration_predictor_dropout", 0.5),
    "duration_flows": ("duration_predictor_num_flows", 4),
    "spline_bins": ("duration_predictor_flow_bins", 10),
    "spline_bound": ("duration_predictor_tail_bound", 5.0),
    "decoder_channels": ("upsample_initial_channel", 512),
    "upsample_rates": ("upsample_rates", (8, 8, 2, 2)),
    "upsample_kernels": ("upsample_kernel_sizes", (16, 16, 4, 4)),
    "resblock_kernels": ("resblock_kernel_sizes", (3, 7, 11)),
    "resblock_dilations": ("resblock_dilation_sizes", ((1, 3, 5),) * 3),
    "speakers": ("num_speakers", 1),
    "speaker_width": ("speaker_embedding_size", 0),
    "rate": ("sampling_rate", 16_000),
    "noise_scale": ("noise_scale", 0.667),
    "noise_scale_duration": ("noise_scale_duration", 0.8),
    "speaking_rate": ("speaking_rate", 1.0),
}

_DURATIONS = r"dp\.((?:(?:post_)?flows\.\d+\.|post_)?)"  # the predictor itself, its posterior, or one of their flows
# (pattern of the original's name, Hugging Face's), tried in order.
_NAMES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"enc_p\.emb\.(.*)", r"text_encoder.embed_tokens.\1"),
        (r"enc_p\.encoder\.attn_layers\.(\d+)\.conv_([qkv])\.(.*)", r"text_encoder.encoder.layers.\1.attention.\2_proj.\3"),
        (r"enc_p\.encoder\.attn_layers\.(\d+)\.conv_o\.(.*)", r"text_encoder.encoder.layers.\1.attention.out_proj.\2"),
        (r"enc_p\.encoder\.attn_layers\.(\d+)\.(emb_rel_[kv])", r"text_encoder.encoder.layers.\1.attention.\2"),
        (r"enc_p\.encoder\.norm_layers_1\.(\d+)\.(.*)", r"text_encoder.encoder.layers.\1.layer_norm.\2"),
        (r"enc_p\.encoder\.norm_layers_2\.(\d+)\.(.*)", r"text_encoder.encoder.layers.\1.final_layer_norm.\2"),
        (r"enc_p\.encoder\.ffn_layers\.(\d+)\.(.*)", r"text_encoder.encoder.layers.\1.feed_forward.\2"),
        (r"enc_p\.proj\.(.*)", r"text_encoder.project.\1"),
        (r"enc_q\.pre\.(.*)", r"posterior_encoder.conv_pre.\1"),
        (r"enc_q\.enc\.(.*)", r"posterior_encoder.wavenet.\1"),
        (r"enc_q\.proj\.(.*)", r"posterior_encoder.conv_proj.\1"),
        (r"flow\.flows\.(\d+)\.pre\.(.*)", r"flow.flows.\1.conv_pre.\2"),
        (r"flow\.flows\.(\d+)\.enc\.(.*)", r"flow.flows.\1.wavenet.\2"),
        (r"flow\.flows\.(\d+)\.post\.(.*)", r"flow.flows.\1.conv_post.\2"),
        (r"dp\.((?:post_)?flows\.0)\.m", r"duration_predictor.\1.translate"),
        (r"dp\.((?:post_)?flows\.0)\.logs", r"duration_predictor.\1.log_scale"),
        (_DURATIONS + r"pre\.(.*)", r"duration_predictor.\1conv_pre.\2"),
        (_DURATIONS + r"convs\.convs_sep\.(.*)", r"duration_predictor.\1conv_dds.convs_dilated.\2"),
        (_DURATIONS + r"convs\.convs_1x1\.(.*)", r"duration_predictor.\1conv_dds.convs_pointwise.\2"),
        (_DURATIONS + r"convs\.(norms_[12])\.(.*)", r"duration_predictor.\1conv_dds.\2.\3"),
        (_DURATIONS + r"proj\.(.*)", r"duration_predictor.\1conv_proj.\2"),
        (r"dp\.(.*)", r"duration_predictor.\1"),
        (r"dec\.ups\.(.*)", r"decoder.upsampler.\1"),
        (r"dec\.(.*)", r"decoder.\1"),
        (r"emb_g\.(.*)", r"embed_speaker.\1"),
    )
)  # fmt: skip


class _Voice(Place):
    """A place with entries for convolutions."""

    def conv(self, name: str, *path: str, bias: bool = True, layout: Layout = REVERSED) -> Iterator[Entry]:
        yield self.entry(f"{name}.weight", *path, "kernel", layout=layout)
        if bias:
            yield self.entry(f"{name}.bias", *path, "bias")

    def normed(self, name: str, *path: str, layout: Layout = REVERSED) -> Iterator[Entry]:
        yield self.entry(f"{name}.{_MAGNITUDE}", *path, "magnitude", layout=_LENGTHS)
        yield self.entry(f"{name}.{_DIRECTION}", *path, "direction", layout=layout)
        yield self.entry(f"{name}.bias", *path, "bias")


def entries(config: VitsConfig, *, folded: bool = False) -> Iterator[Entry]:
    """Every tensor of Hugging Face's VitsModel; with `folded`, the generator's weight norm is folded."""
    root = _Voice("", ())
    yield from _text_entries(root, config)
    posterior = root.inside("posterior_encoder.", "posterior")
    yield from posterior.conv("conv_pre", "into")
    yield from _wavenet_entries(posterior.inside("wavenet.", "wavenet"), config, config.posterior_layers)
    yield from posterior.conv("conv_proj", "out")
    for number in range(config.flows):
        coupling = root.inside(f"flow.flows.{number}.", "flow", "couplings", index=(number,))
        yield from coupling.conv("conv_pre", "into")
        yield from _wavenet_entries(coupling.inside("wavenet.", "wavenet"), config, config.flow_layers)
        yield from coupling.conv("conv_post", "out")
    durations = root.inside("duration_predictor.", "durations")
    yield from (_stochastic_entries if config.stochastic_durations else _duration_entries)(durations, config)
    yield from _generator_entries(root.inside("decoder.", "generator"), config, folded)
    if config.speaker_width:
        yield root.entry("embed_speaker.weight", "speakers")


def _text_entries(root: _Voice, config: VitsConfig) -> Iterator[Entry]:
    encoder = root.inside("text_encoder.", "text_encoder")
    yield encoder.entry("embed_tokens.weight", "embedding")
    for number in range(config.layers):
        layer = encoder.inside(f"encoder.layers.{number}.", "layers", index=(number,))
        for theirs, ours in (("q", "query"), ("k", "key"), ("v", "value"), ("out", "out")):
            yield from layer.linear(f"attention.{theirs}_proj", "attention", ours)
        yield layer.entry("attention.emb_rel_k", "attention", "distance_keys", layout=_SHARED)
        yield layer.entry("attention.emb_rel_v", "attention", "distance_values", layout=_SHARED)
        yield from layer.norm("layer_norm", "attention_norm")
        yield from layer.conv("feed_forward.conv_1", "up")
        yield from layer.conv("feed_forward.conv_2", "down")
        yield from layer.norm("final_layer_norm", "mlp_norm")
    yield from encoder.conv("project", "out")


def _wavenet_entries(place: _Voice, config: VitsConfig, layers: int) -> Iterator[Entry]:
    for number in range(layers):
        last = number == layers - 1
        layer = place.inside("", "last") if last else place.inside("", "layers", index=(number,))
        yield from layer.normed(f"in_layers.{number}", "gated")
        yield from layer.normed(f"res_skip_layers.{number}", "out")
    if config.speaker_width:
        yield from place.normed("cond_layer", "speaker")


def _stochastic_entries(place: _Voice, config: VitsConfig) -> Iterator[Entry]:
    for theirs, ours in (("", ""), ("post_", "posterior_")):
        yield from place.conv(f"{theirs}conv_pre", f"{ours}into")
        yield from place.conv(f"{theirs}conv_proj", f"{ours}out")
        yield from _separable_entries(place.inside(f"{theirs}conv_dds.", f"{ours}convs"))
        flow = place.inside(f"{theirs}flows.", f"{ours}flow")
        yield flow.entry("0.translate", "shift", layout=_COLUMN)
        yield flow.entry("0.log_scale", "log_scale", layout=_COLUMN)
        for number in range(config.duration_flows):
            coupling = flow.inside(f"{number + 1}.", "couplings", index=(number,))
            yield from coupling.conv("conv_pre", "into")
            yield from _separable_entries(coupling.inside("conv_dds.", "convs"))
            yield from coupling.conv("conv_proj", "out")
    if config.speaker_width:
        yield from place.conv("cond", "speaker")


def _separable_entries(place: _Voice) -> Iterator[Entry]:
    for number in range(SEPARABLE_LAYERS):
        yield from place.conv(f"convs_dilated.{number}", "depthwise", str(number))
        yield from place.conv(f"convs_pointwise.{number}", "pointwise", str(number))
        yield from place.norm(f"norms_1.{number}", "depthwise_norms", str(number))
        yield from place.norm(f"norms_2.{number}", "pointwise_norms", str(number))


def _duration_entries(place: _Voice, config: VitsConfig) -> Iterator[Entry]:
    yield from place.conv("conv_1", "first")
    yield from place.norm("norm_1", "first_norm")
    yield from place.conv("conv_2", "second")
    yield from place.norm("norm_2", "second_norm")
    yield from place.conv("proj", "out")
    if config.speaker_width:
        yield from place.conv("cond", "speaker")


def _generator_entries(place: _Voice, config: VitsConfig, folded: bool) -> Iterator[Entry]:
    conv = place.conv if folded else place.normed
    yield from place.conv("conv_pre", "into")
    blocks = len(config.resblock_kernels)
    for number in range(len(config.upsample_rates)):
        yield from conv(f"upsampler.{number}", "ups", str(number), layout=_TRANSPOSED_CONV)
        for block in range(number * blocks, (number + 1) * blocks):
            for layer in range(len(config.resblock_dilations[block - number * blocks])):
                if config.resblock == 1:
                    yield from conv(f"resblocks.{block}.convs1.{layer}", "blocks", str(block), "dilated", str(layer))
                    yield from conv(f"resblocks.{block}.convs2.{layer}", "blocks", str(block), "plain", str(layer))
                else:
                    yield from conv(f"resblocks.{block}.convs.{layer}", "blocks", str(block), "dilated", str(layer))
    yield from place.conv("conv_post", "out", bias=False)
    if config.speaker_width:
        yield from place.conv("cond", "speaker")


def discriminator_entries(config: VitsConfig) -> Iterator[Entry]:
    """Every tensor of the original's D_*.pth, without the single column of two-dimensional kernels."""
    stacks = [("scale",), *(("periods", str(number)) for number in range(len(config.periods)))]
    for number, path in enumerate(stacks):
        place = _Voice(f"discriminators.{number}.", path)
        for layer in range(6 if number == 0 else 5):
            yield from place.normed(f"convs.{layer}", "convs", str(layer))
        yield from place.normed("conv_post", "score")


def is_folder(path: pathlib.Path) -> bool:
    """Whether this is a voice: a folder that Hugging Face wrote, or one with the original's G_*.pth."""
    config = path / "config.json"
    if not config.is_file():
        return False
    return read_json(config, ConversionError).get("model_type") == "vits" or any(path.glob("G_*.pth"))


def load_folder(folder: pathlib.Path) -> StoredModel:
    """Loads a voice.

    Args:
      folder: one that Hugging Face's `save_pretrained` wrote, or one with the original's config.json, vocab.txt,
        G_STEPS.pth and, for further training, D_STEPS.pth (MMS's `full_model` archives, unpacked).

    Returns:
      The description and float32 NumPy parameters, {"voice": ..., "discriminators": ...}; the latter only where there
      are some.

    Raises:
      ConversionError: another kind of model, or tensors or a vocabulary that do not fit.
    """
    fields = read_json(folder / "config.json", ConversionError)
    if fields.get("model_type") != "vits":
        generators = sorted(folder.glob("G_*.pth"), key=_steps)
        return load_original(generators[-1])
    config = model_config(fields, str(folder))
    text = _tokenizer(folder)
    voice = _voice(config, text, read_weights(folder), str(folder))
    return StoredModel(0, _description(config, text), {"voice": voice})


def load_original(path: pathlib.Path) -> StoredModel:
    """Loads G_STEPS.pth of the original code, with the files beside it; see `load_folder`."""
    folder = path.parent
    for name in ("config.json", "vocab.txt"):
        if not (folder / name).exists():
            raise ConversionError(f"{path}: there is no {name} beside it; unpack the whole archive into one folder")
    fields = read_json(folder / "config.json", ConversionError)
    data = fields.get("data", {})
    tensors = {original_name(name): value for name, value in _state(path).items()}
    tensors = {name: _squeezed(value) if "_proj.weight" in name and ".attention." in name else value
               for name, value in tensors.items()}  # fmt: skip
    if "duration_predictor.conv_pre.weight" not in tensors:  # the deterministic predictor calls its last layer proj
        tensors = {name.replace("duration_predictor.conv_proj.", "duration_predictor.proj."): value
                   for name, value in tensors.items()}  # fmt: skip
    text = VoiceTokenizer(
        # A line is a symbol, and one of them is a space.
        tuple(read_text(folder / "vocab.txt", ConversionError).removesuffix("\n").split("\n")),
        language=folder.name if re.fullmatch(r"[a-z]{3}(-.+)?", folder.name) else "",
        add_blank=bool(data.get("add_blank", True)),
        uroman=str(data.get("training_files", "")).endswith(".uroman"),
    )
    config = original_config(fields, len(text), str(path))
    params = {"voice": _voice(config, text, tensors, str(path))}
    discriminators = path.with_name(path.name.replace("G_", "D_", 1))
    if discriminators.exists():
        state = {respelled(name): _columnless(value) for name, value in _state(discriminators).items()}
        shapes = shapes_of(lambda rngs: Discriminators(config, dtype=_FLOAT, rngs=rngs))
        params["discriminators"] = fill(shapes, discriminator_entries(config), state, str(discriminators))
    return StoredModel(_steps(path), _description(config, text), params)


def model_config(fields: Mapping[str, Any], source: str) -> VitsConfig:
    """The geometry that Hugging Face's config.json describes.

    Raises:
      ConversionError: a variant that is not supported; the message names the setting.
    """
    for name, needed in _FIXED.items():
        if fields.get(name, needed) != needed:
            raise ConversionError(
                f"{source}: config.json has {name}={fields[name]!r}; only voices with {needed!r} are supported"
            )
    return VitsConfig.from_json({ours: fields.get(theirs, default) for ours, (theirs, default) in _FIELDS.items()})


def original_config(fields: Mapping[str, Any], vocabulary: int, source: str) -> VitsConfig:
    """The geometry that the original's config.json describes."""
    try:
        model, data = fields["model"], fields["data"]
        kind = int(model["resblock"])
        return VitsConfig.from_json(
            {
                "vocabulary": vocabulary,
                "hidden": model["hidden_channels"],
                "layers": model["n_layers"],
                "heads": model["n_heads"],
                "mlp": model["filter_channels"],
                "mlp_kernel": model["kernel_size"],
                "dropout": model["p_dropout"],
                "latent": model["inter_channels"],
                "bins": data["filter_length"] // 2 + 1,
                "stochastic_durations": model.get("use_sdp", True),
                "decoder_channels": model["upsample_initial_channel"],
                "upsample_rates": model["upsample_rates"],
                "upsample_kernels": model["upsample_kernel_sizes"],
                "resblock": kind,
                "resblock_kernels": model["resblock_kernel_sizes"],
                # Blocks of kind 2 have two convolutions, even if more dilations are listed.
                "resblock_dilations": [d[: 2 if kind == 2 else None] for d in model["resblock_dilation_sizes"]],
                "speakers": max(1, data.get("n_speakers", 0)),
                "speaker_width": model.get("gin_channels", 0),
                "rate": data["sampling_rate"],
            }
        )
    except KeyError as error:
        raise ConversionError(f"{source}: config.json beside it lacks {error}") from error


def original_name(name: str) -> str:
    """Hugging Face's name of a tensor of G_*.pth."""
    for pattern, replacement in _NAMES:
        if pattern.fullmatch(name):
            name = pattern.sub(replacement, name)
            break
    # The original also numbers the channel reversals between couplings.
    name = re.sub(r"^(flow\.flows\.)(\d+)", lambda found: f"{found[1]}{int(found[2]) // 2}", name)
    name = re.sub(
        r"^(duration_predictor\.(?:post_)?flows\.)(\d+)", lambda found: f"{found[1]}{(int(found[2]) + 1) // 2}", name
    )
    if name.endswith((".gamma", ".beta")):
        name = name.replace(".gamma", ".weight").replace(".beta", ".bias")
    return respelled(name)


def save_folder(stored: StoredModel, folder: pathlib.Path) -> None:
    """Writes a voice as Hugging Face's `save_pretrained` would; discriminators are not written.

    Raises:
      ConversionError: a generator of kind 2, which Hugging Face does not support, or a folder that holds a model.
    """
    config = VitsConfig.from_json(stored.description["model"])
    text = VoiceTokenizer.from_json(stored.description["text"])
    if config.resblock != 1:
        raise ConversionError("Hugging Face supports only generators with residual blocks of kind 1")
    make_folder(folder)
    voice = stored.params["voice"]
    generator = jax.device_get(fold_weight_norm({"generator": voice["generator"]}))
    save_safetensors(folder / "model.safetensors", spread({**voice, **generator}, entries(config, folded=True)))
    described = config.to_json()
    fields = {theirs: described[ours] for ours, (theirs, _) in _FIELDS.items()}
    dropouts = {"attention_dropout": config.dropout, "activation_dropout": config.dropout}
    save_json(
        folder / "config.json", {"model_type": "vits", "architectures": ["VitsModel"], **_FIXED, **fields, **dropouts}
    )
    save_json(folder / "vocab.json", {token: number for number, token in enumerate(text.tokens)})
    tokenizer = {"tokenizer_class": "VitsTokenizer", "language": text.language, "add_blank": text.add_blank,
                 "normalize": True, "phonemize": False, "is_uroman": text.uroman, "pad_token": text.tokens[0],
                 "unk_token": "<unk>"}  # fmt: skip
    save_json(folder / "tokenizer_config.json", tokenizer)


def _voice(config: VitsConfig, text: VoiceTokenizer, tensors: dict[str, Tensor], source: str) -> Params:
    """The parameters of a voice from tensors by Hugging Face's names, folded or not."""
    shapes = shapes_of(lambda rngs: Vits(config, dtype=_FLOAT, rngs=rngs))
    wanted = list(entries(config))
    for entry in wanted:
        plain = entry.key.replace(_MAGNITUDE, "weight")
        if entry.key.endswith(_MAGNITUDE) and plain in tensors:
            tensors |= _unfolded(plain.removesuffix("weight"), tensors.pop(plain))
    embedding = tensors.get("text_encoder.embed_tokens.weight")
    if embedding and embedding.shape[0] != len(text):
        raise ConversionError(
            f"{source}: its vocabulary has {len(text)} symbols and its weights are for {embedding.shape[0]}; take both "
            "from the same place"
        )
    return fill(shapes, wanted, tensors, source)


def _unfolded(prefix: str, weight: Tensor) -> dict[str, Tensor]:
    """Weight norm that is equivalent to a folded weight; one norm for each entry of the first axis."""

    def lengths() -> np.ndarray:
        return np.sqrt(np.sum(weight.read().astype(np.float32) ** 2, axis=(1, 2), keepdims=True))

    return {prefix + _MAGNITUDE: Tensor((weight.shape[0], 1, 1), lengths), prefix + _DIRECTION: weight}


def _description(config: VitsConfig, text: VoiceTokenizer) -> Description:
    return {"kind": VOICE, "model": config.to_json(), "text": text.to_json()}


def _tokenizer(folder: pathlib.Path) -> VoiceTokenizer:
    vocabulary = folder / "vocab.json"
    if not vocabulary.exists():
        raise ConversionError(f"{folder}: holds no vocab.json, which numbers the symbols")
    [tokens] = read_vocabularies(vocabulary).values()
    path = folder / "tokenizer_config.json"
    fields = read_json(path, ConversionError) if path.exists() else {}
    if fields.get("phonemize"):
        raise ConversionError(f"{folder}: this voice reads phonemes; converting text to phonemes is not supported")
    return VoiceTokenizer(
        tokens, fields.get("language") or "", fields.get("add_blank", True), fields.get("is_uroman", False)
    )


def _state(path: pathlib.Path) -> dict[str, Tensor]:
    stored = read_torch(path)
    state = stored.get("model", stored) if isinstance(stored, dict) else stored
    if not isinstance(state, Mapping) or not any(isinstance(value, Tensor) for value in state.values()):
        raise ConversionError(f"{path}: holds no weights of a VITS model")
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def _squeezed(tensor: Tensor) -> Tensor:
    return Tensor(tensor.shape[:2], lambda: tensor.read()[:, :, 0])


def _columnless(tensor: Tensor) -> Tensor:
    return Tensor(tensor.shape[:3], lambda: tensor.read()[..., 0]) if len(tensor.shape) == 4 else tensor


def _steps(path: pathlib.Path) -> int:
    digits = re.search(r"_(\d+)\.pth$", path.name)
    return int(digits[1]) if digits else 0
