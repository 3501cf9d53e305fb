"""R3GAN (Huang et al. 2024): modern networks without normalisation.

This file has only the networks. The paper's method uses them with `loss.kind = "relativistic"` and
`penalty.kind = "r1_r2"`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, TypeVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from gansweep.config import Frozen, TrialConfig, validated
from trainables.algorithms.adversarial import AdversarialGan
from trainables.algorithms.checks import check_critic, halvings
from trainables.layers.blocks import CriticHead, append_mask_map, attention_at
from trainables.layers.double_backward import Conv2d, leaky_relu
from trainables.layers.equalised import GAIN, SLOPE

if TYPE_CHECKING:
    from collections.abc import Callable

    from gansweep.contracts import ImageSpec, Trainables
    from trainables.conditioning.conditionings import Conditioning
    from trainables.layers.critic_output import CriticOutput

    Attention = Callable[[int], nn.Module]

__all__ = ["R3gan", "ResidualBlock"]


Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)


class Architecture(Frozen):
    """The networks of `r3gan`.

    Args:
        latent: size of the noise.
        width: channels at the image's resolution; doubled at each halving, up to eight times.
        blocks: number of residual blocks at each resolution.
        expansion: channels inside a block relative to those outside.
        group: channels per group of a block's 3x3 convolution.
        attention_size: attention, if any, is placed at the largest feature map of at most this many pixels.
    """

    latent: int = Field(64, ge=1, le=1024)
    width: int = Field(32, ge=4, le=512)
    blocks: int = Field(1, ge=1, le=4)
    expansion: int = Field(2, ge=1, le=4)
    group: int = Field(16, ge=1, le=128)
    attention_size: int = Field(16, ge=4, le=64)


class R3gan(AdversarialGan):
    """ResNeXt-like blocks with Fixup initialisation, bilinear resampling, and a learned basis at the smallest map.

    Args:
        config: the trial's configuration.
        spec: shape of the images: 8 to 1024 pixels, any number of channels.
        trainables: registries of the names in the configuration.
    """

    Architecture: ClassVar[type[Frozen]] = Architecture
    smallest: ClassVar[dict[str, bool | int | float | str]] = {
        "latent": 4,
        "width": 4,
        "group": 4,
        "attention_size": 8,
    }

    def __init__(self, config: TrialConfig, spec: ImageSpec, trainables: Trainables) -> None:
        shape = _architecture(config)
        needs_classes = trainables.losses[config.loss.kind].needs_classes
        conditioning = trainables.conditionings[config.conditioning](spec)
        attention = trainables.attentions[config.attention]
        stages, base = halvings(spec, 0, config.family)
        sizes = [base * 2**stage for stage in range(stages + 1)]
        super().__init__(
            config,
            spec,
            trainables,
            _Generator(shape, spec, conditioning, attention, sizes),
            _Critic(shape, spec, conditioning, attention, sizes, classifies=needs_classes),
            latent=shape.latent,
            mixes_images=False,
        )

    @classmethod
    def check(cls, config: TrialConfig, spec: ImageSpec | None, trainables: Trainables) -> None:
        """Rejects sizes that cannot be halved, and a loss or penalty that does not fit the critic."""
        _architecture(config)
        blocks = None if spec is None else halvings(spec, 0, config.family)[0] + 1
        loss = trainables.losses[config.loss.kind]
        penalty = trainables.penalties[config.penalty.kind]
        check_critic(config, loss, penalty, norm="none", blocks=blocks)


class ResidualBlock(nn.Module):
    """A residual block of 1x1, grouped 3x3 and 1x1 convolutions (figure 4), initially the identity.

    Args:
        channels: input and output channels.
        inner: channels inside.
        group: channels per group of the 3x3 convolution; a single group if `inner` is not divisible.
        depth: number of residual blocks in the whole network, for the initialisation.
    """

    def __init__(self, channels: int, inner: int, group: int, depth: int) -> None:
        super().__init__()
        groups = inner // group if inner % group == 0 else 1
        # Fixup (Zhang et al. 2019): with L branches of m layers, weights get the factor L^(-1 / (2m - 2)), the last 0.
        gain = GAIN * depth**-0.25
        self.first = _init_normal(Conv2d(channels, inner, 1), gain)
        self.grouped = _init_normal(Conv2d(inner, inner, 3, padding=1, groups=groups), gain)
        self.last = _init_normal(Conv2d(inner, channels, 1, bias=False), 0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Keeps the shape."""
        inner = leaky_relu(self.first(x), SLOPE)
        inner = leaky_relu(self.grouped(inner), SLOPE)
        total: Tensor = x + self.last(inner)
        return total


