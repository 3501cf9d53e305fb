"""Where lesions may be: a model of the training lesions' masks, fitted to other heads.

Places are told in each head's own frame (its centre, and its half-axes as standard deviations of its pixels), so that a
lesion learned in a large head falls on the same structure of a small one, and not outside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Frames", "MaskModel", "displaced", "inside_of_heads"]

FOREGROUND = -0.8
"""Pixels above it (in [-1, 1]) are not air."""
SKULL = 1 / 16
"""How much of the head's rim holds no lesion, as a fraction of the image: skin and skull."""
INSIDE = 0.95
"""How much of a drawn mask must lie inside the head; the rest is cut off."""
SMOOTHING = 0.25
"""Spread of the bootstrap's noise, in standard deviations over training lesions: new places and sizes, no new kind."""
ATTEMPTS = 8
ONE_SIDED = 0.1
"""A lesion of which less than this lies in one half of the head is in the other half only."""
JITTER_PLACE, JITTER_SIZE = 0.1, 0.15
"""Of `displaced`: in half-axes of the head, and of the logarithm of the lesion's radius."""


@dataclass(frozen=True)
class Frames:
    """The heads' frames.

    Args:
        centre: `[n, 2]` row and column, pixels.
        spread: `[n, 2]` standard deviations of the head's rows and columns, pixels.
    """

    centre: Tensor
    spread: Tensor

    @classmethod
    def of(cls, images: Tensor) -> Frames:
        """Frames of the heads in `images` `[n, C, H, W]`."""
        return cls(*_moments(_heads(images)))

    def __getitem__(self, rows: Tensor) -> Frames:
        return Frames(self.centre[rows], self.spread[rows])

    @property
    def scale(self) -> Tensor:
        """`[n]` the geometric mean of both spreads, pixels."""
        return self.spread.prod(dim=1).sqrt()


def inside_of_heads(images: Tensor) -> Tensor:
    """`[n, 1, H, W]`, 1 where a lesion may be: inside the head and off its rim; the image's own border is no rim."""
    rim = round(images.shape[-1] * SKULL)
    return 1.0 - F.max_pool2d(1.0 - _heads(images), 2 * rim + 1, stride=1, padding=rim)


def displaced(masks: Tensor, images: Tensor, onto: Tensor, noise: Tensor, coins: Tensor) -> Tensor:
    """Each lesion in another head, moved, resized and mirrored a little: what one training pair gives.

    Args:
        masks: `[n, 1, H, W]` in {0, 1}; an empty one stays empty.
        images: `[n, C, H, W]` they belong to.
        onto: `[n, C, H, W]` other heads.
        noise: `[n, 3]` standard normal.
        coins: `[n]` uniform in [0, 1).
    """
    lesions, heads = _Lesions.of(masks, Frames.of(images)), Frames.of(onto)
    place = lesions.place + JITTER_PLACE * noise[:, :2]
    size = lesions.size * (JITTER_SIZE * noise[:, 2]).exp()
    return _confined(_placed(lesions, place, size, coins < 0.5, heads), inside_of_heads(onto))


