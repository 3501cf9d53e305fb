"""The lesion painter: paints a lesion of given place, size and density into a real image without one.

The anatomy is real and need not be learned, which suits cohorts of few scans. Outside a soft neighbourhood of the mask
the image stays the same, bit for bit. A painted image is therefore the scan of a real training patient with a lesion
that is not theirs, and needs the same protection as that scan.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from gansweep.config import Frozen, TrialConfig, validated
from gansweep.contracts import Batch, Condition, ImageSet, ImageSpec, Scalars, Trainables
from gansweep.distributed import mean_over_workers
from gansweep.errors import ConfigError
from trainables.algorithms.adversarial_objective import (
    AdversarialObjective,
    SlicedStepRandom,
    adversarial_phases,
    merged_scalars,
)
from trainables.algorithms.checks import check_attention, check_critic, halvings
from trainables.algorithms.translation import no_class_conditioning
from trainables.conditioning.mask_model import MaskModel, displace
from trainables.conditioning.masks import check_masks, masked_images, required_masks
from trainables.layers.blocks import stages_for
from trainables.layers.painter import Painter, PainterArchitecture
from trainables.layers.translators import ImageCritic

if TYPE_CHECKING:
    from collections.abc import Hashable

__all__ = ["LesionPainter", "lesion_windows"]

_ROWS = 256  # masks that are looked at together
_LESIONS = 2048  # most images whose lesions the model of masks keeps


class LesionPainter:
    """Real images with lesions against control images with painted lesions, all with their masks.

    In training, each control image gets the lesion of a diseased image: fitted to its head, slightly moved, and with
    that lesion's density. One critic sees the image, and a second one the window around the lesion. For samples, masks
    come from a `MaskModel` of all training lesions, and densities from their mean and standard deviation.

    It generates the class with lesions only. A control image from it would be an unchanged scan of a real patient; use
    real controls for the other class.

    Args:
        config: the trial's configuration.
        spec: shape of the images; the cohort has masks and two classes.
        trainables: registries of the names in the configuration.
    """

    Architecture: ClassVar[type[Frozen]] = PainterArchitecture
    smallest: ClassVar[dict[str, bool | int | float | str]] = {
        "noise": 1,
        "width": 4,
        "depth": 1,
        "critic_width": 4,
    }
    averaged = ("generator",)

    def __init__(self, config: TrialConfig, spec: ImageSpec, trainables: Trainables) -> None:
        shape = _architecture(config)
        self.shape = shape
        self.spec = spec
        self.positive = _positive(spec)
        attention = trainables.attentions[config.attention]
        reach = round(shape.margin * spec.size)
        self.painter = Painter(shape, spec.channels, attention=attention, reach=reach)

        self.window, window_stages = _window(shape, spec)
        image_stages, _ = halvings(spec, 0, "lesion_painter")
        # The size that each critic sees, and its number of halvings.
        views = {"critic": (spec.size, image_stages), "local_critic": (self.window, window_stages)}
        channels = spec.channels + 1
        self.networks: dict[str, nn.Module] = {"generator": self.painter}
        self.objectives: dict[str, AdversarialObjective] = {}
        for name, (side, stages) in views.items():
            critic = ImageCritic(channels, side, width=shape.critic_width, stages=stages, norm=shape.critic_norm)
            self.networks[name] = critic
            self.objectives[name] = AdversarialObjective(config, trainables, critic)

        self._canvas: tuple[ImageSet, Tensor, MaskModel] | None = None
        self.density = _LesionDensity(spec.channels)
        states = {name: objective.state for name, objective in self.objectives.items()}
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
        """Rejects a cohort without masks or two classes, and a loss or penalty that does not fit the critics."""
        shape = _architecture(config)
        check_masks(config, spec, trainables, given=True)
        no_class_conditioning(config)
        blocks = None
        if spec is not None:
            if len(spec.classes) != 2:
                raise ConfigError(
                    f"family = {config.family!r} paints lesions of one class into another, but the cohort has "
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
        """Returns the class with lesions."""
        return (_positive(spec),)

    def condition(self, labels: Tensor, data: ImageSet, generator: torch.Generator) -> Condition:
        """Returns real training images without a lesion, and masks for their heads.

        The masks are drawn from a model of the training lesions.

        Raises:
            ConfigError: the diseased class has no mask, or there is no image of the other class.
        """
        # Kept, because samples are drawn in chunks.
        if self._canvas is None or self._canvas[0] is not data:
            self._canvas = (data, *self._prepared(data))
        _, controls, lesions = self._canvas
        chosen = torch.randint(len(controls), (len(labels),), generator=generator, device=labels.device)
        sources = data.images[controls[chosen]]
        return Condition(labels, sources, lesions.draw(sources, generator))

    def _prepared(self, data: ImageSet) -> tuple[Tensor, MaskModel]:
        """Returns the rows of images to paint into, and the model of the training lesions.

        Raises:
            ConfigError: the diseased class has no mask, or there is no image of the other class.
        """
        masks = required_masks(data.masks)
        # Images of the diseased class may have empty masks, as slices beside the lesion do. In blocks: stored masks
        # become float32 when their rows are asked for.
        blocks = torch.arange(len(data.labels), device=data.labels.device).split(_ROWS)
        marked = torch.cat([masks[rows].flatten(1).any(dim=1) for rows in blocks])
        diseased = data.labels == self.positive
        if not (marked & diseased).any() or diseased.all():
            raise ConfigError(
                f"no lesion mask among the training images of {self.spec.classes[self.positive]!r}, or no other image",
                fix="check the cohort's positive class and masks",
            )
        # Controls without a mask are preferred, because the painter expects sources without a lesion.
        controls = (~diseased & ~marked).nonzero().squeeze(1)
        if not len(controls):
            controls = (~diseased).nonzero().squeeze(1)
        rows = (marked & diseased).nonzero().squeeze(1)
        if len(rows) > _LESIONS:
            rows = rows[torch.linspace(0, len(rows) - 1, _LESIONS, device=rows.device).long()]
        return controls, MaskModel(data.images, masks, rows)

    def sample(self, n: int, condition: Condition, generator: torch.Generator) -> Tensor:
        """`[n, C + 1, H, W]` painted images in [-1, 1]; the last channel is the mask. Requested labels have no effect.

        Raises:
            ConfigError: the condition has no sources or no masks.
        """
        if condition.sources is None:
            raise ConfigError("a painter needs real images to paint into, but none were given")
        masks = required_masks(condition.masks)
        size = self.spec.size
        noise = torch.randn(n, self.shape.noise, size, size, generator=generator, device=generator.device)
        density = self.density.drawn(torch.randn(n, 1, generator=generator, device=generator.device))
        return masked_images(self.painter(condition.sources, masks, density, noise), masks)

    def schedule(self, step: int) -> Hashable:
        """Sets what the penalties depend on."""
        for objective in self.objectives.values():
            objective.schedule(step)
        return None

    def loss(self, phase: str, batch: Batch, step: int) -> tuple[Tensor, Scalars]:
        """Returns the loss of the critics, of their penalties or of the generator, depending on `phase`."""
        self.schedule(step)
        pair = self._pair(batch)
        if phase == "generator":
            real = self._views(pair.real(), pair.masks)
            fake = self._views(self._painted(pair), pair.wanted)
            weights = {"critic": 1.0, "local_critic": self.shape.local_weight}
            losses = [
                weight * self.objectives[name].generator_loss(real[name], fake[name], pair.batch, pair.batch.draws)
                for name, weight in weights.items()
            ]
            return torch.stack(losses).sum(), {}
        with torch.no_grad():
            if phase == "critic":
                self.density.observe(pair.images, pair.masks)
            real = self._views(pair.real(), pair.masks)
            fake = self._views(self._painted(pair), pair.wanted)
        losses = []
        logs = []
        for name, objective in self.objectives.items():
            if phase == "critic":
                loss, log = objective.critic_loss(real[name], fake[name], pair.batch, pair.batch.draws)
            else:
                loss, log = objective.penalty_loss(real[name], fake[name], pair.batch.draws)
            losses.append(loss)
            logs.append(log)
        return torch.stack(losses).sum(), merged_scalars(logs)

    def _pair(self, batch: Batch) -> _Pair:
        """Returns the step's diseased images, and the control images that their lesions are painted into."""
        # Stratified batches alternate between the two classes.
        diseased = slice(self.positive, None, 2)
        controls = slice(1 - self.positive, None, 2)
        images = batch.images[diseased]
        masks = required_masks(batch.masks)[diseased]
        sources = batch.images[controls]
        draws = SlicedStepRandom(batch.draws, diseased)
        wanted = displace(masks, images, sources, draws.normal(3), draws.uniform())
        # `total` stays that of the whole batch, because ADA's budget counts whole batches.
        half = replace(batch, images=images, labels=batch.labels[diseased], masks=masks, draws=draws)
        return _Pair(half, images, masks, sources, wanted)

    def _painted(self, pair: _Pair) -> Tensor:
        noise = pair.batch.draws.normal(self.shape.noise, self.spec.size, self.spec.size)
        density = self.density.of(pair.images, pair.masks)
        return masked_images(self.painter(pair.sources, pair.wanted, density, noise), pair.wanted)

    def _views(self, images: Tensor, masks: Tensor) -> dict[str, Tensor]:
        """Returns the input of each critic, by name."""
        return {"critic": images, "local_critic": lesion_windows(images, masks, self.window)}


