"""The lesion painter: a lesion of wanted place, size and density painted into a real image that has none.

With few scans the anatomy need not be learned: it is real, and outside a soft neighbourhood of the mask it stays as it
is, bit for bit. So a painted image is the image of a real training patient with a lesion that is not theirs; it is to
be guarded like that patient's scan.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from gansweep.contracts import Batch, Condition, ImageSet, ImageSpec, Scalars, Trainables
from gansweep.errors import ConfigError
from gansweep.experiment import Frozen, TrialConfig, validated
from gansweep.training.world import mean_over_workers
from trainables.adversary import Adversary, SomeRows, adversarial_phases, joined
from trainables.blocks import stages_for
from trainables.checks import check_attention, check_critic, halvings
from trainables.mask_model import MaskModel, displaced
from trainables.masks import check_masks, masked_images, needed_masks
from trainables.painter import Painter
from trainables.translation import no_class_conditioning
from trainables.translators import ImageCritic

__all__ = ["Architecture", "LesionPainter", "neighbourhoods"]


class Architecture(Frozen):
    """The networks of `lesion_painter`.

    Args:
        noise: planes of noise the generator gets.
        width: channels of the generator at full resolution; doubled at each halving, up to eight times.
        depth: its halvings.
        generator_norm: its normalisation.
        upsampling: how it doubles its resolution.
        margin: reach of the soft neighbourhood, as a fraction of the image: painting fades out over twice as far.
        critic_width: channels of both critics' first layers.
        critic_norm: their normalisation; spectral: of their weights.
        neighbourhood: side of the window about the lesion that the second critic sees, as a fraction of the image.
        local_weight: of the second critic in the generator's loss.
    """

    noise: int = Field(4, ge=1, le=64)
    width: int = Field(32, ge=4, le=256)
    depth: int = Field(3, ge=1, le=6)
    generator_norm: Literal["batch", "group", "instance", "pixel", "none"] = "group"
    upsampling: Literal["nearest", "bilinear", "transposed", "pixel_shuffle"] = "nearest"
    margin: float = Field(1 / 32, ge=0.0, le=0.25)
    critic_width: int = Field(32, ge=4, le=256)
    critic_norm: Literal["none", "layer", "group", "instance", "spectral"] = "none"
    neighbourhood: float = Field(0.5, ge=0.125, le=1.0)
    local_weight: float = Field(1.0, gt=0.0, le=100.0)


class LesionPainter:
    """Images of the class with lesions against images of the other class with painted ones, all with their masks.

    In training each control image gets the lesion of a diseased one, fitted to its head, a little displaced, at that
    lesion's density. Two critics judge: one the image, one the window about the lesion. For samples, masks are drawn
    from a `MaskModel` of all training lesions, and densities from their mean and spread.

    It makes the class with lesions only: a control image that it would hand out is a real patient's. Whoever needs
    both classes takes real controls for the other.

    Args:
        config: the trial.
        spec: images of a cohort with masks and two classes.
        trainables: losses, penalties and the rest.
    """

    Architecture: ClassVar[type[Frozen]] = Architecture
    smallest: ClassVar[dict[str, bool | int | float | str]] = {
        "noise": 1,
        "width": 4,
        "depth": 1,
        "critic_width": 4,
    }
    averaged = ("generator",)

    def __init__(self, config: TrialConfig, spec: ImageSpec, trainables: Trainables) -> None:
        shape = _architecture(config)
        self.shape, self.spec = shape, spec
        self.positive = _positive(spec)
        attention = trainables.attentions[config.attention]
        reach = round(shape.margin * spec.size)
        self.painter = Painter(shape, spec.channels, attention=attention, reach=reach)
        self.window, stages = _window(shape, spec)
        channels, size = spec.channels + 1, spec.size
        views = {"critic": (size, halvings(spec, 0, "lesion_painter")[0]), "local_critic": (self.window, stages)}
        self.networks: dict[str, nn.Module] = {"generator": self.painter}
        self.adversaries: dict[str, Adversary] = {}
        for name, (side, halved) in views.items():
            critic = ImageCritic(channels, side, width=shape.critic_width, stages=halved, norm=shape.critic_norm)
            self.networks[name] = critic
            self.adversaries[name] = Adversary(config, trainables, critic)
        self.density = _Density(spec.channels)
        states = {name: adversary.state for name, adversary in self.adversaries.items()}
        self.state = nn.ModuleDict({**states, "density": self.density})
        self.phases = adversarial_phases(
            config,
            critics=tuple(views),
            generators=("generator",),
            penalised=trainables.penalties[config.penalty.kind].active,
            stratified=True,
        )

    @classmethod
    def check(cls, config: TrialConfig, spec: ImageSpec | None, trainables: Trainables) -> None:
        """Refuses a cohort without masks or without two classes, and objectives the critics cannot serve."""
        shape = _architecture(config)
        check_masks(config, spec, trainables, given=True)
        no_class_conditioning(config)
        blocks = None
        if spec is not None:
            if len(spec.classes) != 2:
                raise ConfigError(
                    f"family = {config.family!r} paints from one class into another, and the cohort has "
                    f"{len(spec.classes)}",
                    fix="ingest with --classes and two of them",
                )
            blocks = min(halvings(spec, 0, config.family)[0], _window(shape, spec)[1])
            _check_sizes(config, shape, spec)
            check_attention(config, trainables, spec.size // 2**shape.depth)
        check_critic(
            config,
            trainables.losses[config.loss.kind],
            trainables.penalties[config.penalty.kind],
            norm=shape.critic_norm,
            blocks=blocks,
        )

    @classmethod
    def makes(cls, config: TrialConfig, spec: ImageSpec) -> tuple[int, ...]:  # noqa: ARG003
        """The class with lesions."""
        return (_positive(spec),)

    def condition(self, labels: Tensor, data: ImageSet, generator: torch.Generator) -> Condition:
        """Real training images without a lesion, and masks for their heads from the model of the training lesions.

        Raises:
            ConfigError: the class with the disease has no mask, or there is no image of the other class.
        """
        masks = needed_masks(data.masks)
        marked, diseased = masks.flatten(1).any(dim=1), data.labels == self.positive
        if not (marked & diseased).any() or diseased.all():
            raise ConfigError(
                f"no lesion mask among the training images of {self.spec.classes[self.positive]!r}, or no other image",
                fix="check the cohort's positive class and masks",
            )
        controls = (~diseased & ~marked).nonzero().squeeze(1)
        if not len(controls):
            controls = (~diseased).nonzero().squeeze(1)
        chosen = torch.randint(len(controls), (len(labels),), generator=generator, device=labels.device)
        sources = data.images[controls[chosen]]
        model = MaskModel(data.images[diseased], masks[diseased])
        return Condition(labels, sources, model.draw(sources, generator))

    def sample(self, n: int, condition: Condition, generator: torch.Generator) -> Tensor:
        """`[n, C + 1, H, W]` painted images in [-1, 1], the last channel the mask; whatever label was asked for.

        Raises:
            ConfigError: the condition has no sources or no masks.
        """
        if condition.sources is None:
            raise ConfigError("a painter needs real images to paint into, and none were given")
        masks, size = needed_masks(condition.masks), self.spec.size
        noise = torch.randn(n, self.shape.noise, size, size, generator=generator, device=generator.device)
        density = self.density.drawn(torch.randn(n, 1, generator=generator, device=generator.device))
        return masked_images(self.painter(condition.sources, masks, density, noise), masks)

    def loss(self, phase: str, batch: Batch, step: int) -> tuple[Tensor, Scalars]:
        """The critics', their penalties', or the generator's objective."""
        pair = self._pair(batch)
        if phase == "generator":
            real, fake = self._views(pair.real(), pair.masks), self._views(self._painted(pair), pair.wanted)
            weights = {"critic": 1.0, "local_critic": self.shape.local_weight}
            losses = [
                weight * self.adversaries[name].generator_loss(real[name], fake[name], pair.batch, pair.batch.draws)
                for name, weight in weights.items()
            ]
            return torch.stack(losses).sum(), {}
        with torch.no_grad():
            if phase == "critic":
                self.density.observe(pair.images, pair.masks)
            real, fake = self._views(pair.real(), pair.masks), self._views(self._painted(pair), pair.wanted)
        results = [
            adversary.critic_loss(real[name], fake[name], pair.batch, pair.batch.draws, step)
            if phase == "critic"
            else adversary.penalty_loss(real[name], fake[name], pair.batch.draws, step)
            for name, adversary in self.adversaries.items()
        ]
        return torch.stack([loss for loss, _ in results]).sum(), joined([log for _, log in results])

    def _pair(self, batch: Batch) -> _Pair:
        """The lesions of the step's diseased images beside the control images they are painted into."""
        ours, others = slice(self.positive, None, 2), slice(1 - self.positive, None, 2)
        images, masks, sources = batch.images[ours], needed_masks(batch.masks)[ours], batch.images[others]
        draws = SomeRows(batch.draws, ours)
        wanted = displaced(masks, images, sources, draws.normal(3), draws.uniform())
        # `total` stays the whole batch's: the budget that ADA's speed is measured by is in whole batches.
        half = replace(batch, images=images, labels=batch.labels[ours], masks=masks, draws=draws)
        return _Pair(half, images, masks, sources, wanted)

    def _painted(self, pair: _Pair) -> Tensor:
        noise = pair.batch.draws.normal(self.shape.noise, self.spec.size, self.spec.size)
        density = self.density.of(pair.images, pair.masks)
        return masked_images(self.painter(pair.sources, pair.wanted, density, noise), pair.wanted)

    def _views(self, images: Tensor, masks: Tensor) -> dict[str, Tensor]:
        """What each critic sees."""
        return {"critic": images, "local_critic": neighbourhoods(images, masks, self.window)}


