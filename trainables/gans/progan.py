"""Progressive growing (Karras et al. 2018): both networks start at the smallest resolution and grow during training.

The resolution is a function of the fraction of the budget that is used, so a resumed trial continues at the right one.
A trial that is stopped early leaves a generator of lower resolution, whose images are enlarged.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional as F

from gansweep.config import Frozen, TrialConfig, validated
from gansweep.devices import set_number
from gansweep.errors import ConfigError
from trainables.algorithms.adversarial import AdversarialGan
from trainables.algorithms.checks import check_critic, halvings
from trainables.layers.blocks import CriticHead, append_mask_map, attention_at
from trainables.layers.equalised import EqualConv2d, EqualLinear, MinibatchDeviation, activated
from trainables.layers.norms import PixelNorm

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from gansweep.contracts import Batch, Condition, ImageSpec, Scalars, Trainables
    from trainables.conditioning.conditionings import Conditioning
    from trainables.layers.critic_output import CriticOutput

    Attention = Callable[[int], nn.Module]

__all__ = ["Progan", "level_at"]


class Architecture(Frozen):
    """The networks of `progan`, and when they grow.

    Args:
        latent: size of the noise, which is normalised to unit mean square.
        width: channels at the image's resolution; doubled at each halving, up to eight times.
        growing: fraction of the budget after which the last resolution is fully faded in.
        fading: fraction of each resolution's time in which it fades in.
        attention_size: attention, if any, is placed at the largest feature map of at most this many pixels.
    """

    latent: int = Field(128, ge=1, le=1024)
    width: int = Field(32, ge=4, le=512)
    growing: float = Field(0.6, ge=0.0, le=1.0)
    fading: float = Field(0.5, gt=0.0, le=1.0)
    attention_size: int = Field(16, ge=4, le=64)


class Progan(AdversarialGan):
    """ProGAN: equalised learning rates, pixel norm, minibatch standard deviation, and growing with fade-in.

    Differences from the paper: there is no drift term (0.001 times the mean squared score of real images, appendix
    A.1), and the batch size is the same at all resolutions.

    Args:
        config: the trial's configuration.
        spec: shape of the images: 8 to 1024 pixels, any number of channels.
        trainables: registries of the names in the configuration.
    """

    Architecture: ClassVar[type[Frozen]] = Architecture
    smallest: ClassVar[dict[str, bool | int | float | str]] = {"latent": 4, "width": 4, "attention_size": 8}

    def __init__(self, config: TrialConfig, spec: ImageSpec, trainables: Trainables) -> None:
        self.shape = _architecture(config)
        needs_classes = trainables.losses[config.loss.kind].needs_classes
        conditioning = trainables.conditionings[config.conditioning](spec)
        attention = trainables.attentions[config.attention]
        self._stages, self._base = halvings(spec, 0, config.family)
        sizes = [self._base * 2**stage for stage in range(self._stages + 1)]
        widths = [self.shape.width * 2 ** min(stage, 3) for stage in reversed(range(self._stages + 1))]
        self._generator = _Generator(self.shape, spec, conditioning, attention, sizes, widths)
        super().__init__(
            config,
            spec,
            trainables,
            self._generator,
            _Critic(self.shape, spec, conditioning, attention, sizes, widths, classifies=needs_classes),
            latent=self.shape.latent,
            # The minibatch standard deviation makes a score depend on the whole batch.
            mixes_images=True,
        )
        # The level of the current step. `loss` and `sample` set it for `_run_generator` and `_run_critic`.
        self._level = 0.0
        # The weights of two resolutions; set in each step, so no part of a checkpoint.
        self.state.register_buffer("new", torch.ones(()), persistent=False)
        self.state.register_buffer("old", torch.zeros(()), persistent=False)

    @classmethod
    def check(cls, config: TrialConfig, spec: ImageSpec | None, trainables: Trainables) -> None:
        """Rejects sizes that cannot be halved, and a penalty at a layer, which may not exist yet."""
        _architecture(config)
        if spec is not None:
            halvings(spec, 0, config.family)
        if config.penalty.layer:
            raise ConfigError(
                f"penalty.layer = {config.penalty.layer} in progan: a growing critic has no fixed k-th block",
                fix="set penalty.layer = 0",
            )
        loss = trainables.losses[config.loss.kind]
        penalty = trainables.penalties[config.penalty.kind]
        check_critic(config, loss, penalty, norm="none", blocks=None, equalised=True)

    def schedule(self, step: int) -> Hashable:
        """Sets how far a resolution has faded in; each resolution has its own graphs, with and without fading."""
        level = level_at(step / self.config.iterations, self._stages, self.shape)
        # Samples take the level from this buffer of the averaged generator.
        set_number(self._generator.level, level)
        self._set_level(level)
        top = math.ceil(level)
        return super().schedule(step), top, level == top

    def loss(self, phase: str, batch: Batch, step: int) -> tuple[Tensor, Scalars]:
        """Returns the loss of `AdversarialGan` at the current resolution; real images are blended like fakes."""
        self.schedule(step)
        size = self._base * 2 ** math.ceil(self._level)
        masks = None if batch.masks is None else F.adaptive_avg_pool2d(batch.masks, size)
        images = _blended(F.adaptive_avg_pool2d(batch.images, size), self._level, self._fade())
        return super().loss(phase, replace(batch, images=images, masks=masks), step)

    def sample(self, n: int, condition: Condition, generator: torch.Generator) -> Tensor:
        """`[n, C, H, W]` samples, enlarged by nearest-neighbour interpolation if the generator is not fully grown."""
        self._set_level(float(self._generator.level))
        return F.interpolate(super().sample(n, condition, generator), size=self.spec.size)

    def _run_generator(self, noise: Tensor, code: Tensor, mask_map: Tensor | None) -> Tensor:
        images: Tensor = self.networks["generator"](noise, code, mask_map, self._level, self._fade())
        return images

    def _run_critic(self, seen: Tensor, labels: Tensor) -> CriticOutput:
        output: CriticOutput = self.networks["critic"](seen, labels, self._level, self._fade())
        return output

    def _set_level(self, level: float) -> None:
        self._level = level
        new = _weight(level)
        set_number(self.state.get_buffer("new"), new)
        set_number(self.state.get_buffer("old"), 1.0 - new)

    def _fade(self) -> Fade:
        return Fade(self.state.get_buffer("new"), self.state.get_buffer("old"))


@dataclass(frozen=True)
class Fade:
    """How far a resolution has faded in. The weights are on the device and change from step to step.

    Args:
        new: weight of the current resolution.
        old: weight of the one below, `1 - new`.
    """

    new: Tensor
    old: Tensor


def level_at(progress: float, stages: int, shape: Architecture) -> float:
    """Returns the level of growth.

    Args:
        progress: fraction of the budget that is used, 0 to 1.
        stages: number of resolutions after the first.
        shape: the architecture, which has the schedule.

    Returns:
        k when resolution k (0 is the smallest) is fully faded in; k - 1 + alpha while it fades in with weight alpha.
    """
    if progress >= shape.growing:
        return float(stages)
    whole, part = divmod(progress / shape.growing * stages, 1.0)
    return whole + max(0.0, (part - (1.0 - shape.fading)) / shape.fading)


class _Generator(nn.Module):
    """One block per resolution, each with its own 1x1 convolution to the image."""

    level: Tensor

    def __init__(
        self,
        shape: Architecture,
        spec: ImageSpec,
        conditioning: Conditioning,
        attention: Attention,
        sizes: list[int],
        widths: list[int],
    ) -> None:
        super().__init__()
        self.norm = PixelNorm()
        self.start = EqualLinear(shape.latent + conditioning.code_size, widths[0] * sizes[0] ** 2)
        self.base = sizes[0]
        extra = conditioning.map_channels
        inputs = [widths[0], *widths[:-1]]
        # A mask map is appended at the block's own resolution, so the features must be enlarged before the block.
        self.doubles = not extra
        self.blocks = nn.ModuleList(
            _Up(channels + extra, out, doubles=self.doubles and stage > 0)
            for stage, (channels, out) in enumerate(zip(inputs, widths, strict=True))
        )
        self.attentions = attention_at(attention, sizes, widths, shape.attention_size)
        self.outs = nn.ModuleList(EqualConv2d(width, spec.channels, 1) for width in widths)
        self.register_buffer("level", torch.zeros(()))

    def forward(
        self, noise: Tensor, code: Tensor, mask_map: Tensor | None, level: float, fade: Fade | None = None
    ) -> Tensor:
        top = math.ceil(level)
        x = self.start(torch.cat([self.norm(noise), code.to(noise.dtype)], dim=1))
        x = self.norm(activated(x.unflatten(1, (-1, self.base, self.base))))
        below = x
        for stage in range(top + 1):
            below = x
            x = x if stage == 0 or self.doubles else F.interpolate(x, scale_factor=2.0)
            x = self.attentions[stage](self.blocks[stage](append_mask_map(x, mask_map)))
        images: Tensor = self.outs[top](x)
        if level == top:
            return images
        return _faded(F.interpolate(self.outs[top - 1](below), scale_factor=2.0), images, level, fade)


class _Critic(nn.Module):
    """The mirror image of the generator: a 1x1 convolution from the image per resolution, and blocks that halve it."""

    def __init__(
        self,
        shape: Architecture,
        spec: ImageSpec,
        conditioning: Conditioning,
        attention: Attention,
        sizes: list[int],
        widths: list[int],
        *,
        classifies: bool,
    ) -> None:
        super().__init__()
        channels = spec.channels + conditioning.plane_channels
        self.ins = nn.ModuleList(EqualConv2d(channels, width, 1, activated=True) for width in widths)
        halving = [_Down(width, below) for below, width in itertools.pairwise(widths)]
        self.blocks = nn.ModuleList([_Last(widths[0], sizes[0]), *halving])
        self.attentions = attention_at(attention, sizes, widths, shape.attention_size)
        self.head = CriticHead(widths[0], 1, conditioning, classifies=classifies, linear=EqualLinear)

    def blocks_from_image(self) -> list[tuple[nn.Module, ...]]:
        """Returns the blocks, the largest first. All convolutions from the image are in the first."""
        largest, *smaller = reversed(list(zip(self.attentions, self.blocks, strict=True)))
        return [(self.ins, *largest), *smaller]

    def forward(self, images: Tensor, labels: Tensor, level: float, fade: Fade | None = None) -> CriticOutput:
        top = math.ceil(level)
        features = []
        x = self.ins[top](images)
        for stage in range(top, -1, -1):
            x = self.blocks[stage](self.attentions[stage](x))
            if stage == top and level < top:
                x = _faded(self.ins[top - 1](F.avg_pool2d(images, 2)), x, level, fade)
            features.append(x)
        output: CriticOutput = self.head(features, labels)
        return output


class _Up(nn.Module):
    """Two convolutions, each with leaky ReLU and pixel norm; the first may double the resolution."""

    def __init__(self, channels: int, out: int, *, doubles: bool) -> None:
        super().__init__()
        self.first = EqualConv2d(channels, out, 3, activated=True, doubles=doubles)
        self.second = EqualConv2d(out, out, 3, activated=True)
        self.norm = PixelNorm()

    def forward(self, x: Tensor) -> Tensor:
        for conv in (self.first, self.second):
            x = self.norm(conv(x))
        return x


class _Down(nn.Module):
    """Two convolutions and average pooling to half the resolution."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.first = EqualConv2d(channels, channels, 3, activated=True)
        self.second = EqualConv2d(channels, out, 3, activated=True)

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(self.second(self.first(x)), 2)