@dataclass(frozen=True)
class _Pair:
    """The images of one step.

    Args:
        batch: the diseased half of the batch, with the `total` of the whole batch.
        images: `[b, C, H, W]` diseased images.
        masks: `[b, 1, H, W]` their lesions.
        sources: `[b, C, H, W]` control images.
        wanted: `[b, 1, H, W]` the lesions fitted to the control images.
    """

    batch: Batch
    images: Tensor
    masks: Tensor
    sources: Tensor
    wanted: Tensor

    def real(self) -> Tensor:
        """Returns the diseased images with their masks as a channel, `[b, C + 1, H, W]`."""
        return masked_images(self.images, self.masks)


class _LesionDensity(nn.Module):
    """Running mean and mean square of the lesions' mean intensities."""

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
        """Updates the running moments with a batch: a plain mean over the first 100 batches, then a moving average."""
        marked = masks.flatten(1).any(dim=1, keepdim=True).to(images.dtype)
        density = _mean_inside(images, masks)
        own_first = (marked * density).mean(dim=0)
        own_second = (marked * density.square()).mean(dim=0)
        own = torch.cat([own_first, own_second, marked.mean(dim=0)])
        # Means over all images; divided by the fraction of images with a lesion, they are means over these.
        first, second, fraction = mean_over_workers(own).split([len(self.first), len(self.first), 1])
        self.count.add_((fraction > 0).squeeze(0))
        rate = torch.where(fraction > 0, 1.0 / self.count.clamp(1.0, 100.0), torch.zeros_like(fraction))
        fraction = fraction.clamp(min=1e-6)
        self.first.lerp_((first / fraction).to(self.first.dtype), rate.to(self.first.dtype))
        self.second.lerp_((second / fraction).to(self.second.dtype), rate.to(self.second.dtype))

    def of(self, images: Tensor, masks: Tensor) -> Tensor:
        """`[b, C]` mean intensity of each image's lesion, or the running mean for an image without one."""
        marked = masks.flatten(1).any(dim=1, keepdim=True)
        return torch.where(marked, _mean_inside(images, masks), self.first.clone().to(images.dtype))

    def drawn(self, normal: Tensor) -> Tensor:
        """Returns densities `[n, C]` for standard normal `[n, 1]`, within two standard deviations of the mean."""
        spread = (self.second - self.first.square()).clamp(min=0.0).sqrt()
        return (self.first + spread * normal.clamp(-2.0, 2.0)).clamp(-1.0, 1.0)


