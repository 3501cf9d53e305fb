"""The PatchGAN critic: each of its scores sees one patch of the image.

The weights have the names and the order of initialisation of MONAI's `PatchDiscriminator`. Earlier versions used that
class, so their checkpoints still load, and equal seeds still give equal weights.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from trainables.layers.blocks import spectrally_normalised
from trainables.layers.critic_output import CriticOutput
from trainables.layers.norms import InstanceNorm, groups_for
from trainables.layers.precision import full_precision

__all__ = ["PatchCritic"]

_KERNEL = 4
_INITIAL_SPREAD = 0.02  # standard deviation of the initial weights (Isola et al. 2017, section 6.2)


class PatchCritic(nn.Module):
    """PatchGAN's critic (Isola et al. 2017): each score sees one patch of the image.

    Args:
        channels: channels of the input.
        width: channels of the first layer; doubled in each further layer.
        layers: number of strided layers, including the first; 3 gives patches of 70x70 pixels.
        norm: instance, group, none, or spectral (of the weights).
    """

    def __init__(self, channels: int, *, width: int, layers: int = 3, norm: str = "instance") -> None:
        super().__init__()
        groups = groups_for(2 * width)
        self.patches = nn.Sequential(OrderedDict(initial_conv=_layer(channels, width, stride=2)))
        for index in range(layers):
            normed = _norm(norm, 2 * width, groups)
            stride = 1 if index == layers - 1 else 2
            self.patches.add_module(str(index), _layer(width, 2 * width, stride=stride, norm=normed))
            width = 2 * width
        self.patches.add_module("final_conv", nn.Sequential(OrderedDict(conv=_convolution(width, 1, stride=1))))
        for module in self.patches.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0.0, _INITIAL_SPREAD)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        if norm == "spectral":
            spectrally_normalised(self)

    def blocks_from_image(self) -> list[tuple[nn.Module, ...]]:
        """Returns all layers but the last, which computes the scores."""
        *before, _scores = self.patches.children()
        return [(layer,) for layer in before]

    def forward(self, images: Tensor) -> CriticOutput:
        """`[b, channels, H, W]` to scores `[b, patches]`, with every layer's output as features."""
        outputs = []
        x = images
        for layer in self.patches:
            x = layer(x)
            outputs.append(x)
        *features, scores = outputs
        return CriticOutput(full_precision(scores.flatten(1)), None, features)


def _convolution(inputs: int, outputs: int, *, stride: int, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, _KERNEL, stride=stride, padding=1, bias=bias)


def _layer(inputs: int, outputs: int, *, stride: int, norm: nn.Module | None = None) -> nn.Module:
    """Convolution, normalisation and leaky ReLU; a normalisation has a bias of its own."""
    after: OrderedDict[str, nn.Module] = OrderedDict()
    if norm is not None:
        after["N"] = norm
    after["A"] = nn.LeakyReLU(0.2)
    convolution = _convolution(inputs, outputs, stride=stride, bias=norm is None)
    return nn.Sequential(OrderedDict(conv=convolution, adn=nn.Sequential(after)))


def _norm(name: str, channels: int, groups: int) -> nn.Module | None:
    match name:
        case "instance":
            return InstanceNorm(channels, affine=True)
        case "group":
            return nn.GroupNorm(groups, channels)
        case _:
            return None