@dataclass(frozen=True)
class _Pair:
    """A step's images.

    Args:
        batch: the diseased half, with the whole batch's `total`.
        images: `[b, C, H, W]` its images.
        masks: `[b, 1, H, W]` their lesions.
        sources: `[b, C, H, W]` control images.
        wanted: `[b, 1, H, W]` the lesions as they fit into these.
    """

    batch: Batch
    images: Tensor
    masks: Tensor
    sources: Tensor
    wanted: Tensor

    def real(self) -> Tensor:
        """The diseased images with their masks, `[b, C + 1, H, W]`."""
        return masked_images(self.images, self.masks)


class _Density(nn.Module):
    """Mean intensities of training lesions: their running mean and spread over the images seen."""

    first: Tensor
    second: Tensor
    count: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("first", torch.zeros(channels))
        self.register_buffer("second", torch.zeros(channels))
        self.register_buffer("count", torch.zeros(()))

    @torch.no_grad()
    def observe(self, images: Tensor, masks: Tensor) -> None:
        """Takes note of a batch; each batch's weight falls as 1 over the number of batches, but not below 1/100."""
        marked = masks.flatten(1).any(dim=1, keepdim=True).to(images.dtype)
        density = _mean_inside(images, masks)
        sums = torch.cat([(marked * density).mean(dim=0), (marked * density.square()).mean(dim=0), marked.mean(dim=0)])
        first, second, share = mean_over_workers(sums).split([len(self.first), len(self.first), 1])
        self.count.add_((share > 0).squeeze(0))
        rate = torch.where(share > 0, 1.0 / self.count.clamp(1.0, 100.0), torch.zeros_like(share))
        share = share.clamp(min=1e-6)
        self.first.lerp_((first / share).to(self.first.dtype), rate.to(self.first.dtype))
        self.second.lerp_((second / share).to(self.second.dtype), rate.to(self.second.dtype))

    def of(self, images: Tensor, masks: Tensor) -> Tensor:
        """`[b, C]` mean intensity of each image's lesion; of an image without one, the running mean."""
        marked = masks.flatten(1).any(dim=1, keepdim=True)
        return torch.where(marked, _mean_inside(images, masks), self.first.clone().to(images.dtype))

    def drawn(self, normal: Tensor) -> Tensor:
        """Densities `[n, C]` for standard normal numbers `[n, 1]`, not beyond two standard deviations."""
        spread = (self.second - self.first.square()).clamp(min=0.0).sqrt()
        return (self.first + spread * normal.clamp(-2.0, 2.0)).clamp(-1.0, 1.0)


