"""The lesion painter's generator."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from gansweep.config import Frozen
from trainables.layers.blocks import initialise, upsampler
from trainables.layers.norms import norm_layer
from trainables.layers.precision import full_precision

if TYPE_CHECKING:
    from collections.abc import Callable


__all__ = ["Painter", "PainterArchitecture", "soft_neighbourhood"]


class PainterArchitecture(Frozen):
    """The networks of `lesion_painter`.

    Args:
        noise: noise channels of the generator's input.
        width: channels of the generator at full resolution; doubled at each halving, up to eight times.
        depth: number of the generator's halvings.
        generator_norm: the generator's normalisation.
        upsampling: how the generator doubles its resolution.
        margin: `reach` of the soft neighbourhood as a fraction of the image size; painting fades out over twice that.
        critic_width: channels of the first layer of both critics.
        critic_norm: normalisation of both critics; spectral normalises their weights.
        neighbourhood: side of the window that the local critic sees, as a fraction of the image size.
        local_weight: weight of the local critic in the generator's loss.
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


class Painter(nn.Module):
    """A U-Net (Ronneberger et al. 2015) that paints a lesion at a mask, from image, mask, density and noise.

    The network's output is shifted so that the lesion's mean intensity is the requested density, up to clipping to
    [-1, 1]. Before training it therefore paints a plain lesion with soft edges.

    Args:
        shape: the architecture.
        channels: channels of the images.
        attention: makes the attention module at the smallest feature map.
        reach: reach of the soft neighbourhood in pixels; see `soft_neighbourhood`.
    """

    def __init__(
        self, shape: PainterArchitecture, channels: int, *, attention: Callable[[int], nn.Module], reach: int
    ) -> None:
        super().__init__()
        self.reach = max(reach, 1)
        widths = [shape.width * 2 ** min(level, 3) for level in range(shape.depth + 1)]
        norm = shape.generator_norm
        # The input: image and density (`channels` each), mask and soft neighbourhood (one each), and noise.
        self.enter = _conv_block(2 * channels + 2 + shape.noise, widths[0], "none")
        self.down = nn.ModuleList(
            nn.Sequential(nn.AvgPool2d(2), *_conv_block(above, below, norm)) for above, below in pairwise(widths)
        )
        self.attention = attention(widths[-1])
        self.up = nn.ModuleList(upsampler(shape.upsampling, below, above) for above, below in pairwise(widths))
        self.merge = nn.ModuleList(_conv_block(2 * above, above, norm) for above in widths[:-1])
        self.leave = nn.Conv2d(widths[0], channels, 3, padding=1)
        initialise(self)
        # With a last layer of zeros, an untrained painter returns the source, shifted to the requested density.
        nn.init.zeros_(self.leave.weight)

    def forward(self, sources: Tensor, masks: Tensor, density: Tensor, noise: Tensor) -> Tensor:
        """Paints a lesion into each image.

        Args:
            sources: `[b, C, H, W]` real images in [-1, 1].
            masks: `[b, 1, H, W]` requested lesions in {0, 1}.
            density: `[b, C]` their mean intensities in [-1, 1].
            noise: `[b, noise, H, W]`.

        Returns:
            `[b, C, H, W]` in [-1, 1], equal to the source outside the soft neighbourhood of the mask.
        """
        soft = soft_neighbourhood(masks, self.reach)
        change = self._network(torch.cat([sources, density[:, :, None, None] * masks, masks, soft, noise], dim=1))
        # The network changes the source before the tanh. The factor 0.95 keeps the inverse finite, so that saturated
        # bone can be changed, too.
        painted = (full_precision(change) + (0.95 * sources).atanh()).tanh()
        blended = sources + soft * (painted - sources)
        inside = (blended * masks).sum(dim=(2, 3)) / masks.sum(dim=(2, 3)).clamp(min=1.0)
        # The shift reaches one pixel beyond the mask, about a scanner's blur. Over the whole neighbourhood it would
        # look like a haze.
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
    """Returns a soft mask `[b, 1, H, W]`.

    1 on the mask, falling to exactly 0 at more than twice `reach` pixels from it.

    Args:
        masks: `[b, 1, H, W]` in {0, 1}.
        reach: pixels.
    """
    side = 2 * reach + 1
    wide = F.max_pool2d(masks, side, stride=1, padding=reach)
    return F.avg_pool2d(wide, side, stride=1, padding=reach, count_include_pad=False)


def _conv_block(channels: int, out: int, norm: str) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out, 3, padding=1), norm_layer(norm, out), nn.LeakyReLU(0.2))
