"""The geometry of a VITS model (Kim et al. 2021), and the named ones."""

import dataclasses
import math
from typing import Any


@dataclasses.dataclass(frozen=True)
class VitsConfig:
    """Everything that decides the shape of a voice's parameters, and how it is regularised in training.

    Attributes:
      vocabulary: symbols that the text encoder knows.
      hidden: width of the text encoder, the WaveNets and the stochastic duration predictor.
      layers, heads: of the text encoder.
      window: positions on either side for which attention has relative embeddings.
      mlp, mlp_kernel: width and kernel of the text encoder's convolutional feed-forward part.
      dropout: in the text encoder.
      latent: width of the latent variables; even.
      bins: of the linear spectrogram that the posterior encoder sees.
      wavenet_kernel: of every WaveNet layer.
      posterior_layers, flow_layers: WaveNet layers of the posterior encoder, and of each coupling.
      flows: affine couplings of the prior.
      stochastic_durations: durations are drawn from a flow; otherwise predicted by convolutions.
      duration_width: of the convolutions that predict durations (not of the stochastic predictor).
      duration_kernel, duration_dropout: of either.
      duration_flows: spline flows of the stochastic predictor, for durations and for their posterior.
      spline_bins, spline_bound: of its rational-quadratic splines; outside of the bound they are the identity.
      decoder_channels: of the generator before the first upsampling, which halves them, as every other does.
      upsample_rates, upsample_kernels: of the transposed convolutions; the product of the rates is the hop.
      resblock: HiFi-GAN's kind 1 (pairs of convolutions, the second of each not dilated) or 2 (single ones).
      resblock_kernels, resblock_dilations: of the residual blocks after each upsampling, which are averaged.
      speakers: that the model can tell apart; 1 for a single voice, which then has no embedding.
      speaker_width: of the speaker embedding; 0 for a single voice.
      discriminator_width: channels of the discriminators where they are widest; a multiple of 64.
      periods: of the discriminators that see every p-th sample.
      rate: samples a second.
      noise_scale, noise_scale_duration, speaking_rate: what `speak` takes unless told otherwise.
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
            raise ValueError("upsample_rates and upsample_kernels must have one entry an upsampling")
        if len(self.resblock_kernels) != len(self.resblock_dilations):
            raise ValueError("resblock_kernels and resblock_dilations must have one entry a residual block")
        for name, whole, part in (
            ("heads", self.hidden, self.heads),
            ("latent halves", self.latent, 2),
            ("discriminator_width parts", self.discriminator_width, 64),
            ("upsamplings of decoder_channels, 2 **", self.decoder_channels, 2 ** len(self.upsample_rates)),
        ):
            if whole % part:
                raise ValueError(f"{name}={part} must divide {whole}")
        for rate, kernel in zip(self.upsample_rates, self.upsample_kernels):
            if kernel < rate or (kernel - rate) % 2:
                raise ValueError(f"upsample kernel {kernel} must exceed its rate {rate} by an even number")
        if self.resblock not in (1, 2):
            raise ValueError(f"resblock={self.resblock}; choose 1 or 2")
        if (self.speakers > 1) != bool(self.speaker_width):
            raise ValueError("speakers > 1 and speaker_width are both given, or neither")

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
        """Frames on either side of one that the generator hears when it makes that frame's samples."""
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
        """The inverse of `to_json`. Raises TypeError where a field is unknown."""
        return cls(**{name: _as_tuple(value) for name, value in fields.items()})


def _as_tuple(value: Any) -> Any:
    return tuple(_as_tuple(entry) for entry in value) if isinstance(value, list | tuple) else value


GEOMETRIES: dict[str, VitsConfig] = {
    # Two cores: HiFi-GAN's V2 in width with two convolutions a residual block, as V3 has them; the rest in proportion.
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
      ValueError: no such name, or an impossible combination. TypeError: no such field.
    """
    if name not in GEOMETRIES:
        raise ValueError(f"no geometry {name!r} for voices; there are {', '.join(GEOMETRIES)}")
    return dataclasses.replace(GEOMETRIES[name], **changes)
