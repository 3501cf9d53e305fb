"""Fully connected generator and critic: the first GAN, and the floor that convolutional families are held against."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from gansweep.errors import ConfigError
from gansweep.experiment import Frozen, TrialConfig, validated
from trainables.adversarial import AdversarialGan
from trainables.blocks import CriticHead, initialise, spectrally_normalised
from trainables.checks import check_critic
from trainables.double_backward import leaky_relu
from trainables.norms import norm_layer

if TYPE_CHECKING:
    from gansweep.contracts import ImageSpec, Trainables
    from trainables.conditioning import Conditioning
    from trainables.losses import Judgement

__all__ = ["Fcgan"]


class Architecture(Frozen):
    """The networks of `fcgan`.

    Args:
        latent: size of the noise.
        width: units of the narrowest hidden layer; each layer nearer to the image has twice as many, up to eight times.
        layers: hidden layers of each network.
        generator_norm: normalisation in the generator.
        critic_norm: normalisation in the critic; spectral: of its weights.
        critic_output: linear, or a sigmoid for losses that can use a bounded critic.
    """

    latent: int = Field(100, ge=1, le=1024)
    width: int = Field(128, ge=4, le=4096)
    layers: int = Field(3, ge=1, le=8)
    generator_norm: Literal["batch", "layer", "none"] = "batch"
    critic_norm: Literal["none", "layer", "spectral", "batch"] = "none"
    critic_output: Literal["linear", "sigmoid"] = "linear"


class Fcgan(AdversarialGan):
    """Goodfellow et al. 2014, with LeakyReLU instead of maxout and normalisation instead of dropout.

    Args:
        config: the trial.
        spec: images of any size; the last layer grows with the number of pixels.
        trainables: losses, penalties and the rest.
    """

    Architecture: ClassVar[type[Frozen]] = Architecture
    smallest: ClassVar[dict[str, bool | int | float | str]] = {"latent": 4, "width": 4, "layers": 2}

    def __init__(self, config: TrialConfig, spec: ImageSpec, trainables: Trainables) -> None:
        shape = _architecture(config)
        needs_classes = trainables.losses[config.loss.kind].needs_classes
        conditioning = trainables.conditionings[config.conditioning](spec)
        super().__init__(
            config,
            spec,
            trainables,
            _Generator(shape, spec, conditioning),
            _Critic(shape, spec, conditioning, classifies=needs_classes),
            latent=shape.latent,
            mixes_images=shape.critic_norm == "batch",
        )

    @classmethod
    def check(cls, config: TrialConfig, spec: ImageSpec | None, trainables: Trainables) -> None:  # noqa: ARG003
        """Refuses attention, which needs feature maps, and objectives that the critic cannot serve."""
        shape = _architecture(config)
        if config.attention != "none":
            raise ConfigError(
                f"attention = {config.attention!r} in fcgan: fully connected layers have no feature maps to attend to",
                fix="set attention = 'none', or use a convolutional family",
            )
        check_critic(
            config,
            trainables.losses[config.loss.kind],
            trainables.penalties[config.penalty.kind],
            norm=shape.critic_norm,
            blocks=shape.layers,
            sigmoid=shape.critic_output == "sigmoid",
        )


class _Generator(nn.Module):
    """Noise, class and, where wanted, the mask's pixels to an image."""

    def __init__(self, shape: Architecture, spec: ImageSpec, conditioning: Conditioning) -> None:
        super().__init__()
        self.image = (spec.channels, spec.size, spec.size)
        pixels = conditioning.map_channels * spec.size**2
        widths = _widths(shape)
        inputs = [shape.latent + conditioning.code_size + pixels, *widths[:-1]]
        self.layers = nn.ModuleList(
            _Layer(inner, out, norm_layer(shape.generator_norm, out), slope=0.0)
            for inner, out in zip(inputs, widths, strict=True)
        )
        self.last = nn.Linear(widths[-1], math.prod(self.image))
        initialise(self)

    def forward(self, noise: Tensor, code: Tensor, mask_map: Tensor | None) -> Tensor:
        parts = [noise, code.to(noise.dtype)]
        if mask_map is not None:
            parts.append(mask_map.flatten(1).to(noise.dtype))
        x = torch.cat(parts, dim=1)
        for layer in self.layers:
            x = layer(x)
        images: Tensor = self.last(x.flatten(1)).tanh().unflatten(1, self.image)
        return images


class _Critic(nn.Module):
    """All pixels of all channels to a judgement; a hidden layer is a 'block' for penalties and feature matching."""

    def __init__(self, shape: Architecture, spec: ImageSpec, conditioning: Conditioning, *, classifies: bool) -> None:
        super().__init__()
        widths = _widths(shape)[::-1]
        inputs = [(spec.channels + conditioning.plane_channels) * spec.size**2, *widths[:-1]]
        # Nothing is normalised before the first hidden layer is through, as in a convolutional critic.
        norms = ["none", *[shape.critic_norm] * (len(widths) - 1)]
        self.layers = nn.ModuleList(
            _Layer(inner, out, norm_layer(norm, out), slope=0.2)
            for inner, out, norm in zip(inputs, widths, norms, strict=True)
        )
        sigmoid = shape.critic_output == "sigmoid"
        self.head = CriticHead(widths[-1], 1, conditioning, sigmoid=sigmoid, classifies=classifies)
        initialise(self)
        if shape.critic_norm == "spectral":
            spectrally_normalised(self)

    def forward(self, images: Tensor, labels: Tensor) -> Judgement:
        features = []
        x = images
        for layer in self.layers:
            x = layer(x)
            features.append(x)
        judgement: Judgement = self.head(features, labels)
        return judgement


class _Layer(nn.Module):
    """Linear, normalised, activated: `[b, ...]` to a 1x1 map `[b, out, 1, 1]`, as norms and heads expect."""

    def __init__(self, inputs: int, out: int, norm: nn.Module, *, slope: float) -> None:
        super().__init__()
        self.linear, self.norm, self.slope = nn.Linear(inputs, out), norm, slope

    def forward(self, x: Tensor) -> Tensor:
        return leaky_relu(self.norm(self.linear(x.flatten(1))[:, :, None, None]), self.slope)


def _widths(shape: Architecture) -> list[int]:
    """Of the generator's hidden layers, from the noise on."""
    return [shape.width * 2 ** min(layer, 3) for layer in range(shape.layers)]


def _architecture(config: TrialConfig) -> Architecture:
    return validated(Architecture, config.architecture, where=f"architecture of {config.family}")
