"""LAPGAN (Denton et al. 2015): a small GAN for the coarsest image, and one for the detail at each finer level.

Each level is a problem of its own, trained on what real images look like a level below; samples go through all of them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from gansweep.errors import ConfigError
from gansweep.experiment import validated
from trainables import dcgan
from trainables.adversarial import AdversarialGan
from trainables.adversary import joined
from trainables.blocks import initialise, stages_for
from trainables.checks import check_attention, check_critic, check_halved_attention, halvings
from trainables.conditioning import classes_told
from trainables.dcgan import DcganCritic, DcganGenerator

if TYPE_CHECKING:
    from gansweep.contracts import Batch, Condition, ImageSpec, Scalars, Trainables
    from gansweep.experiment import Frozen, TrialConfig
    from trainables.conditioning import Conditioning

__all__ = ["Lapgan", "at_level", "enlarged", "pyramid"]


class Architecture(dcgan.Architecture):
    """The networks of `lapgan`: dcgan's for the coarsest level and for every critic, and convolutions for detail.

    Args:
        coarsest: pixels of the coarsest level, at most, where the size can be halved so far; levels double from there.
        layers: convolutions of a detail generator.
    """

    coarsest: int = Field(8, ge=8, le=64)
    layers: int = Field(3, ge=2, le=8)


class Lapgan:
    """All levels at once: each phase's loss is the sum over levels, which share no weight.

    Args:
        config: the trial.
        spec: images of 8 to 1024 pixels whose size can be halved.
        trainables: losses, penalties and the rest.
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
        sizes = _sizes(spec, shape)
        levels = [
            _Level(config, replace(spec, size=size), trainables, shape, index) for index, size in enumerate(sizes)
        ]
        self.levels = levels
        self.networks = {
            name: nn.ModuleList(level.networks[name] for level in levels) for name in ("generator", "critic")
        }
        self.state = nn.ModuleList(level.state for level in levels)
        self.phases = levels[0].phases

    @classmethod
    def check(cls, config: TrialConfig, spec: ImageSpec | None, trainables: Trainables) -> None:
        """Refuses sizes that make no pyramid, and objectives that the critics cannot serve."""
        shape = _architecture(config)
        blocks = shape.depth or None
        if spec is not None:
            halved = [halvings(replace(spec, size=size), shape.depth, "lapgan") for size in _sizes(spec, shape)]
            blocks = min(stages for stages, _ in halved)
            check_halved_attention(config, trainables, *halved[0])
            for _, base in halved[1:]:  # detail generators have nothing that attends
                check_attention(config, trainables, base)
        loss, penalty = trainables.losses[config.loss.kind], trainables.penalties[config.penalty.kind]
        sigmoid = shape.critic_output == "sigmoid"
        check_critic(config, loss, penalty, norm=shape.critic_norm, blocks=blocks, sigmoid=sigmoid)

    @classmethod
    def makes(cls, config: TrialConfig, spec: ImageSpec) -> tuple[int, ...]:
        """Every class; none where it is told none."""
        return classes_told(config, spec)

    def loss(self, phase: str, batch: Batch, step: int) -> tuple[Tensor, Scalars]:
        """The sum over levels; logged are means, of the spread of scores the least."""
        images = pyramid(batch.images, len(self.levels))
        losses, logs = [], []
        for index, level in enumerate(self.levels):
            below = None if index == 0 else enlarged(images[index - 1])
            loss, log = level.loss(phase, at_level(batch, images[index], below), step)
            losses.append(loss)
            logs.append(log)
        return torch.stack(losses).sum(), joined(logs)

    def sample(self, n: int, condition: Condition, generator: torch.Generator) -> Tensor:
        """`[n, C, H, W]`, from the coarsest level up."""
        images: Tensor | None = None
        for level in self.levels:
            below = None if images is None else enlarged(images)
            images = level.sample_on(below, n, condition, generator)
        assert images is not None
        return images


