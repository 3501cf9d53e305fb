"""Networks of the image-to-image families: generators from images to images, and critics of patches or images."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from torch import Tensor, nn

from trainables.layers.blocks import initialise, spectrally_normalised, upsampler
from trainables.layers.critic_output import CriticOutput
from trainables.layers.double_backward import Conv2d, LeakyReLU
from trainables.layers.norms import norm_layer
from trainables.layers.precision import full_precision

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ConvTranslator", "FullyConvolutional", "ImageCritic", "ResnetTranslator", "SubPixelResnet"]


class ResnetTranslator(nn.Module):
    """CycleGAN's generator (Johnson et al. 2016; Zhu et al. 2017, appendix 7.2).

    Two halvings, residual blocks at a quarter of the resolution, and two doublings.

    Args:
        channels: channels of the source.
        out: channels of the target.
        width: channels at full resolution; four times as many in the residual blocks.
        blocks: number of residual blocks; CycleGAN has 6 at 128 pixels and 9 at 256.
        norm: a name for `norms.norm_layer`.
        upsampling: a kind for `blocks.upsampler`.
        attention: makes the attention module after the residual blocks.
    """

    def __init__(
        self,
        channels: int,
        out: int,
        *,
        width: int,
        blocks: int,
        norm: str = "instance",
        upsampling: str = "nearest",
        attention: Callable[[int], nn.Module] = nn.Identity,
    ) -> None:
        super().__init__()
        inner = 4 * width
        self.body = nn.Sequential(
            nn.ReflectionPad2d(3),
            nn.Conv2d(channels, width, 7),
            *_norm_relu(norm, width),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            *_norm_relu(norm, 2 * width),
            nn.Conv2d(2 * width, inner, 3, stride=2, padding=1),
            *_norm_relu(norm, inner),
            *(_Residual(inner, norm) for _ in range(blocks)),
            attention(inner),
            upsampler(upsampling, inner, 2 * width),
            *_norm_relu(norm, 2 * width),
            upsampler(upsampling, 2 * width, width),
            *_norm_relu(norm, width),
            nn.ReflectionPad2d(3),
            nn.Conv2d(width, out, 7),
        )
        initialise(self)

    def logits(self, sources: Tensor) -> Tensor:
        """`[b, channels, H, W]` to `[b, out, H, W]` before the tanh."""
        return full_precision(self.body(sources))

    def forward(self, sources: Tensor) -> Tensor:
        """`[b, channels, H, W]` to `[b, out, H, W]` in [-1, 1]."""
        return self.logits(sources).tanh()


class ConvTranslator(nn.Module):
    """DiscoGAN's generator (Kim et al. 2017, section 3.3): strided convolutions, then transposed ones, without skips.

    Args:
        channels: channels of the source.
        out: channels of the target.
        width: channels at half the resolution; doubled at each halving, up to eight times.
        stages: number of halvings.
        norm: a name for `norms.norm_layer`.
        attention: makes the attention module at the smallest feature map.
    """

    def __init__(
        self,
        channels: int,
        out: int,
        *,
        width: int,
        stages: int,
        norm: str = "batch",
        attention: Callable[[int], nn.Module] = nn.Identity,
    ) -> None:
        super().__init__()
        widths = [width * 2 ** min(stage, 3) for stage in range(stages)]
        layers: list[nn.Module] = []
        before = channels
        for stage, wide in enumerate(widths):
            layers += [
                nn.Conv2d(before, wide, 4, stride=2, padding=1),
                # The first layer is not normalised (Radford et al. 2016).
                norm_layer(norm if stage else "none", wide),
                nn.LeakyReLU(0.2),
            ]
            before = wide
        layers.append(attention(widths[-1]))
        for narrow, wide in reversed(list(pairwise(widths))):
            layers += [upsampler("transposed", wide, narrow), *_norm_relu(norm, narrow)]
        layers.append(upsampler("transposed", widths[0], out))
        self.body = nn.Sequential(*layers)
        initialise(self)

    def forward(self, sources: Tensor) -> Tensor:
        """`[b, channels, H, W]` to `[b, out, H, W]` in [-1, 1]."""
        return full_precision(self.body(sources).tanh())


class FullyConvolutional(nn.Module):
    """The generator of Nie et al. 2017, section 2.1, in 2D: nine convolutions at full resolution, without pooling.

    Args:
        channels: channels of source and context together.
        out: channels of the target.
        width: channels of the outer layers; twice as many in the middle layers.
        norm: a name for `norms.norm_layer`.
        attention: makes the attention module in the middle, at full resolution.
    """

    def __init__(
        self,
        channels: int,
        out: int,
        *,
        width: int,
        norm: str = "batch",
        attention: Callable[[int], nn.Module] = nn.Identity,
    ) -> None:
        super().__init__()
        widths = [width, width, width, 2 * width, 2 * width, 2 * width, width, width]
        kernels = [9, 3, 3, 3, 9, 3, 3, 7]
        layers: list[nn.Module] = []
        before = channels
        for index, (wide, kernel) in enumerate(zip(widths, kernels, strict=True)):
            layers += [nn.Conv2d(before, wide, kernel, padding=kernel // 2), *_norm_relu(norm, wide)]
            if index == 4:
                layers.append(attention(wide))
            before = wide
        self.body = nn.Sequential(*layers, nn.Conv2d(widths[-1], out, 3, padding=1))
        initialise(self)

    def forward(self, sources: Tensor) -> Tensor:
        """`[b, channels, H, W]` to `[b, out, H, W]` in [-1, 1]."""
        return full_precision(self.body(sources).tanh())


class SubPixelResnet(nn.Module):
    """SRResNet (Ledig et al. 2017, figure 4): residual blocks at low resolution, then sub-pixel upsampling.

    Args:
        channels: channels of the images.
        width: channels of every layer.
        blocks: number of residual blocks.
        scale: upsampling factor, a power of two.
        norm: a name for `norms.norm_layer`.
        attention: makes the attention module after the residual blocks.
    """

    def __init__(
        self,
        channels: int,
        *,
        width: int,
        blocks: int,
        scale: int,
        norm: str = "batch",
        attention: Callable[[int], nn.Module] = nn.Identity,
    ) -> None:
        super().__init__()
        self.start = nn.Sequential(nn.Conv2d(channels, width, 9, padding=4), nn.PReLU())
        self.blocks = nn.Sequential(
            *(_Residual(width, norm, nn.PReLU) for _ in range(blocks)),
            nn.Conv2d(width, width, 3, padding=1),
            norm_layer(norm, width),
            attention(width),
        )
        doublings = scale.bit_length() - 1
        grow: list[nn.Module] = []
        for _ in range(doublings):
            grow += [upsampler("pixel_shuffle", width, width), nn.PReLU()]
        self.grow = nn.Sequential(*grow, nn.Conv2d(width, channels, 9, padding=4))
        initialise(self)

    def forward(self, small: Tensor) -> Tensor:
        """`[b, C, H, W]` to `[b, C, scale H, scale W]` in [-1, 1]."""
        x = self.start(small)
        return full_precision(self.grow(x + self.blocks(x)).tanh())


class ImageCritic(nn.Module):
    """SRGAN's critic (Ledig et al. 2017, figure 4): pairs of convolutions, the second strided, and one score per image.

    Args:
        channels: channels of the input.
        size: height and width of the input in pixels.
        width: channels of the first pair; doubled in each further pair, up to eight times.
        stages: number of pairs.
        norm: a name for `norms.norm_layer`; spectral normalises the weights.
    """

    def __init__(self, channels: int, size: int, *, width: int, stages: int, norm: str) -> None:
        super().__init__()
        widths = [width * 2 ** min(stage, 3) for stage in range(stages)]
        self.stages = nn.ModuleList()
        before = channels
        for stage, wide in enumerate(widths):
            pair = nn.Sequential(
                Conv2d(before, wide, 3, padding=1),
                # The first layer is not normalised (Radford et al. 2016).
                norm_layer(norm if stage else "none", wide),
                LeakyReLU(0.2),
                Conv2d(wide, wide, 3, stride=2, padding=1),
                norm_layer(norm, wide),
                LeakyReLU(0.2),
            )
            self.stages.append(pair)
            before = wide
        smallest = size // 2**stages
        self.score = nn.Sequential(
            nn.Flatten(),
            nn.Linear(widths[-1] * smallest**2, 16 * width),
            LeakyReLU(0.2),
            nn.Linear(16 * width, 1),
        )
        initialise(self)
        if norm == "spectral":
            spectrally_normalised(self)

    def blocks_from_image(self) -> list[tuple[nn.Module, ...]]:
        """Returns the pairs of convolutions."""
        return [(stage,) for stage in self.stages]

    def forward(self, images: Tensor) -> CriticOutput:
        """`[b, channels, size, size]` to scores `[b]`, with every stage's output as features."""
        features = []
        x = images
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return CriticOutput(full_precision(self.score(x).squeeze(1)), None, features)


class _Residual(nn.Module):
    """Two convolutions with a skip connection, without an activation after the sum."""

    def __init__(self, channels: int, norm: str, activation: Callable[[], nn.Module] = nn.ReLU) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect"),
            norm_layer(norm, channels),
            activation(),
            nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect"),
            norm_layer(norm, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.body(x)
        return out


def _norm_relu(norm: str, channels: int) -> tuple[nn.Module, nn.Module]:
    return norm_layer(norm, channels), nn.ReLU()