class _Generator(nn.Module):
    """A learned basis scaled by the noise, then residual blocks and upsampling."""

    def __init__(
        self,
        shape: Architecture,
        spec: ImageSpec,
        conditioning: Conditioning,
        attention: Attention,
        sizes: list[int],
    ) -> None:
        super().__init__()
        widths = _widths(shape, len(sizes))[::-1]
        extra = conditioning.map_channels
        self.basis = nn.Parameter(torch.randn(widths[0], sizes[0], sizes[0]))
        self.start = _init_normal(nn.Linear(shape.latent + conditioning.code_size, widths[0], bias=False), 1.0)
        inputs = [widths[0], *widths[:-1]]
        self.transitions = nn.ModuleList(
            _transition(inner + extra, out) for inner, out in zip(inputs, widths, strict=True)
        )
        self.stages = nn.ModuleList(_stage(shape, width, len(sizes)) for width in widths)
        self.attentions = attention_at(attention, sizes, widths, shape.attention_size)
        self.out = _init_normal(Conv2d(widths[-1], spec.channels, 1, bias=False), 1.0)

    def forward(self, noise: Tensor, code: Tensor, mask_map: Tensor | None) -> Tensor:
        """Maps `[b, latent]`, `[b, code_size]` and `[b, map_channels, H, W]` to images `[b, C, H, W]`, not bounded."""
        scales = self.start(torch.cat([noise, code.to(noise.dtype)], dim=1))
        x = self.basis * scales[:, :, None, None]
        for number, (transition, stage, attention) in enumerate(
            zip(self.transitions, self.stages, self.attentions, strict=True)
        ):
            if number:
                x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = attention(stage(transition(append_mask_map(x, mask_map))))
        images: Tensor = self.out(x)
        return images


class _Critic(nn.Module):
    """Residual blocks and downsampling, then the inner product of each channel with a learned basis."""

    def __init__(
        self,
        shape: Architecture,
        spec: ImageSpec,
        conditioning: Conditioning,
        attention: Attention,
        sizes: list[int],
        *,
        classifies: bool,
    ) -> None:
        super().__init__()
        widths = _widths(shape, len(sizes))
        inputs = [spec.channels + conditioning.plane_channels, *widths[:-1]]
        self.transitions = nn.ModuleList(_transition(inner, out) for inner, out in zip(inputs, widths, strict=True))
        self.stages = nn.ModuleList(_stage(shape, width, len(sizes)) for width in widths)
        self.attentions = attention_at(attention, sizes[::-1], widths, shape.attention_size)
        last = widths[-1]
        self.basis = _init_normal(Conv2d(last, last, sizes[0], groups=last, bias=False), 1.0)
        self.head = CriticHead(last, 1, conditioning, classifies=classifies)
        # The layers of the head are initialised like all others here.
        for layer in (self.head.score, self.head.embedding, self.head.classify):
            if layer is not None:
                _init_normal(layer, 1.0)

    def blocks_from_image(self) -> list[tuple[nn.Module, ...]]:
        """Returns each stage, with the transition before it and the attention after it."""
        return list(zip(self.transitions, self.stages, self.attentions, strict=True))

    def forward(self, images: Tensor, labels: Tensor) -> CriticOutput:
        """`[b, C + plane_channels, H, W]` and labels `[b]` to scores, with every stage's output as features."""
        features: list[Tensor] = []
        x = images
        for transition, stage, attention in zip(self.transitions, self.stages, self.attentions, strict=True):
            x = transition(x)
            if features:
                x = F.avg_pool2d(x, 2)
            x = attention(stage(x))
            features.append(x)
        output: CriticOutput = self.head([*features, self.basis(x)], labels)
        return output


def _stage(shape: Architecture, width: int, stages: int) -> nn.Sequential:
    inner = width * shape.expansion
    depth = stages * shape.blocks
    return nn.Sequential(*(ResidualBlock(width, inner, shape.group, depth) for _ in range(shape.blocks)))


def _transition(channels: int, out: int) -> nn.Module:
    """Returns a 1x1 convolution to another number of channels, or the identity if the number is the same."""
    return nn.Identity() if channels == out else _init_normal(Conv2d(channels, out, 1, bias=False), 1.0)


def _widths(shape: Architecture, stages: int) -> list[int]:
    """Returns channels of each feature map, from the image's resolution down."""
    return [shape.width * 2 ** min(stage, 3) for stage in range(stages)]


@torch.no_grad()
def _init_normal(layer: Layer, gain: float) -> Layer:
    """Initialises a layer so that the mean square of independent inputs is multiplied by `gain`²; biases are zero."""
    fan_in = layer.weight[0].numel()
    nn.init.normal_(layer.weight, std=gain / math.sqrt(fan_in))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _architecture(config: TrialConfig) -> Architecture:
    return validated(Architecture, config.architecture, where=f"architecture of {config.family}")