class _Level(AdversarialGan):
    """One level of the pyramid: the coarsest image, or a finer image given the one below it.

    Above the coarsest level an 'image' of the critic's is the enlarged image below with the image itself, as channels:
    so both are augmented alike, and the critic can judge whether the detail fits.
    """

    def __init__(
        self, config: TrialConfig, spec: ImageSpec, trainables: Trainables, shape: Architecture, index: int
    ) -> None:
        conditioning = trainables.conditionings[config.conditioning](spec)
        attention = trainables.attentions[config.attention]
        needs_classes = trainables.losses[config.loss.kind].needs_classes
        self._above = index > 0
        judged = replace(spec, channels=2 * spec.channels) if self._above else spec
        generator = (
            _DetailGenerator(shape, spec, conditioning)
            if self._above
            else DcganGenerator(shape, spec, conditioning, attention)
        )
        critic = DcganCritic(shape, judged, conditioning, attention, classifies=needs_classes)
        mixes = "batch" in shape.critic_norm
        latent = spec.size**2 if self._above else shape.latent
        super().__init__(config, spec, trainables, generator, critic, latent=latent, mixes_images=mixes)

    def generate(self, batch: Batch, labels: Tensor) -> Tensor:
        """Fakes `[b, C, H, W]`, or `[b, 2C, H, W]` with the real image below."""
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
        return below + self._synthesise(torch.cat([below, plane.to(below.dtype)], dim=1), labels, masks)

    def _wanted_labels(self, batch: Batch, *, compares: bool) -> Tensor:
        """Above the coarsest level those of the images below."""
        return batch.labels if self._above else super()._wanted_labels(batch, compares=compares)


class _DetailGenerator(nn.Module):
    """The image below, a plane of noise, and the condition as planes, to what is to be added (Denton et al., 3.2)."""

    def __init__(self, shape: Architecture, spec: ImageSpec, conditioning: Conditioning) -> None:
        super().__init__()
        inputs = spec.channels + 1 + conditioning.code_size + conditioning.map_channels
        widths = [inputs, *[shape.width] * (shape.layers - 1)]
        self.hidden = nn.ModuleList(nn.Conv2d(channels, shape.width, 3, padding=1) for channels in widths[:-1])
        self.last = nn.Conv2d(widths[-1], spec.channels, 3, padding=1)
        initialise(self)

    def forward(self, seen: Tensor, code: Tensor, mask_map: Tensor | None) -> Tensor:
        """`[b, C + 1, H, W]`, `[b, code_size]`, `[b, map_channels, H, W]` to detail `[b, C, H, W]`."""
        planes = code.to(seen.dtype)[:, :, None, None].expand(-1, -1, *seen.shape[2:])
        parts = [seen, planes] if mask_map is None else [seen, planes, mask_map.to(seen.dtype)]
        x = torch.cat(parts, dim=1)
        for conv in self.hidden:
            x = F.relu(conv(x))
        detail: Tensor = self.last(x)
        return detail


def pyramid(images: Tensor, levels: int) -> list[Tensor]:
    """`images` at `levels` sizes, the coarsest first and the last themselves."""
    sizes = [images]
    for _ in range(levels - 1):
        sizes.insert(0, F.avg_pool2d(sizes[0], 2))
    return sizes


def enlarged(images: Tensor) -> Tensor:
    """Twice the size, smooth: what the finer level adds its detail to."""
    return F.interpolate(images, scale_factor=2.0, mode="bilinear", align_corners=False)


def at_level(batch: Batch, images: Tensor, below: Tensor | None) -> Batch:
    """The batch as a level sees it; `paired` is the enlarged image below."""
    seen = images if below is None else torch.cat([below, images], dim=1)
    return replace(batch, images=seen, masks=_resized(batch.masks, images.shape[-1]), paired=below)


def _resized(masks: Tensor | None, size: int) -> Tensor | None:
    return None if masks is None else F.adaptive_avg_pool2d(masks, size)


def _sizes(spec: ImageSpec, shape: Architecture) -> list[int]:
    """Of the levels, from the coarsest on; halving ends where half could be halved no further."""
    sizes = [spec.size]
    while sizes[0] > shape.coarsest and sizes[0] % 2 == 0 and sizes[0] >= 16 and stages_for(sizes[0] // 2, 0):
        sizes.insert(0, sizes[0] // 2)
    if len(sizes) == 1 and spec.size > shape.coarsest:
        raise ConfigError(
            f"images of {spec.size} pixels cannot be halved, and so make no pyramid",
            where="lapgan",
            fix="choose a size such as 32, 48, 64, 96, 128 or 256 (data.size)",
        )
    return sizes


def _architecture(config: TrialConfig) -> Architecture:
    return validated(Architecture, config.architecture, where=f"architecture of {config.family}")
