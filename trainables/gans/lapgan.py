"""LAPGAN (Denton et al. 2015): one GAN for the coarsest image, and one for the detail of each finer level.

Each level is trained independently, on real images of the level below. Samples go through all levels.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, ClassVar, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from gansweep.config import validated
from gansweep.errors import ConfigError
from trainables.algorithms.adversarial import AdversarialGan
from trainables.algorithms.adversarial_objective import merged_scalars
from trainables.algorithms.checks import check_attention, check_critic, check_halved_attention, halvings
from trainables.conditioning.conditionings import sampled_classes
from trainables.gans import dcgan
from trainables.gans.dcgan import DcganCritic, DcganGenerator
from trainables.layers.blocks import initialise, stages_for

if TYPE_CHECKING:
    from collections.abc import Hashable

    from gansweep.config import Frozen, TrialConfig
    from gansweep.contracts import Batch, Condition, ImageSpec, Scalars, Trainables
    from trainables.conditioning.conditionings import Conditioning

__all__ = ["Lapgan", "at_level", "enlarged", "pyramid"]


class Architecture(dcgan.Architecture):
    """The networks of `lapgan`: dcgan's generator at the coarsest level, detail generators, and dcgan's critics.

    Args:
        coarsest: maximum size of the coarsest level in pixels, if the size can be halved that often.
        layers: number of convolutions of a detail generator.
    """

    coarsest: int = Field(8, ge=8, le=64)
    layers: int = Field(3, ge=2, le=8)


class Lapgan:
    """All levels are trained at once: the loss of a phase is the sum over the levels, which share no weights.

    Args:
        config: the trial's configuration.
        spec: shape of the images: 8 to 1024 pixels, an even number.
        trainables: registries of the names in the configuration.
    """

    Architecture: ClassVar[type[Frozen]] = Architecture
    smallest: ClassVar[dict[str, bool | int | float | str]] = {
        "latent": 4,
        "width": 4,
        "layers": 2,
        "attention_size": 8,
    }
    averaged = ("generator",)

    def __init__(self, config: TrialConfig, spec: ImageSpec, trainables: Trainables) -> None:
        shape = _architecture(config)
        self.levels: list[_Level] = []
        for index, size in enumerate(_sizes(spec, shape)):
            self.levels.append(_Level(config, replace(spec, size=size), trainables, shape, index))
        self.networks = {
            "generator": nn.ModuleList(level.networks["generator"] for level in self.levels),
            "critic": _Critics(level.networks["critic"] for level in self.levels),
        }
        self.state = nn.ModuleList(level.state for level in self.levels)
        self.phases = self.levels[0].phases

    @classmethod
    def check(cls, config: TrialConfig, spec: ImageSpec | None, trainables: Trainables) -> None:
        """Rejects sizes that cannot be halved, and a loss or penalty that does not fit the critics."""
        shape = _architecture(config)
        blocks = shape.depth or None
        if spec is not None:
            halved = [halvings(replace(spec, size=size), shape.depth, "lapgan") for size in _sizes(spec, shape)]
            blocks = min(stages for stages, _ in halved)
            check_halved_attention(config, trainables, *halved[0])
            # Detail generators have no attention, so only the critics' smallest maps matter there.
            for _, base in halved[1:]:
                check_attention(config, trainables, base)
        loss = trainables.losses[config.loss.kind]
        penalty = trainables.penalties[config.penalty.kind]
        sigmoid = shape.critic_output == "sigmoid"
        check_critic(config, loss, penalty, norm=shape.critic_norm, blocks=blocks, sigmoid=sigmoid)

    @classmethod
    def makes(cls, config: TrialConfig, spec: ImageSpec) -> tuple[int, ...]:
        """Returns every class, or none if the generator is not conditioned on the class."""
        return sampled_classes(config, spec)

    def schedule(self, step: int) -> Hashable:
        """Returns the schedules of all levels."""
        return tuple(level.schedule(step) for level in self.levels)

    def loss(self, phase: str, batch: Batch, step: int) -> tuple[Tensor, Scalars]:
        """Returns the sum of the losses of all levels; scalars as `merged_scalars` combines them."""
        images = pyramid(batch.images, len(self.levels))
        losses = []
        logs = []
        for index, level in enumerate(self.levels):
            below = None if index == 0 else enlarged(images[index - 1])
            loss, log = level.loss(phase, at_level(batch, images[index], below), step)
            losses.append(loss)
            logs.append(log)
        return torch.stack(losses).sum(), merged_scalars(logs)

    def sample(self, n: int, condition: Condition, generator: torch.Generator) -> Tensor:
        """`[n, C, H, W]` samples, generated from the coarsest level to the finest."""
        images: Tensor | None = None
        for level in self.levels:
            below = None if images is None else enlarged(images)
            images = level.sample_on(below, n, condition, generator)
        assert images is not None
        return images


class _Level(AdversarialGan):
    """One level of the pyramid: it generates the coarsest image, or a finer image given the one below it.

    Above the coarsest level the critic's input is the enlarged image below and the image itself, stacked as channels.
    Both are augmented together, and the critic can see whether the detail fits.
    """

    def __init__(
        self, config: TrialConfig, spec: ImageSpec, trainables: Trainables, shape: Architecture, index: int
    ) -> None:
        conditioning = trainables.conditionings[config.conditioning](spec)
        attention = trainables.attentions[config.attention]
        needs_classes = trainables.losses[config.loss.kind].needs_classes
        # Whether this level refines the one below it.
        self._above = index > 0
        generator: nn.Module
        if self._above:
            generator = _DetailGenerator(shape, spec, conditioning)
            # A detail generator's noise is one plane of the image's size.
            latent = spec.size**2
            judged = replace(spec, channels=2 * spec.channels)
        else:
            generator = DcganGenerator(shape, spec, conditioning, attention)
            latent = shape.latent
            judged = spec
        critic = DcganCritic(shape, judged, conditioning, attention, classifies=needs_classes)
        mixes = "batch" in shape.critic_norm
        super().__init__(config, spec, trainables, generator, critic, latent=latent, mixes_images=mixes)

    def generate(self, batch: Batch, labels: Tensor) -> Tensor:
        """Returns fakes `[b, C, H, W]`, or `[b, 2C, H, W]` stacked on the enlarged real image below."""
        below = batch.paired
        image = self._on(below, batch.draws.normal(self.latent), labels, batch.masks)
        return image if below is None else torch.cat([below, image], dim=1)

    def sample_on(self, below: Tensor | None, n: int, condition: Condition, generator: torch.Generator) -> Tensor:
        """`[n, C, H, W]` of this level, given the enlarged samples of the level below."""
        noise = torch.randn(n, self.latent, generator=generator, device=generator.device)
        masks = _resized(condition.masks, self.spec.size)
        return self._on(below, noise, condition.labels, masks).clamp(-1.0, 1.0)

    def _on(self, below: Tensor | None, noise: Tensor, labels: Tensor, masks: Tensor | None) -> Tensor:
        if below is None:
            return self._synthesise(noise, labels, masks)
        plane = noise.unflatten(1, (1, self.spec.size, self.spec.size))
        seen = torch.cat([below, plane.to(below.dtype)], dim=1)
        return below + self._synthesise(seen, labels, masks)

    def _wanted_labels(self, batch: Batch, *, compares: bool) -> Tensor:
        """Returns the batch's labels above the coarsest level, where the detail is added to the batch's images."""
        return batch.labels if self._above else super()._wanted_labels(batch, compares=compares)


class _Critics(nn.ModuleList):
    """The critics of all levels. Each is next to an image of its own."""

    def blocks_from_image(self) -> list[tuple[nn.Module, ...]]:
        """Returns the k-th block of every critic together, for each k that all of them have."""
        blocks = [cast("DcganCritic", critic).blocks_from_image() for critic in self]
        return [tuple(chain.from_iterable(of_levels)) for of_levels in zip(*blocks, strict=False)]


class _DetailGenerator(nn.Module):
    """Generates the detail to add to the image below (Denton et al. 2015, section 3.2)."""

    def __init__(self, shape: Architecture, spec: ImageSpec, conditioning: Conditioning) -> None:
        super().__init__()
        inputs = spec.channels + 1 + conditioning.code_size + conditioning.map_channels
        widths = [inputs, *[shape.width] * (shape.layers - 1)]
        self.hidden = nn.ModuleList(nn.Conv2d(channels, shape.width, 3, padding=1) for channels in widths[:-1])
        self.last = nn.Conv2d(widths[-1], spec.channels, 3, padding=1)
        initialise(self)

    def forward(self, seen: Tensor, code: Tensor, mask_map: Tensor | None) -> Tensor:
        """Maps image and noise `[b, C + 1, H, W]`, code `[b, code_size]` and mask map to detail `[b, C, H, W]`."""
        planes = code.to(seen.dtype)[:, :, None, None].expand(-1, -1, *seen.shape[2:])
        parts = [seen, planes] if mask_map is None else [seen, planes, mask_map.to(seen.dtype)]
        x = torch.cat(parts, dim=1)
        for conv in self.hidden:
            x = F.relu(conv(x))
        detail: Tensor = self.last(x)
        return detail


def pyramid(images: Tensor, levels: int) -> list[Tensor]:
    """`images` `[b, C, H, W]` at `levels` resolutions, each twice the one before; the last are `images` themselves."""
    sizes = [images]
    for _ in range(levels - 1):
        sizes.insert(0, F.avg_pool2d(sizes[0], 2))
    return sizes


def enlarged(images: Tensor) -> Tensor:
    """Doubles the size by bilinear interpolation; the finer level adds its detail to the result."""
    return F.interpolate(images, scale_factor=2.0, mode="bilinear", align_corners=False)


def at_level(batch: Batch, images: Tensor, below: Tensor | None) -> Batch:
    """Returns the batch as a level sees it: images stacked on the enlarged ones below, which are also `paired`."""
    seen = images if below is None else torch.cat([below, images], dim=1)
    return replace(batch, images=seen, masks=_resized(batch.masks, images.shape[-1]), paired=below)


def _resized(masks: Tensor | None, size: int) -> Tensor | None:
    return None if masks is None else F.adaptive_avg_pool2d(masks, size)


def _sizes(spec: ImageSpec, shape: Architecture) -> list[int]:
    """Returns sizes of the levels in pixels, from the coarsest to the finest."""
    sizes = [spec.size]
    while sizes[0] > shape.coarsest and _can_be_halved(sizes[0]):
        sizes.insert(0, sizes[0] // 2)
    if len(sizes) == 1 and spec.size > shape.coarsest:
        raise ConfigError(
            f"images of {spec.size} pixels cannot be halved into a pyramid",
            where="lapgan",
            fix="choose a size such as 32, 48, 64, 96, 128 or 256 (data.size)",
        )
    return sizes


def _can_be_halved(size: int) -> bool:
    """Returns whether a level of half the size is possible: at least 8 pixels, and divisible for its critic."""
    return size >= 16 and size % 2 == 0 and stages_for(size // 2, 0) is not None


def _architecture(config: TrialConfig) -> Architecture:
    return validated(Architecture, config.architecture, where=f"architecture of {config.family}")
