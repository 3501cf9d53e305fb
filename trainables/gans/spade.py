"""SPADE (Park et al. 2019): images synthesised from a lesion mask."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from gansweep.config import Frozen, TrialConfig, validated
from trainables.algorithms.adversarial import AdversarialGan
from trainables.algorithms.checks import check_critic, check_halved_attention, halvings
from trainables.conditioning.masks import check_masks, masked_batch, masked_images, masked_spec, required_masks
from trainables.gans import dcgan
from trainables.gans.dcgan import DcganCritic
from trainables.layers.blocks import attention_at, initialise, upsampler
from trainables.layers.norms import SpatiallyAdaptiveNorm
from trainables.layers.precision import full_precision

if TYPE_CHECKING:
    from collections.abc import Callable

    from gansweep.contracts import Batch, ImageSpec, Scalars, Trainables
    from trainables.conditioning.conditionings import Conditioning

    Attention = Callable[[int], nn.Module]

__all__ = ["Architecture", "Spade", "SpadeGenerator"]


class Architecture(dcgan.Architecture):
    """The networks of `spade`: a generator with spatially adaptive normalisation, and dcgan's critic.

    The other settings are those of `dcgan`; `generator_norm` and `residual` do not change the generator.

    Args:
        modulation: hidden channels between the mask and its scales and shifts.
    """

    modulation: int = Field(32, ge=4, le=256)


class Spade(AdversarialGan):
    """The mask scales and shifts normalised activations at every resolution, so that normalisation does not remove it.

    The critic sees the image together with its mask. Class and noise enter at the smallest feature map. Samples have
    their mask as last channel; by default it is the mask of a random training image of the requested class.

    Args:
        config: the trial's configuration.
        spec: shape of the images; the cohort has masks.
        trainables: registries of the names in the configuration.
    """

    Architecture: ClassVar[type[Frozen]] = Architecture
    smallest: ClassVar[dict[str, bool | int | float | str]] = {
        "latent": 4,
        "width": 4,
        "attention_size": 8,
        "modulation": 4,
    }

    def __init__(self, config: TrialConfig, spec: ImageSpec, trainables: Trainables) -> None:
        shape = _architecture(config)
        conditioning = trainables.conditionings[config.conditioning](spec)
        attention = trainables.attentions[config.attention]
        needs_classes = trainables.losses[config.loss.kind].needs_classes
        super().__init__(
            config,
            spec,
            trainables,
            SpadeGenerator(shape, spec, conditioning, attention),
            DcganCritic(shape, masked_spec(spec), conditioning, attention, classifies=needs_classes),
            latent=shape.latent,
            mixes_images="batch" in shape.critic_norm,
        )

    @classmethod
    def check(cls, config: TrialConfig, spec: ImageSpec | None, trainables: Trainables) -> None:
        """Rejects a cohort without masks, and whatever dcgan rejects."""
        shape = _architecture(config)
        check_masks(config, spec, trainables, given=True)
        # Without images, depth 0 leaves the number of the critic's blocks open.
        blocks = shape.depth or None
        if spec is not None:
            blocks, base = halvings(spec, shape.depth, "spade")
            check_halved_attention(config, trainables, blocks, base)
        check_critic(
            config,
            trainables.losses[config.loss.kind],
            trainables.penalties[config.penalty.kind],
            norm=shape.critic_norm,
            blocks=blocks,
            sigmoid=shape.critic_output == "sigmoid",
        )

    @classmethod
    def makes(cls, config: TrialConfig, spec: ImageSpec) -> tuple[int, ...]:  # noqa: ARG003
        """Returns every class, whatever the conditioning: the masks come from images of the requested class."""
        return tuple(range(len(spec.classes)))

    def loss(self, phase: str, batch: Batch, step: int) -> tuple[Tensor, Scalars]:
        """Returns the adversarial loss of images with their mask as a channel."""
        return super().loss(phase, masked_batch(batch), step)

    def _wanted_labels(self, batch: Batch, *, compares: bool) -> Tensor:  # noqa: ARG002
        """Returns the labels of the batch, whose masks are used."""
        return batch.labels

    def _synthesise(self, noise: Tensor, labels: Tensor, masks: Tensor | None) -> Tensor:
        masks = required_masks(masks)
        images = self._run_generator(noise, self.conditioning.code(labels, masks), masks)
        return masked_images(full_precision(images), masks)


class SpadeGenerator(nn.Module):
    """A generator from noise, class and mask to image.

    Args:
        shape: the architecture.
        spec: shape of the images.
        conditioning: decides what is appended to the noise.
        attention: makes the attention module for a number of channels.
    """

    def __init__(self, shape: Architecture, spec: ImageSpec, conditioning: Conditioning, attention: Attention) -> None:
        super().__init__()
        stages, self.base = halvings(spec, shape.depth, "spade")
        widths = [shape.width * 2 ** min(stage, 3) for stage in reversed(range(stages))]
        self.start = nn.Linear(shape.latent + conditioning.code_size, widths[0] * self.base**2)
        self.blocks = nn.ModuleList(_Block(channels, out, shape) for channels, out in itertools.pairwise(widths))
        sizes = [self.base * 2**stage for stage in range(1, stages)]
        self.attentions = attention_at(attention, sizes, widths[1:], shape.attention_size)
        self.last_norm = _modulated(widths[-1], shape)
        self.last = upsampler(shape.upsampling, widths[-1], spec.channels)
        initialise(self)

    def forward(self, noise: Tensor, code: Tensor, masks: Tensor | None) -> Tensor:
        """Maps `[b, latent]`, `[b, code_size]` and masks `[b, 1, H, W]` to images `[b, C, H, W]` in [-1, 1]."""
        masks = required_masks(masks)
        x = self.start(torch.cat([noise, code.to(noise.dtype)], dim=1)).unflatten(1, (-1, self.base, self.base))
        for block, attention in zip(self.blocks, self.attentions, strict=True):
            x = attention(block(x, masks))
        images: Tensor = self.last(F.leaky_relu(self.last_norm(x, _at(masks, x)), 0.2)).tanh()
        return images


class _Block(nn.Module):
    """SPADE's residual block with one convolution, and upsampling (Park et al. 2019, figure 4)."""

    def __init__(self, channels: int, out: int, shape: Architecture) -> None:
        super().__init__()
        self.norm = _modulated(channels, shape)
        self.up = upsampler(shape.upsampling, channels, out)
        # A 1x1 convolution commutes with nearest-neighbour upsampling, and before it has a quarter of the pixels.
        self.skip = nn.Sequential(nn.Conv2d(channels, out, 1, bias=False), nn.Upsample(scale_factor=2))

    def forward(self, x: Tensor, masks: Tensor) -> Tensor:
        out: Tensor = self.up(F.leaky_relu(self.norm(x, _at(masks, x)), 0.2)) + self.skip(x)
        return out


def _modulated(channels: int, shape: Architecture) -> nn.Module:
    return SpatiallyAdaptiveNorm(channels, shape.modulation)


def _at(masks: Tensor, x: Tensor) -> Tensor:
    """The masks averaged down to the size of `x`; nearest-neighbour interpolation would lose small lesions."""
    return F.adaptive_avg_pool2d(masks, x.shape[-1]).to(x.dtype)


def _architecture(config: TrialConfig) -> Architecture:
    return validated(Architecture, config.architecture, where="architecture of spade")