class MaskModel:
    """A smoothed bootstrap of shape, place and size, each from another training lesion.

    Where most lesions reach into both halves of the head (calcified basal ganglia), each half has its own lesion: both
    at the places and of the sizes that one patient's have, but of shapes that are drawn for each. Sizes, relative to
    the head, stay within the range of the training lesions.

    Args:
        images: `[m, C, H, W]` training images.
        masks: `[m, 1, H, W]` their lesions in {0, 1}; at least one is not empty.
    """

    def __init__(self, images: Tensor, masks: Tensor) -> None:
        some = masks.flatten(1).any(dim=1)
        frames, masks = Frames.of(images[some]), masks[some]
        left = _left_of_midline(masks, frames)
        share = (masks * left).flatten(1).sum(dim=1) / masks.flatten(1).sum(dim=1)
        self.bilateral = bool(((share > ONE_SIDED) & (share < 1 - ONE_SIDED)).double().mean() > 0.5)
        parts = [masks * left, masks * ~left] if self.bilateral else [masks]
        self.parts = [_Lesions.of(part, frames) for part in parts]
        whole = _Lesions.of(masks, frames).size
        self.sizes = whole.amin(), whole.amax()

    def draw(self, onto: Tensor, generator: torch.Generator) -> Tensor:
        """One lesion (on both sides, if such is the disease) for each head of `onto` `[n, C, H, W]`.

        Of several attempts the first that lies inside the head and has a size that training lesions have, else the one
        that lies furthest inside.

        Returns:
            `[n, 1, H, W]` in {0, 1}.
        """
        heads, inside = Frames.of(onto), inside_of_heads(onto)
        drawn = torch.stack([self._attempt(heads, generator) for _ in range(ATTEMPTS)])
        kept = (drawn * inside).flatten(2).sum(dim=2)
        share = kept / drawn.flatten(2).sum(dim=2).clamp(min=1.0)
        size = kept.sqrt() / heads.scale
        fits = (share >= INSIDE) & (size >= self.sizes[0]) & (size <= self.sizes[1])
        # The first attempt that fits scores highest; without one, the share decides.
        order = torch.arange(ATTEMPTS, 0, -1, device=share.device)[:, None]
        chosen = torch.where(fits, 1.0 + order, share).argmax(dim=0)
        return _confined(drawn[chosen, torch.arange(len(onto), device=onto.device)], inside)

    def _attempt(self, heads: Frames, generator: torch.Generator) -> Tensor:
        n, device = len(heads.centre), heads.centre.device
        place, size = torch.randint(len(self.parts[0].size), (2, n), generator=generator, device=device)
        noise = torch.randn(n, 3, generator=generator, device=device)
        mirrored = torch.rand(n, generator=generator, device=device) < 0.5
        drawn = []
        for part in self.parts:
            present = part.present.nonzero().squeeze(1)
            shape = present[torch.randint(len(present), (n,), generator=generator, device=device)]
            places = part.place[place] + SMOOTHING * _spread(part.place[present]) * noise[:, :2]
            logs = part.size.log()
            # The patient who lends the place says whether there is a lesion on this side; its size, if need be, too.
            lender = torch.where(part.present[size], size, place)
            sizes = (logs[lender] + SMOOTHING * _spread(logs[present]) * noise[:, 2]).exp()
            sizes = sizes.clamp(part.size[present].amin(), part.size[present].amax())
            there = part.present[place][:, None, None, None]
            drawn.append(_placed(part[shape], places, sizes, mirrored, heads) * there)
        return torch.stack(drawn).amax(dim=0)


@dataclass(frozen=True)
class _Lesions:
    """Masks, and where they are in their heads.

    Args:
        masks: `[n, 1, H, W]`.
        centre: `[n, 2]` pixels.
        place: `[n, 2]` the centre in the head's frame, in half-axes.
        size: `[n]` the root of the area over the head's scale.
        present: `[n]`, whether there is any.
    """

    masks: Tensor
    centre: Tensor
    place: Tensor
    size: Tensor
    present: Tensor

    @classmethod
    def of(cls, masks: Tensor, frames: Frames) -> _Lesions:
        centre, _ = _moments(masks)
        size = masks.flatten(1).sum(dim=1).clamp(min=1.0).sqrt() / frames.scale
        return cls(masks, centre, (centre - frames.centre) / frames.spread, size, masks.flatten(1).any(dim=1))

    def __getitem__(self, rows: Tensor) -> _Lesions:
        return _Lesions(self.masks[rows], self.centre[rows], self.place[rows], self.size[rows], self.present[rows])


