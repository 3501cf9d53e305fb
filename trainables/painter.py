"""The lesion painter's generator."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.blocks import initialise, upsampler
from trainables.norms import norm_layer
from trainables.precision import full_precision

if TYPE_CHECKING:
    from collections.abc import Callable

    from trainables.lesion_painter import Architecture

__all__ = ["Painter", "soft_neighbourhood"]


class Painter(nn.Module):
    """A U-Net (Ronneberger et al. 2015) that sees image, mask, density and noise, and paints around the mask.

    The lesion's mean intensity is the wanted density by construction, up to the cut at the ends of the range: what the
    network says is shifted to it. Before any training it therefore paints a plain, soft-edged lesion.

    Args:
        shape: the architecture.
        channels: of the images.
        attention: makes the attention module at the smallest map.
        reach: of the soft neighbourhood, in pixels; see `soft_neighbourhood`.
    """

    def __init__(
        self, shape: Architecture, channels: int, *, attention: Callable[[int], nn.Module], reach: int
    ) -> None:
        super().__init__()
        self.reach = max(reach, 1)
        widths = [shape.width * 2 ** min(level, 3) for level in range(shape.depth + 1)]
        norm = shape.generator_norm
        # Image and density have as many channels; mask and neighbourhood one each.
        self.enter = _convolved(2 * channels + 2 + shape.noise, widths[0], "none")
        self.down = nn.ModuleList(
            nn.Sequential(nn.AvgPool2d(2), *_convolved(above, below, norm)) for above, below in pairwise(widths)
        )
        self.attention = attention(widths[-1])
        self.up = nn.ModuleList(upsampler(shape.upsampling, below, above) for above, below in pairwise(widths))
        self.merge = nn.ModuleList(_convolved(2 * above, above, norm) for above in widths[:-1])
        self.leave = nn.Conv2d(widths[0], channels, 3, padding=1)
        initialise(self)
        # At first it says nothing: what is painted begins as the source at the wanted density.
        nn.init.zeros_(self.leave.weight)

    def forward(self, sources: Tensor, masks: Tensor, density: Tensor, noise: Tensor) -> Tensor:
        """Paints.

        Args:
            sources: `[b, C, H, W]` real images in [-1, 1].
            masks: `[b, 1, H, W]` wanted lesions in {0, 1}.
            density: `[b, C]` their mean intensities in [-1, 1].
            noise: `[b, noise, H, W]`.

        Returns:
            `[b, C, H, W]` in [-1, 1], equal to the source outside the soft neighbourhood of the mask.
        """
        soft = soft_neighbourhood(masks, self.reach)
        said = self._network(torch.cat([sources, density[:, :, None, None] * masks, masks, soft, noise], dim=1))
        # The source is where the network starts from. Its inverse is cut so that saturated bone can be left, too.
        painted = (full_precision(said) + (0.95 * sources).atanh()).tanh()
        blended = sources + soft * (painted - sources)
        inside = (blended * masks).sum(dim=(2, 3)) / masks.sum(dim=(2, 3)).clamp(min=1.0)
        # The shift is as sharp as a scanner is: over the whole neighbourhood it would be a haze.
        edge = torch.maximum(masks, F.avg_pool2d(masks, 3, stride=1, padding=1))
        return (blended + edge * (density - inside)[:, :, None, None]).clamp(-1.0, 1.0)

    def _network(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        skipped = []
        for down in self.down:
            skipped.append(x)
            x = down(x)
        x = self.attention(x)
        for up, merge, skip in zip(reversed(self.up), reversed(self.merge), reversed(skipped), strict=True):
            x = merge(torch.cat([up(x), skip], dim=1))
        out: Tensor = self.leave(x)
        return out


def soft_neighbourhood(masks: Tensor, reach: int) -> Tensor:
    """`[b, 1, H, W]`: 1 on the mask, falling to exactly 0 beyond twice `reach` pixels from it."""
    side = 2 * reach + 1
    wide = F.max_pool2d(masks, side, stride=1, padding=reach)
    return F.avg_pool2d(wide, side, stride=1, padding=reach, count_include_pad=False)


def _convolved(channels: int, out: int, norm: str) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out, 3, padding=1), norm_layer(norm, out), nn.LeakyReLU(0.2))