def lesion_windows(images: Tensor, masks: Tensor, side: int) -> Tensor:
    """Crops windows around the centres of the masks; a window that would leave the image is shifted inside.

    Args:
        images: `[b, C, H, W]`.
        masks: `[b, 1, H, W]`; an empty mask has its centre in the middle of the image.
        side: height and width of a window in pixels.

    Returns:
        `[b, C, side, side]`.
    """
    size = images.shape[-1]
    weight = masks.flatten(1).sum(dim=1)
    places = torch.arange(size, device=masks.device, dtype=masks.dtype)
    starts = []
    for axis in (2, 1):
        along = masks.squeeze(1).sum(dim=axis)
        middle = torch.where(weight > 0, (along * places).sum(dim=1) / weight.clamp(min=1.0), (size - 1) / 2)
        starts.append((middle - (side - 1) / 2).round().clamp(0, size - side).long())
    window = torch.arange(side, device=images.device)
    first_row, first_column = starts
    rows = first_row[:, None] + window
    columns = first_column[:, None] + window
    each = torch.arange(len(images), device=images.device)[:, None, None, None]
    channels = torch.arange(images.shape[1], device=images.device)[None, :, None, None]
    return images[each, channels, rows[:, None, :, None], columns[:, None, None, :]]


def _mean_inside(images: Tensor, masks: Tensor) -> Tensor:
    """Returns the mean intensity inside each mask, `[b, C]`; 0 for an empty mask."""
    return (images * masks).sum(dim=(2, 3)) / masks.sum(dim=(2, 3)).clamp(min=1.0)


def _window(shape: PainterArchitecture, spec: ImageSpec) -> tuple[int, int]:
    """Returns the size of the local critic's window in pixels, and the number of halvings down to 4 to 7 pixels."""
    side = max(round(shape.neighbourhood * spec.size), 8)
    stages = max((side // 4).bit_length() - 1, 1)
    # Rounded down to a size that is divisible that often.
    return side // 2**stages * 2**stages, stages


def _positive(spec: ImageSpec) -> int:
    """Label of the diseased class; `spec.positive` may be negative, as an index of a tuple."""
    return range(len(spec.classes))[spec.positive]


def _check_sizes(config: TrialConfig, shape: PainterArchitecture, spec: ImageSpec) -> None:
    if stages_for(spec.size, shape.depth) is None:
        raise ConfigError(
            f"images of {spec.size} pixels cannot be halved architecture.depth = {shape.depth} times",
            fix="use less depth, or a multiple of a larger power of two (data.size)",
        )
    if config.batch_size % 2:
        raise ConfigError(
            f"batch_size = {config.batch_size} is odd: each class fills half of a batch; use an even size"
        )


def _architecture(config: TrialConfig) -> PainterArchitecture:
    return validated(PainterArchitecture, config.architecture, where="architecture of lesion_painter")