class _Last(nn.Module):
    """Minibatch standard deviation, a convolution, and a linear layer over the whole map (table 2)."""

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.deviation = MinibatchDeviation()
        self.first = EqualConv2d(channels + 1, channels, 3, activated=True)
        self.second = EqualLinear(channels * size**2, channels)

    def forward(self, x: Tensor) -> Tensor:
        """`[b, C, size, size]` to `[b, C, 1, 1]`."""
        return activated(self.second(self.first(self.deviation(x)).flatten(1)))[:, :, None, None]


def _blended(images: Tensor, level: float, fade: Fade) -> Tensor:
    """Returns real images at the current level: while a resolution fades in, they have only part of its detail."""
    if level == math.ceil(level):
        return images
    return _faded(F.interpolate(F.avg_pool2d(images, 2), scale_factor=2.0), images, level, fade)


def _weight(level: float) -> float:
    """Returns the weight of the current resolution at `level`; 1 if it is fully faded in."""
    return level - math.ceil(level) + 1.0


def _faded(below: Tensor, above: Tensor, level: float, fade: Fade | None) -> Tensor:
    """Blends `below` and `above` with the weights in `fade`, or with the weight of `level` if there is no `fade`."""
    if fade is None:
        return torch.lerp(below, above, _weight(level))
    blended: Tensor = _Blend.apply(below, above, fade.new, fade.old)  # type: ignore[no-untyped-call]
    return blended


class _Blend(Function):
    """`torch.lerp` with a weight on the device.

    torch's own gradient uses 1 minus the rounded weight, which differs from `old` in the last digit.
    """

    @staticmethod
    def forward(ctx: Any, below: Tensor, above: Tensor, new: Tensor, old: Tensor) -> Tensor:
        # Copies, because the next step changes the numbers in place.
        ctx.save_for_backward(new.clone(), old.clone())
        exact = torch.promote_types(below.dtype, new.dtype)
        return torch.lerp(below.to(exact), above.to(exact), new.to(exact)).to(below.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        new, old = ctx.saved_tensors
        return gradient * old, gradient * new, None, None


def _architecture(config: TrialConfig) -> Architecture:
    return validated(Architecture, config.architecture, where=f"architecture of {config.family}")
