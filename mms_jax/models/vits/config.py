"""The geometry of a VITS model (Kim et al. 2021), and the named geometries."""

import dataclasses
import math
from typing import Any

from mms_jax.errors import ConfigError
from mms_jax.models.description import check_fields


@dataclasses.dataclass(frozen=True)
class VitsConfig:
    """The settings that determine the shapes of a voice's parameters and its regularization in training.

    Attributes:
      vocabulary: number of symbols of the text encoder.
      hidden: width of the text encoder, the WaveNets and the stochastic duration predictor.
      layers, heads: layers and attention heads of the text encoder.
      window: positions on either side for which attention has relative embeddings.
      mlp, mlp_kernel: width and kernel of the text encoder's convolutional feed-forward block.
      dropout: rate in the text encoder.
      latent: width of the latent variables; must be even.
      bins: frequency bins of the linear spectrogram, the input of the posterior encoder.
      wavenet_kernel: kernel width of every WaveNet layer.
      posterior_layers, flow_layers: WaveNet layers of the posterior encoder, and of each coupling.
      flows: affine couplings of the prior.
      stochastic_durations: whether durations are sampled from a flow; otherwise convolutions predict them.
      duration_width: width of the convolutions that predict durations (not of the stochastic predictor).
      duration_kernel, duration_dropout: kernel width and dropout rate of either predictor.
      duration_flows: number of spline flows in the stochastic predictor, for durations and again for their posterior.
      spline_bins, spline_bound: bins and bound of its rational-quadratic splines, the identity outside of the bound.
      decoder_channels: channels of the generator before the first upsampling; each upsampling halves them.
      upsample_rates, upsample_kernels: of the transposed convolutions; the product of the rates is the hop.
      resblock: HiFi-GAN's kind 1 (pairs of convolutions, the second of each not dilated) or 2 (single convolutions).
      resblock_kernels, resblock_dilations: of the residual blocks after each upsampling, whose outputs are averaged.
      speakers: number of speakers; a single-speaker model has no embedding.
      speaker_width: width of the speaker embedding; 0 for a single-speaker model.
      discriminator_width: largest number of channels in the discriminators; a multiple of 64.
      periods: the periods p of the discriminators that take every p-th sample.
      rate: sampling rate in Hz.
      noise_scale, noise_scale_duration, speaking_rate: defaults for synthesis.
    """

    vocabulary: int = 38
    hidden: int = 192
    layers: int = 6
    heads: int = 2
    window: int = 4
    mlp: int = 768
    mlp_kernel: int = 3
    dropout: float = 0.1
    latent: int = 192
    bins: int = 513
    wavenet_kernel: int = 5
    posterior_layers: int = 16
    flow_layers: int = 4
    flows: int = 4
    stochastic_durations: bool = True
    duration_width: int = 256
    duration_kernel: int = 3
    duration_dropout: float = 0.5
    duration_flows: int = 4
    spline_bins: int = 10
    spline_bound: float = 5.0
    decoder_channels: int = 512
    upsample_rates: tuple[int, ...] = (8, 8, 2, 2)
    upsample_kernels: tuple[int, ...] = (16, 16, 4, 4)
    resblock: int = 1
    resblock_kernels: tuple[int, ...] = (3, 7, 11)
    resblock_dilations: tuple[tuple[int, ...], ...] = ((1, 3, 5),) * 3
    speakers: int = 1
    speaker_width: int = 0
    discriminator_width: int = 1024
    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    rate: int = 16_000
    noise_scale: float = 0.667
    noise_scale_duration: float = 0.8
    speaking_rate: float = 1.0

    def __post_init__(self):
        if len(self.upsample_rates) != len(self.upsample_kernels):
            raise ConfigError("upsample_rates and upsample_kernels must have one entry per upsampling")
        if len(self.resblock_kernels) != len(self.resblock_dilations):
            raise ConfigError("resblock_kernels and resblock_dilations must have one entry per residual block")
        for name, value, divisor, reason in (
            ("hidden", self.hidden, self.heads, "the attention heads"),
            ("latent", self.latent, 2, "the halves of a coupling"),
            ("discriminator_width", self.discriminator_width, 64, "the groups of the discriminators"),
            ("decoder_channels", self.decoder_channels, 2 ** len(self.upsample_rates), "a halving per upsampling"),
        ):
            if value % divisor:
                raise ConfigError(f"{name}={value} must be a multiple of {divisor}, for {reason}")
        for rate, kernel in zip(self.upsample_rates, self.upsample_kernels):
            if kernel < rate or (kernel - rate) % 2:
                raise ConfigError(f"upsample kernel {kernel} must exceed its rate {rate} by an even number")
        if self.resblock not in (1, 2):
            raise ConfigError(f"resblock={self.resblock}; choose 1 or 2")
        if (self.speakers > 1) != bool(self.speaker_width):
            raise ConfigError("speakers > 1 and speaker_width must be given together")

    @property
    def hop(self) -> int:
        """Samples from one frame to the next (256)."""
        return math.prod(self.upsample_rates)

    @property
    def fft(self) -> int:
        """Samples of a spectrogram's window (1024)."""
        return 2 * (self.bins - 1)

    @property
    def decoder_reach(self) -> int:
        """The receptive field of the generator: frames on either side that affect a frame's samples."""
        reach, step = 3.0, 1.0  # the first convolution has a kernel of 7
        for rate, kernel in zip(self.upsample_rates, self.upsample_kernels):
            reach += step * kernel / rate / 2
            step /= rate
            spans = [
                sum((k - 1) // 2 * (d + (self.resblock == 1)) for d in dilations)
                for k, dilations in zip(self.resblock_kernels, self.resblock_dilations)
            ]
            reach += step * max(spans)
        return math.ceil(reach + 3 * step) + 1

    def to_json(self) -> dict[str, Any]:
        """Plain types, for a checkpoint's description."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "VitsConfig":
        """The inverse of `to_json`. Raises CheckpointError for fields of a newer version."""
        check_fields(fields, cls)
        return cls(**{name: _as_tuple(value) for name, value in fields.items()})


def _as_tuple(value: Any) -> Any:
    return tuple(_as_tuple(entry) for entry in value) if isinstance(value, list | tuple) else value


GEOMETRIES: dict[str, VitsConfig] = {
    # For two CPU cores: the width of HiFi-GAN's V2, V3's two convolutions per residual block, the rest in proportion.
    "tiny": VitsConfig(
        hidden=96,
        layers=3,
        mlp=384,
        latent=64,
        posterior_layers=4,
        flow_layers=2,
        stochastic_durations=False,
        decoder_channels=128,
        upsample_rates=(8, 8, 4),
        upsample_kernels=(16, 16, 8),
        resblock_kernels=(3, 5, 7),
        resblock_dilations=((2,), (6,), (12,)),
        discriminator_width=128,
        periods=(2, 3, 5),
    ),
    "mms": VitsConfig(),
}


def geometry(name: str, **changes: Any) -> VitsConfig:
    """A named geometry with some fields changed.

    Args:
      name: "mms" (every published voice of MMS) or "tiny".
      **changes: fields of VitsConfig.

    Raises:
      ConfigError: the name is unknown, or the fields are inconsistent.
      TypeError: a field is unknown.
    """
    if name not in GEOMETRIES:
        raise ConfigError(f"no geometry {name!r} for voices; there are {', '.join(GEOMETRIES)}")
    return dataclasses.replace(GEOMETRIES[name], **changes)
