"""Convolutional generator and critic: DCGAN and, with other settings, WGAN-GP, SNGAN (plain or residual) or SAGAN."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from gansweep.config import Frozen, TrialConfig, validated
from trainables.algorithms.adversarial import AdversarialGan
from trainables.algorithms.checks import check_critic, check_halved_attention, halvings
from trainables.layers.blocks import (
    CriticHead,
    append_mask_map,
    attention_at,
    initialise,
    spectrally_normalised,
    upsampler,
)
from trainables.layers.double_backward import Conv2d, LeakyReLU, leaky_relu
from trainables.layers.norms import norm_layer

if TYPE_CHECKING:
    from collections.abc import Callable

    from gansweep.contracts import ImageSpec, Trainables
    from trainables.conditioning.conditionings import Conditioning
    from trainables.layers.critic_output import CriticOutput

    Attention = Callable[[int], nn.Module]

__all__ = ["Architecture", "Dcgan", "DcganBody", "DcganCritic", "DcganGenerator"]


class Architecture(Frozen):
    """The networks of `dcgan`.

    Args:
        latent: size of the noise.
        width: channels at half the image's resolution; doubled at each halving, up to eight times.
        depth: number of halvings between the image and the smallest feature map; 0 halves down to 4 to 7 pixels.
        generator_norm: normalisation of the generator.
        critic_norm: normalisation of the critic; spectral normalises its weights, spectral_batch also its features.
        upsampling: how the generator doubles its resolution.
        residual: whether to use SNGAN's residual blocks instead of one convolution per resolution.
        attention_size: attention, if any, is placed at the largest feature map of at most this many pixels.
        critic_output: linear, or sigmoid for losses that allow a bounded critic.
    """

    latent: int = Field(128, ge=1, le=1024)
    width: int = Field(64, ge=4, le=512)
    depth: int = Field(0, ge=0, le=7)
    generator_norm: Literal["batch", "group", "instance", "pixel", "none"] = "batch"
    critic_norm: Literal["none", "layer", "group", "instance", "spectral", "batch", "spectral_batch"] = "none"
    upsampling: Literal["nearest", "bilinear", "transposed", "pixel_shuffle"] = "nearest"
    residual: bool = False
    attention_size: int = Field(16, ge=4, le=64)
    critic_output: Literal["linear", "sigmoid"] = "linear"


class Dcgan(AdversarialGan):
    """DCGAN (Radford et al. 2016), with later techniques as settings.

    Difference from the paper: weights use He initialisation instead of N(0, 0.02).

    Several published methods are settings of this family, and of any other family from noise to image:

    - cGAN: `conditioning = "concat"`; AC-GAN: `"auxiliary"`; projection critic: `"projection"`;
    - WGAN: `loss.kind = "wasserstein"` with `loss.clip` and no penalty; WGAN-GP: with the gradient penalty;
    - LSGAN: `loss.kind = "least_squares"`; multi-class hinge GAN: `"multi_class_hinge"` with the projection critic;
    - SAGAN: `attention = "self_attention"`, spectral normalisation and the hinge loss.

    Args:
        config: the trial's configuration.
        spec: shape of the images: 8 to 1024 pixels, any number of channels.
        trainables: registries of the names in the configuration.
    """

    Architecture: ClassVar[type[Frozen]] = Architecture
    smallest: ClassVar[dict[str, bool | int | float | str]] = {"latent": 4, "width": 4, "attention_size": 8}

    def __init__(self, config: TrialConfig, spec: ImageSpec, trainables: Trainables) -> None:
        shape = _architecture(type(self), config)
        needs_classes = trainables.losses[config.loss.kind].needs_classes
        conditioning = trainables.conditionings[config.conditioning](spec)
        attention = trainables.attentions[config.attention]
        super().__init__(
            config,
            spec,
            trainables,
            DcganGenerator(shape, spec, conditioning, attention),
            DcganCritic(shape, spec, conditioning, attention, classifies=needs_classes),
            latent=shape.latent,
            mixes_images="batch" in shape.critic_norm,
        )

    @classmethod
    def check(cls, config: TrialConfig, spec: ImageSpec | None, trainables: Trainables) -> None:
        """Rejects images that the networks cannot be built for, and a loss or penalty that does not fit the critic."""
        shape = _architecture(cls, config)
        if spec is not None:
            stages, base = halvings(spec, shape.depth, config.family)
            check_halved_attention(config, trainables, stages, base)
        check_critic(
            config,
            trainables.losses[config.loss.kind],
            trainables.penalties[config.penalty.kind],
            norm=shape.critic_norm,
            blocks=cls.critic_blocks(config, spec),
            sigmoid=shape.critic_output == "sigmoid",
        )

    @classmethod
    def critic_blocks(cls, config: TrialConfig, spec: ImageSpec | None) -> int | None:
        """Returns the number of the critic's blocks; None while it depends on images that are not known.

        Raises:
            ConfigError: the size of the images is not divisible often enough.
        """
        depth = _architecture(cls, config).depth
        if spec is None:
            return depth or None
        stages, _ = halvings(spec, depth, config.family)
        return stages


class DcganGenerator(nn.Module):
    """A generator from noise to image.

    Args:
        shape: the architecture.
        spec: shape of the images.
        conditioning: decides what is appended to the noise.
        attention: makes the attention module for a number of channels.
    """

    def __init__(self, shape: Architecture, spec: ImageSpec, conditioning: Conditioning, attention: Attention) -> None:
        super().__init__()
        stages, self.base = halvings(spec, shape.depth, "dcgan")
        widths = [shape.width * 2 ** min(stage, 3) for stage in reversed(range(stages))]
        self.start = nn.Linear(shape.latent + conditioning.code_size, widths[0] * self.base**2)
        self.start_norm = norm_layer(shape.generator_norm, widths[0])
        block = _UpResidual if shape.residual else _Up
        sizes = [self.base * 2**stage for stage in range(1, stages)]
        self.blocks = nn.ModuleList(
            block(channels + conditioning.map_channels, out, shape) for channels, out in itertools.pairwise(widths)
        )
        self.attentions = attention_at(attention, sizes, widths[1:], shape.attention_size)
        self.last = upsampler(shape.upsampling, widths[-1] + conditioning.map_channels, spec.channels)
        initialise(self)

    def forward(self, noise: Tensor, code: Tensor, mask_map: Tensor | None) -> Tensor:
        """Maps `[b, latent]`, `[b, code_size]` and `[b, map_channels, H, W]` to images `[b, C, H, W]` in [-1, 1]."""
        x = self.start(torch.cat([noise, code.to(noise.dtype)], dim=1)).unflatten(1, (-1, self.base, self.base))
        x = F.relu(self.start_norm(x))
        for block, attention in zip(self.blocks, self.attentions, strict=True):
            x = attention(block(append_mask_map(x, mask_map)))
        images: Tensor = self.last(append_mask_map(x, mask_map)).tanh()
        return images


class DcganBody(nn.Module):
    """The convolutional body of critic and encoder: feature maps, each half as large as the one before.

    Args:
        shape: the architecture.
        spec: shape of the images.
        planes: number of channels appended to the image.
        attention: makes the attention module for a number of channels.
        norm: normalisation of each block except the first.
    """

    def __init__(self, shape: Architecture, spec: ImageSpec, planes: int, attention: Attention, norm: str) -> None:
        super().__init__()
        stages, self.base = halvings(spec, shape.depth, "dcgan")
        widths = [shape.width * 2 ** min(stage, 3) for stage in range(stages)]
        inputs = [spec.channels + planes, *widths[:-1]]
        norms = ["none", *[norm] * (stages - 1)]  # the first layer is not normalised (Radford et al. 2016)
        block = _DownResidual if shape.residual else _Down
        self.blocks = nn.ModuleList(
            block(channels, out, kind) for channels, out, kind in zip(inputs, widths, norms, strict=True)
        )
        sizes = [spec.size // 2 ** (stage + 1) for stage in range(stages)]
        self.attentions = attention_at(attention, sizes, widths, shape.attention_size)
        self.out = widths[-1]

    def features(self, images: Tensor) -> list[Tensor]:
        """Returns the outputs of all blocks for images `[b, C + planes, H, W]`, from large to small."""
        features = []
        x = images
        for block, attention in zip(self.blocks, self.attentions, strict=True):
            x = attention(block(x))
            features.append(x)
        return features


class DcganCritic(DcganBody):
    """A critic from image to score.

    Args:
        shape: the architecture.
        spec: shape of the images.
        conditioning: decides which planes are appended to the image, and which heads there are.
        attention: makes the attention module for a number of channels.
        classifies: adds a classifier head whatever the conditioning.
    """

    def __init__(
        self,
        shape: Architecture,
        spec: ImageSpec,
        conditioning: Conditioning,
        attention: Attention,
        *,
        classifies: bool,
    ) -> None:
        super().__init__(shape, spec, conditioning.plane_channels, attention, shape.critic_norm)
        sigmoid = shape.critic_output == "sigmoid"
        self.head = CriticHead(self.out, self.base, conditioning, sigmoid=sigmoid, classifies=classifies)
        initialise(self)
        if "spectral" in shape.critic_norm:
            spectrally_normalised(self)

    def blocks_from_image(self) -> list[tuple[nn.Module, ...]]:
        """Returns each block and the attention after it, from the image."""
        return list(zip(self.blocks, self.attentions, strict=True))

    def forward(self, images: Tensor, labels: Tensor) -> CriticOutput:
        """`[b, C + plane_channels, H, W]` and labels `[b]` to scores, with every block's output as features."""
        output: CriticOutput = self.head(self.features(images), labels)
        return output


