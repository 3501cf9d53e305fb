"""Generative model of lesion masks, which draws masks that fit other heads.

Positions are relative to each head: in units of its half-axes (the standard deviations of its pixels), measured from
its centre. A lesion from a large head is therefore placed on the same structure of a small head, not outside it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["HeadFrames", "MaskModel", "displace", "head_interior"]

FOREGROUND = -0.8
"""Pixels above this intensity (in [-1, 1]) are not air."""
SKULL = 1 / 16
"""Width of the head's rim without lesions (skin and skull), as a fraction of the image size."""
INSIDE = 0.95
"""Minimum fraction of a drawn mask that must lie inside the head; the rest is cut off."""
SMOOTHING = 0.25
"""Standard deviation of the bootstrap's noise, in standard deviations over training lesions.

It is small, so that positions and sizes are new but still typical of the disease.
"""
ATTEMPTS = 8
"""Number of masks drawn for each head, of which the best fitting one is used."""
ONE_SIDED = 0.1
"""A lesion with less than this fraction in one half of the head counts as lying in the other half only."""
_BLOCK = 64
"""Number of images that are float32 at the same time."""
JITTER_PLACE = 0.1
"""Standard deviation of the shift in `displace`, in half-axes of the head."""
JITTER_SIZE = 0.15
"""Standard deviation of the change of the logarithm of the lesion's radius in `displace`."""


@dataclass(frozen=True)
class HeadFrames:
    """Coordinate frames of heads.

    Args:
        centre: `[n, 2]` row and column in pixels.
        spread: `[n, 2]` half-axes: standard deviations of the head's rows and columns in pixels.
    """

    centre: Tensor
    spread: Tensor

    @classmethod
    def of(cls, images: Tensor) -> HeadFrames:
        """Returns the frames of the heads in `images` `[n, C, H, W]`."""
        return cls(*_moments(_heads(images)))

    def __getitem__(self, rows: Tensor) -> HeadFrames:
        return HeadFrames(self.centre[rows], self.spread[rows])

    @property
    def scale(self) -> Tensor:
        """Size of each head, `[n]`: the geometric mean of its half-axes in pixels."""
        return self.spread.prod(dim=1).sqrt()


def head_interior(images: Tensor) -> Tensor:
    """Where lesions can be, `[n, 1, H, W]` in {0, 1}: inside the head of `images` `[n, C, H, W]`, without its rim.

    Where the image's border cuts the head there is no rim.
    """
    rim = round(images.shape[-1] * SKULL)
    # An erosion by `rim` pixels. Max pooling ignores its padding, so the image's border is not eroded.
    return 1.0 - F.max_pool2d(1.0 - _heads(images), 2 * rim + 1, stride=1, padding=rim)


def displace(masks: Tensor, images: Tensor, onto: Tensor, noise: Tensor, coins: Tensor) -> Tensor:
    """Transfers each lesion to another head, slightly moved and resized, and mirrored half of the time.

    Args:
        masks: `[n, 1, H, W]` in {0, 1}; an empty mask stays empty.
        images: `[n, C, H, W]` images of the masks.
        onto: `[n, C, H, W]` images of the other heads.
        noise: `[n, 3]` standard normal numbers: two for the position, one for the size.
        coins: `[n]` uniform numbers in [0, 1); below 0.5 mirrors.

    Returns:
        `[n, 1, H, W]` in {0, 1}.
    """
    lesions = _LesionShapes.of(masks, HeadFrames.of(images))
    heads = HeadFrames.of(onto)
    place = lesions.place + JITTER_PLACE * noise[:, :2]
    size = lesions.size * (JITTER_SIZE * noise[:, 2]).exp()
    return _confine(_place(lesions, place, size, coins < 0.5, heads), head_interior(onto))


