"""Fully connected generator and critic: the original GAN, as a baseline for convolutional families."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from gansweep.config import Frozen, TrialConfig, validated
from gansweep.errors import ConfigError
from trainables.algorithms.adversarial import AdversarialGan
from trainables.algorithms.checks import check_critic, check_largest_layer
from trainables.layers.blocks import CriticHead, initialise, spectrally_normalised
from trainables.layers.double_backward import leaky_relu
from trainables.layers.norms import norm_layer

if TYPE_CHECKING:
    from gansweep.contracts import ImageSpec, Trainables
    from trainables.conditioning.conditionings import Conditioning
    from trainables.layers.critic_output import CriticOutput

__all__ = ["Fcgan"]


class Architecture(Frozen):
    """The networks of `fcgan`.

    Args:
        latent: size of the noise.
        width: units of the narrowest hidden layer; each layer nearer to the image has twice as many, up to eight times.
        layers: number of hidden layers of each network.
        generator_norm: normalisation of the generator.
        critic_norm: normalisation of the critic; spectral normalises its weights.
        critic_output: linear, or sigmoid for losses that allow a bounded critic.
    """

    latent: int = Field(100, ge=1, le=1024)
    width: int = Field(128, ge=4, le=4096)
    layers: int = Field(3, ge=1, le=8)
    generator_norm: Literal["batch", "layer", "none"] = "batch"
    critic_norm: Literal["none", "layer", "spectral", "batch"] = "none"
    critic_output: Literal["linear", "sigmoid"] = "linear"


class Fcgan(AdversarialGan):
    """The GAN of Goodfellow et al. 2014, with leaky ReLU instead of maxout and normalisation instead of dropout.

    Args:
        config: the trial's configuration.
        spec: shape of the images; the size of the last layer is proportional to their number of pixels.
        trainables: registries of the names in the configuration.
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
    def check(cls, config: TrialConfig, spec: ImageSpec | None, trainables: Trainables) -> None:
        """Rejects attention, which needs feature maps, a loss or penalty that does not fit, and large images."""
        shape = _architecture(config)
        if spec is not None:
            largest = max(_widths(shape)) * spec.channels * spec.size**2
            check_largest_layer("fcgan", spec, largest, width="architecture.width")
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
    """A generator from noise, class and, if conditioned on masks, the mask's pixels to an image."""

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
    """A critic over all pixels. Penalties and feature matching treat each hidden layer as a block."""

    def __init__(self, shape: Architecture, spec: ImageSpec, conditioning: Conditioning, *, classifies: bool) -> None:
        super().__init__()
        widths = _widths(shape)[::-1]
        inputs = [(spec.channels + conditioning.plane_channels) * spec.size**2, *widths[:-1]]
        # The first layer is not normalised, as in a convolutional critic.
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

    def blocks_from_image(self) -> list[tuple[nn.Module, ...]]:
        """Returns the hidden layers."""
        return [(layer,) for layer in self.layers]

    def forward(self, images: Tensor, labels: Tensor) -> CriticOutput:
        features = []
        x = images
        for layer in self.layers:
            x = layer(x)
            features.append(x)
        output: CriticOutput = self.head(features, labels)
        return output


class _Layer(nn.Module):
    """Linear layer, normalisation and leaky ReLU: `[b, ...]` to `[b, out, 1, 1]`, a map for norms and heads."""

    def __init__(self, inputs: int, out: int, norm: nn.Module, *, slope: float) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, out)
        self.norm = norm
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        return leaky_relu(self.norm(self.linear(x.flatten(1))[:, :, None, None]), self.slope)


def _widths(shape: Architecture) -> list[int]:
    """Returns widths of the generator's hidden layers, from noise to image."""
    return [shape.width * 2 ** min(layer, 3) for layer in range(shape.layers)]


def _architecture(config: TrialConfig) -> Architecture:
    return validated(Architecture, config.architecture, where=f"architecture of {config.family}")