def _placed(lesions: _Lesions, place: Tensor, size: Tensor, mirrored: Tensor, heads: Frames) -> Tensor:
    """The lesions' shapes at `place`, of `size`, in other heads; mirrored ones about the head's midline."""
    height, width = lesions.masks.shape[-2:]
    side = torch.where(mirrored, -1.0, 1.0).to(place.dtype)
    place = torch.stack([place[:, 0], place[:, 1] * side], dim=1)
    target = heads.centre + place * heads.spread
    area = lesions.masks.flatten(1).sum(dim=1).clamp(min=1.0)
    grow = (size * heads.scale / area.sqrt()).clamp(0.5, 2.0)
    # Each pixel of the new mask looks up the pixel of the old one that it comes from.
    rows, columns = (torch.arange(n, device=place.device, dtype=place.dtype) + 0.5 for n in (height, width))
    y = lesions.centre[:, :1] + (rows - target[:, :1]) / grow[:, None]
    x = lesions.centre[:, 1:] + (columns - target[:, 1:]) / (grow * side)[:, None]
    grid = torch.stack(
        [
            (2.0 * x / width - 1.0)[:, None, :].expand(-1, height, -1),
            (2.0 * y / height - 1.0)[:, :, None].expand(-1, -1, width),
        ],
        dim=-1,
    )
    soft = F.grid_sample(lesions.masks.to(place.dtype), grid, align_corners=False)
    # Relative to the peak: a lesion of one pixel must not vanish between two.
    peak = soft.amax(dim=(1, 2, 3), keepdim=True)
    return ((soft >= 0.5 * peak) & (peak > 0.0)).to(place.dtype)


def _confined(masks: Tensor, inside: Tensor) -> Tensor:
    """What lies inside the head; all of it where most lies outside, for then no head was recognised."""
    kept = masks * inside
    most = kept.flatten(1).sum(dim=1) >= 0.5 * masks.flatten(1).sum(dim=1)
    return torch.where(most[:, None, None, None], kept, masks)


def _left_of_midline(masks: Tensor, frames: Frames) -> Tensor:
    """Whether each pixel of `[n, 1, H, W]` lies in the left half of its head."""
    columns = torch.arange(masks.shape[-1], device=masks.device) + 0.5
    return (columns < frames.centre[:, 1, None, None, None]).expand_as(masks)


def _heads(images: Tensor) -> Tensor:
    """`[n, 1, H, W]`, 1 in the head: tissue, and what has tissue on all four sides (dark ventricles)."""
    bright = F.avg_pool2d(images.amax(dim=1, keepdim=True), 3, stride=1, padding=1, count_include_pad=False)
    tissue = (bright > FOREGROUND).to(images.dtype)
    between = [tissue.flip(axis).cummax(axis).values.flip(axis) * tissue.cummax(axis).values for axis in (-2, -1)]
    return between[0] * between[1]


def _moments(weights: Tensor) -> tuple[Tensor, Tensor]:
    """Centre and standard deviations, `[n, 2]` rows and columns in pixels, of `[n, 1, H, W]`.

    An empty one counts as full.
    """
    empty = weights.flatten(1).sum(dim=1) == 0
    weights = torch.where(empty[:, None, None, None], torch.ones_like(weights), weights).squeeze(1)
    total = weights.sum(dim=(1, 2))
    centre, spread = [], []
    for axis in (1, 2):
        along = weights.sum(dim=3 - axis)
        places = torch.arange(along.shape[1], device=along.device, dtype=along.dtype) + 0.5
        mean = (along * places).sum(dim=1) / total
        variance = (along * (places - mean[:, None]).square()).sum(dim=1) / total
        centre.append(mean)
        spread.append(variance.sqrt().clamp(min=1.0))
    return torch.stack(centre, dim=1), torch.stack(spread, dim=1)


def _spread(values: Tensor) -> Tensor:
    """Standard deviation over lesions; 0 of a single one."""
    return values.std(dim=0, correction=0)