class MaskModel:
    """A smoothed bootstrap over training lesions: shape, place and size each come from a different lesion.

    If most lesions reach into both halves of the head (as calcified basal ganglia do), a lesion is drawn for each half.
    The two have the places of one patient and the sizes of one patient, but independent shapes. Sizes, relative to the
    head, stay within the range of the training lesions.

    Args:
        images: `[N, C, H, W]` training images, as a tensor or as they are stored.
        masks: `[N, 1, H, W]` their lesions in {0, 1}, likewise.
        rows: indices `[m]` of the images that are used, whose masks are not empty.
    """

    def __init__(self, images: Tensor, masks: Tensor, rows: Tensor) -> None:
        whole: list[_LesionShapes] = []
        left: list[_LesionShapes] = []
        right: list[_LesionShapes] = []
        for block in rows.split(_BLOCK):
            frames = HeadFrames.of(images[block])
            lesions = masks[block]
            is_left = _left_of_midline(lesions, frames)
            whole.append(_LesionShapes.of(lesions, frames).compact())
            left.append(_LesionShapes.of(lesions * is_left, frames).compact())
            right.append(_LesionShapes.of(lesions * ~is_left, frames).compact())
        every = _LesionShapes.joined(whole)
        on_left = _LesionShapes.joined(left)
        fraction = on_left.area / every.area
        on_both_sides = (fraction > ONE_SIDED) & (fraction < 1 - ONE_SIDED)
        self.bilateral = bool(on_both_sides.double().mean() > 0.5)
        self.parts = [on_left, _LesionShapes.joined(right)] if self.bilateral else [every]
        self.smallest = every.size.amin()
        self.largest = every.size.amax()

    def draw(self, onto: Tensor, generator: torch.Generator) -> Tensor:
        """Draws a lesion, on both sides if the model is bilateral, for each head.

        Of several attempts it takes the first that lies inside the head and has a size in the range of the training
        lesions. If there is none, it takes the one with the largest fraction inside.

        Args:
            onto: `[n, C, H, W]` images of the heads.
            generator: source of all random numbers.

        Returns:
            `[n, 1, H, W]` in {0, 1}.
        """
        heads = HeadFrames.of(onto)
        inside = head_interior(onto)
        drawn = torch.stack([self._attempt(heads, generator) for _ in range(ATTEMPTS)])
        kept = (drawn * inside).flatten(2).sum(dim=2)
        fraction = kept / drawn.flatten(2).sum(dim=2).clamp(min=1.0)
        size = kept.sqrt() / heads.scale
        typical = (size >= self.smallest) & (size <= self.largest)
        fits = (fraction >= INSIDE) & typical
        # Fractions are at most 1, so the first attempt that fits ranks highest. Without one, the fraction decides.
        order = torch.arange(ATTEMPTS, 0, -1, device=fraction.device)[:, None]
        chosen = torch.where(fits, 1.0 + order, fraction).argmax(dim=0)
        return _confine(drawn[chosen, torch.arange(len(onto), device=onto.device)], inside)

    def _attempt(self, heads: HeadFrames, generator: torch.Generator) -> Tensor:
        n = len(heads.centre)
        device = heads.centre.device
        # One patient lends the places on both sides and another one the sizes; shapes are drawn for each side.
        place, size = torch.randint(len(self.parts[0].size), (2, n), generator=generator, device=device)
        noise = torch.randn(n, 3, generator=generator, device=device)
        mirrored = torch.rand(n, generator=generator, device=device) < 0.5
        drawn = []
        for part in self.parts:
            present = part.present.nonzero().squeeze(1)
            shape = present[torch.randint(len(present), (n,), generator=generator, device=device)]
            places = part.place[place] + SMOOTHING * _spread(part.place[present]) * noise[:, :2]
            logs = part.size.log()
            # There is a lesion on this side if the patient who lends the place has one. The same patient lends the size
            # where the other one has no lesion on this side.
            lender = torch.where(part.present[size], size, place)
            sizes = (logs[lender] + SMOOTHING * _spread(logs[present]) * noise[:, 2]).exp()
            sizes = sizes.clamp(part.size[present].amin(), part.size[present].amax())
            exists = part.present[place][:, None, None, None]
            drawn.append(_place(part[shape], places, sizes, mirrored, heads) * exists)
        return torch.stack(drawn).amax(dim=0)


