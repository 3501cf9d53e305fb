"""Convolutions and activations that are cheap to differentiate twice, as every gradient penalty does with a critic.

They compute what torch's own do. What torch spends on second derivatives, and these do not:

- the weights' part of a convolution's double backward. torch writes it as a convolution with batch and channels
  exchanged, whose kernel is as large as the image; it is the ordinary weight gradient, with other arguments (so does
  StyleGAN2, Karras et al. 2020, in its official implementation);
- a leaky ReLU's second derivative, which is zero almost everywhere. torch makes a tensor of zeros of it, and carries it
  back through all layers below;
- 1x1 convolutions, which are matrix products, and of few channels many times faster as such on a CPU.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Conv2d", "LeakyReLU", "convolved", "leaky_relu", "without_weight_gradients"]

_backward = torch.ops.aten.convolution_backward
_leaky_backward = torch.ops.aten.leaky_relu_backward

_weights_wanted = True


@contextmanager
def without_weight_gradients() -> Iterator[None]:
    """In here convolutions have no gradients of weights: for those of images alone, to be differentiated again.

    autograd does not tell a `Function` which of its gradients are asked for, and this one is half of the work.
    """
    global _weights_wanted
    before, _weights_wanted = _weights_wanted, False
    try:
        yield
    finally:
        _weights_wanted = before


class Conv2d(nn.Conv2d):
    """`nn.Conv2d` without dilation, padded with zeros."""

    def forward(self, x: Tensor) -> Tensor:
        """As `nn.Conv2d`."""
        stride, padding = self.stride[0], self.padding[0]
        assert isinstance(padding, int)
        return convolved(x, self.weight, self.bias, stride=stride, padding=padding, groups=self.groups)


class LeakyReLU(nn.LeakyReLU):
    """`nn.LeakyReLU`."""

    def forward(self, x: Tensor) -> Tensor:
        """As `nn.LeakyReLU`."""
        return leaky_relu(x, self.negative_slope)


def convolved(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, stride: int = 1, padding: int = 0, groups: int = 1
) -> Tensor:
    """`F.conv2d` of `[b, C, H, W]` with `[out, C / groups, k, k]`."""
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        x, weight, bias = x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
    if weight.shape[2:] == (1, 1) and (stride, padding, groups) == (1, 0, 1):
        return F.linear(x.movedim(1, -1), weight.flatten(1), bias).movedim(-1, 1)
    found: Tensor = _applied(_Convolution, x, weight, bias, (stride, padding, groups))
    return found


def leaky_relu(x: Tensor, slope: float) -> Tensor:
    """`F.leaky_relu`."""
    found: Tensor = _applied(_LeakyReLU, x, slope)
    return found


Shape = tuple[int, int, int]
"""Stride, padding, groups."""


class _Convolution(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, shape: Shape) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.shape = shape
        stride, padding, groups = shape
        return F.conv2d(x, weight, bias, stride, padding, 1, groups)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        by_image, by_weight, by_bias, _ = ctx.needs_input_grad
        if not torch.is_grad_enabled():
            # Nobody differentiates further, and one call shares the change of layout that all three need.
            return *_gradients(gradient, x, weight, ctx.shape, (by_image, by_weight, by_bias)), None
        return (
            _applied(_ByImage, gradient, weight, x.shape, ctx.shape) if by_image else None,
            _applied(_ByWeight, gradient, x, weight.shape, ctx.shape) if by_weight and _weights_wanted else None,
            gradient.sum((0, 2, 3)) if by_bias and _weights_wanted else None,
            None,
        )


class _ByImage(Function):
    """The image's gradient: bilinear in the output's gradient and the weight."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, weight: Tensor, image: torch.Size, shape: Shape) -> Tensor:
        ctx.save_for_backward(gradient, weight)
        ctx.shape = shape
        by_image: Tensor = _gradients(
            gradient, gradient.new_empty(1).expand(image), weight, shape, (True, False, False)
        )[0]
        return by_image

    @staticmethod
    def backward(ctx: Any, second: Tensor) -> tuple[Tensor | None, ...]:
        gradient, weight = ctx.saved_tensors
        by_gradient, by_weight, _, _ = ctx.needs_input_grad
        return (
            _applied(_Convolution, second, weight, None, ctx.shape) if by_gradient else None,
            _applied(_ByWeight, gradient, second, weight.shape, ctx.shape) if by_weight and _weights_wanted else None,
            None,
            None,
        )


class _ByWeight(Function):
    """The weight's gradient: bilinear in the output's gradient and the image."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, x: Tensor, weight: torch.Size, shape: Shape) -> Tensor:
        ctx.save_for_backward(gradient, x)
        ctx.shape = shape
        by_weight: Tensor = _gradients(gradient, x, gradient.new_empty(1).expand(weight), shape, (False, True, False))[
            1
        ]
        return by_weight

    @staticmethod
    def backward(ctx: Any, second: Tensor) -> tuple[Tensor | None, ...]:
        gradient, x = ctx.saved_tensors
        by_gradient, by_image, _, _ = ctx.needs_input_grad
        return (
            _applied(_Convolution, x, second, None, ctx.shape) if by_gradient else None,
            _applied(_ByImage, gradient, second, x.shape, ctx.shape) if by_image else None,
            None,
            None,
        )


def _applied(function: type[Function], *arguments: Any) -> Any:
    return function.apply(*arguments)


def _gradients(
    gradient: Tensor, x: Tensor, weight: Tensor, shape: Shape, wanted: tuple[bool, bool, bool]
) -> tuple[Tensor, Tensor, Tensor]:
    """Of the image, the weight and the bias; None for those not wanted."""
    stride, padding, groups = shape
    found: tuple[Tensor, Tensor, Tensor] = _backward(
        gradient, x, weight, [weight.shape[0]], [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], groups, wanted
    )
    return found


class _LeakyReLU(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.slope = slope
        return F.leaky_relu(x, slope)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return _applied(_LeakySlope, gradient, x, ctx.slope), None


class _LeakySlope(Function):
    """A gradient times the slope at `x`; no gradient with respect to `x`."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, x: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.slope = slope
        by_x: Tensor = _leaky_backward(gradient, x, slope, False)  # x is the input, not the result
        return by_x

    @staticmethod
    def backward(ctx: Any, second: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        return _applied(_LeakySlope, second, x, ctx.slope), None, None