class _Up(nn.Sequential):
    """Upsample, convolve, normalise, activate."""

    def __init__(self, channels: int, out: int, shape: Architecture) -> None:
        super().__init__(upsampler(shape.upsampling, channels, out), norm_layer(shape.generator_norm, out), nn.ReLU())


class _UpResidual(nn.Module):
    """SNGAN's generator block (Miyato et al. 2018, figure 8), in post-activation order."""

    def __init__(self, channels: int, out: int, shape: Architecture) -> None:
        super().__init__()
        self.main = nn.Sequential(
            upsampler(shape.upsampling, channels, out),
            norm_layer(shape.generator_norm, out),
            nn.ReLU(),
            nn.Conv2d(out, out, 3, padding=1),
            norm_layer(shape.generator_norm, out),
        )
        # A 1x1 convolution commutes with nearest-neighbour upsampling, and before it has a quarter of the pixels.
        self.skip = nn.Sequential(nn.Conv2d(channels, out, 1), nn.Upsample(scale_factor=2))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.main(x) + self.skip(x))


class _Down(nn.Sequential):
    """A strided convolution."""

    def __init__(self, channels: int, out: int, norm: str) -> None:
        super().__init__(Conv2d(channels, out, 4, stride=2, padding=1), norm_layer(norm, out), LeakyReLU(0.2))


class _DownResidual(nn.Module):
    """SNGAN's critic block, in post-activation order."""

    def __init__(self, channels: int, out: int, norm: str) -> None:
        super().__init__()
        self.main = nn.Sequential(
            Conv2d(channels, out, 3, padding=1),
            norm_layer(norm, out),
            LeakyReLU(0.2),
            Conv2d(out, out, 3, padding=1),
            nn.AvgPool2d(2),
            norm_layer(norm, out),
        )
        self.skip = nn.Sequential(nn.AvgPool2d(2), Conv2d(channels, out, 1))

    def forward(self, x: Tensor) -> Tensor:
        return leaky_relu(self.main(x) + self.skip(x), 0.2)


def _architecture(family: type[Dcgan], config: TrialConfig) -> Architecture:
    shape = validated(family.Architecture, config.architecture, where=f"architecture of {config.family}")
    return cast("Architecture", shape)