@dataclass(frozen=True)
class _LesionShapes:
    """Lesion masks with their position and size relative to their heads.

    Args:
        masks: `[n, 1, H, W]`, in {0, 1} or boolean.
        centre: `[n, 2]` row and column in pixels.
        place: `[n, 2]` the centre in the head's frame, in half-axes.
        area: `[n]` number of pixels.
        size: `[n]` square root of the area, divided by the head's scale.
        present: `[n]` whether the mask is not empty.
    """

    masks: Tensor
    centre: Tensor
    place: Tensor
    area: Tensor
    size: Tensor
    present: Tensor

    @classmethod
    def of(cls, masks: Tensor, frames: HeadFrames) -> _LesionShapes:
        centre, _ = _moments(masks)
        area = masks.flatten(1).sum(dim=1)
        return cls(
            masks,
            centre,
            place=(centre - frames.centre) / frames.spread,
            area=area,
            size=area.clamp(min=1.0).sqrt() / frames.scale,
            present=area > 0,
        )

    @classmethod
    def joined(cls, blocks: Sequence[_LesionShapes]) -> _LesionShapes:
        """Returns the lesions of all blocks."""
        names = [field.name for field in fields(cls)]
        return cls(**{name: torch.cat([getattr(block, name) for block in blocks]) for name in names})

    def compact(self) -> _LesionShapes:
        """Returns the lesions with masks of one byte a pixel."""
        return replace(self, masks=self.masks.bool())

    def __getitem__(self, rows: Tensor) -> _LesionShapes:
        return _LesionShapes(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


def _place(lesions: _LesionShapes, place: Tensor, size: Tensor, mirrored: Tensor, heads: HeadFrames) -> Tensor:
    """Draws the lesions' shapes at `place` with `size` in other heads; mirrored ones about the head's midline."""
    height, width = lesions.masks.shape[-2:]
    side = torch.where(mirrored, -1.0, 1.0).to(place.dtype)
    place = torch.stack([place[:, 0], place[:, 1] * side], dim=1)
    target = heads.centre + place * heads.spread
    area = lesions.area.clamp(min=1.0)
    # Limited, because a shape enlarged much further would look blurred.
    grow = (size * heads.scale / area.sqrt()).clamp(0.5, 2.0)
    # Inverse mapping: each pixel of the new mask looks up its position in the old one.
    rows = torch.arange(height, device=place.device, dtype=place.dtype) + 0.5
    columns = torch.arange(width, device=place.device, dtype=place.dtype) + 0.5
    y = lesions.centre[:, :1] + (rows - target[:, :1]) / grow[:, None]
    x = lesions.centre[:, 1:] + (columns - target[:, 1:]) / (grow * side)[:, None]
    # grid_sample expects x before y, in [-1, 1] from border to border.
    across = (2.0 * x / width - 1.0)[:, None, :].expand(-1, height, -1)
    down = (2.0 * y / height - 1.0)[:, :, None].expand(-1, -1, width)
    grid = torch.stack([across, down], dim=-1)
    soft = F.grid_sample(lesions.masks.to(place.dtype), grid, align_corners=False)
    # The threshold is relative to the peak, so that a lesion of one pixel does not vanish between two pixels.
    peak = soft.amax(dim=(1, 2, 3), keepdim=True)
    return ((soft >= 0.5 * peak) & (peak > 0.0)).to(place.dtype)


def _confine(masks: Tensor, inside: Tensor) -> Tensor:
    """Cuts off what lies outside the head, unless that is most of the mask: then no head was recognised."""
    kept = masks * inside
    mostly_inside = kept.flatten(1).sum(dim=1) >= 0.5 * masks.flatten(1).sum(dim=1)
    return torch.where(mostly_inside[:, None, None, None], kept, masks)


def _left_of_midline(masks: Tensor, frames: HeadFrames) -> Tensor:
    """Returns whether each pixel of `[n, 1, H, W]` lies in the left half of its head."""
    columns = torch.arange(masks.shape[-1], device=masks.device) + 0.5
    return (columns < frames.centre[:, 1, None, None, None]).expand_as(masks)


def _heads(images: Tensor) -> Tensor:
    """`[n, 1, H, W]`, 1 in the head: tissue, and pixels with tissue on all four sides (dark ventricles)."""
    bright = F.avg_pool2d(images.amax(dim=1, keepdim=True), 3, stride=1, padding=1, count_include_pad=False)
    tissue = (bright > FOREGROUND).to(images.dtype)
    return _between(tissue, axis=-2) * _between(tissue, axis=-1)


def _between(tissue: Tensor, axis: int) -> Tensor:
    """Returns 1 at every pixel that has tissue on both sides along `axis`, or is tissue itself."""
    before = tissue.cummax(axis).values
    behind = tissue.flip(axis).cummax(axis).values.flip(axis)
    return behind * before


def _moments(weights: Tensor) -> tuple[Tensor, Tensor]:
    """Returns centre and standard deviations, each `[n, 2]` (rows, columns) in pixels, of the weights `[n, 1, H, W]`.

    Where all weights are zero, all count equally.
    """
    empty = weights.flatten(1).sum(dim=1) == 0
    weights = torch.where(empty[:, None, None, None], torch.ones_like(weights), weights).squeeze(1)
    total = weights.sum(dim=(1, 2))
    centre = []
    spread = []
    for axis in (1, 2):
        along = weights.sum(dim=3 - axis)
        places = torch.arange(along.shape[1], device=along.device, dtype=along.dtype) + 0.5
        mean = (along * places).sum(dim=1) / total
        variance = (along * (places - mean[:, None]).square()).sum(dim=1) / total
        centre.append(mean)
        spread.append(variance.sqrt().clamp(min=1.0))
    return torch.stack(centre, dim=1), torch.stack(spread, dim=1)


def _spread(values: Tensor) -> Tensor:
    """Returns the standard deviation over lesions; 0 for a single one."""
    return values.std(dim=0, correction=0)