def neighbourhoods(images: Tensor, masks: Tensor, side: int) -> Tensor:
    """Windows `[b, C, side, side]` about the centres of the masks `[b, 1, H, W]`, not beyond the image."""
    size = images.shape[-1]
    weight = masks.flatten(1).sum(dim=1)
    places = torch.arange(size, device=masks.device, dtype=masks.dtype)
    starts = []
    for axis in (2, 1):
        along = masks.squeeze(1).sum(dim=axis)
        middle = torch.where(weight > 0, (along * places).sum(dim=1) / weight.clamp(min=1.0), (size - 1) / 2)
        starts.append((middle - (side - 1) / 2).round().clamp(0, size - side).long())
    window = torch.arange(side, device=images.device)
    rows, columns = (start[:, None] + window for start in starts)
    each = torch.arange(len(images), device=images.device)[:, None, None, None]
    channels = torch.arange(images.shape[1], device=images.device)[None, :, None, None]
    return images[each, channels, rows[:, None, :, None], columns[:, None, None, :]]


def _mean_inside(images: Tensor, masks: Tensor) -> Tensor:
    """`[b, C]`; 0 for an empty mask."""
    return (images * masks).sum(dim=(2, 3)) / masks.sum(dim=(2, 3)).clamp(min=1.0)


def _window(shape: Architecture, spec: ImageSpec) -> tuple[int, int]:
    """Side of the second critic's window, in pixels, and how often it is halved down to 4 to 7 pixels."""
    side = max(round(shape.neighbourhood * spec.size), 8)
    stages = max((side // 4).bit_length() - 1, 1)
    return side // 2**stages * 2**stages, stages


def _positive(spec: ImageSpec) -> int:
    return range(len(spec.classes))[spec.positive]


def _check_sizes(config: TrialConfig, shape: Architecture, spec: ImageSpec) -> None:
    if stages_for(spec.size, shape.depth) is None:
        raise ConfigError(
            f"images of {spec.size} pixels cannot be halved architecture.depth = {shape.depth} times",
            fix="use less depth, or a multiple of a larger power of two (data.size)",
        )
    if config.batch_size % 2:
        raise ConfigError(f"batch_size = {config.batch_size}: half of each batch is of either class; use an even one")


def _architecture(config: TrialConfig) -> Architecture:
    return validated(Architecture, config.architecture, where="architecture of lesion_painter")
