"""Convolutions and activations that are cheap to differentiate twice, as every gradient penalty does with a critic.

The results are those of torch's own layers. Three things are faster:

- The weight gradient inside a convolution's double backward. torch computes it as a convolution with batch and channels
  exchanged, whose kernel is as large as the image. Here it is an ordinary weight gradient with other arguments, as in
  the official implementation of StyleGAN2 (Karras et al. 2020).
- The second derivative of a leaky ReLU, which is zero almost everywhere. torch makes a tensor of zeros and propagates
  it through all layers below. Here there is no gradient.
- 1x1 convolutions. They are matrix products, which on a CPU are many times faster for few channels.
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
    """Convolutions compute no weight gradients inside this block.

    Use it where only the gradient of an image is needed, as for a gradient penalty. autograd does not tell a `Function`
    which of its gradients are needed, and the weight gradient is half of the work.
    """
    global _weights_wanted
    before = _weights_wanted
    _weights_wanted = False
    try:
        yield
    finally:
        _weights_wanted = before


class Conv2d(nn.Conv2d):
    """`nn.Conv2d` with zero padding, equal stride and padding in both directions, and no dilation."""

    def forward(self, x: Tensor) -> Tensor:
        """`[b, C, H, W]` to `[b, out, H', W']`, as `nn.Conv2d`."""
        stride = self.stride[0]
        padding = self.padding[0]
        assert isinstance(padding, int)
        return convolved(x, self.weight, self.bias, stride=stride, padding=padding, groups=self.groups)


class LeakyReLU(nn.LeakyReLU):
    """`nn.LeakyReLU` by `leaky_relu`."""

    def forward(self, x: Tensor) -> Tensor:
        """Keeps the shape, as `nn.LeakyReLU`."""
        return leaky_relu(x, self.negative_slope)


def convolved(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, stride: int = 1, padding: int = 0, groups: int = 1
) -> Tensor:
    """`F.conv2d` of images `[b, C, H, W]` with a weight `[out, C / groups, k, k]`."""
    if torch.is_autocast_enabled(x.device.type):
        # autocast does not cast the arguments of a custom `Function`.
        dtype = torch.get_autocast_dtype(x.device.type)
        x = x.to(dtype)
        weight = weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    if weight.shape[2:] == (1, 1) and (stride, padding, groups) == (1, 0, 1):
        return F.linear(x.movedim(1, -1), weight.flatten(1), bias).movedim(-1, 1)
    result: Tensor = _apply(_Convolution, x, weight, bias, (stride, padding, groups))
    return result


def leaky_relu(x: Tensor, slope: float) -> Tensor:
    """`F.leaky_relu` with a negative slope of `slope`."""
    result: Tensor = _apply(_LeakyReLU, x, slope)
    return result


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
        by_image, by_weight, by_bias = ctx.needs_input_grad[:3]
        if not torch.is_grad_enabled():
            # No second derivative is needed, so one call computes all three and converts the layout only once.
            return *_gradients(gradient, x, weight, ctx.shape, (by_image, by_weight, by_bias)), None
        image_gradient = None
        weight_gradient = None
        bias_gradient = None
        if by_image:
            image_gradient = _apply(_InputGradient, gradient, weight, x.shape, ctx.shape)
        if by_weight and _weights_wanted:
            weight_gradient = _apply(_WeightGradient, gradient, x, weight.shape, ctx.shape)
        if by_bias and _weights_wanted:
            bias_gradient = gradient.sum((0, 2, 3))
        return image_gradient, weight_gradient, bias_gradient, None


class _InputGradient(Function):
    """The gradient with respect to the input: bilinear in the output's gradient and the weight."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, weight: Tensor, image: torch.Size, shape: Shape) -> Tensor:
        ctx.save_for_backward(gradient, weight)
        ctx.shape = shape
        # Only the shape of the input is used, so an expanded scalar stands for it.
        any_image = gradient.new_empty(1).expand(image)
        by_image, _, _ = _gradients(gradient, any_image, weight, shape, (True, False, False))
        return by_image

    @staticmethod
    def backward(ctx: Any, second: Tensor) -> tuple[Tensor | None, ...]:
        gradient, weight = ctx.saved_tensors
        by_gradient, by_weight = ctx.needs_input_grad[:2]
        gradient_gradient = None
        weight_gradient = None
        if by_gradient:
            gradient_gradient = _apply(_Convolution, second, weight, None, ctx.shape)
        if by_weight and _weights_wanted:
            weight_gradient = _apply(_WeightGradient, gradient, second, weight.shape, ctx.shape)
        return gradient_gradient, weight_gradient, None, None


class _WeightGradient(Function):
    """The gradient with respect to the weight: bilinear in the output's gradient and the input."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, x: Tensor, weight: torch.Size, shape: Shape) -> Tensor:
        ctx.save_for_backward(gradient, x)
        ctx.shape = shape
        any_weight = gradient.new_empty(1).expand(weight)
        _, by_weight, _ = _gradients(gradient, x, any_weight, shape, (False, True, False))
        return by_weight

    @staticmethod
    def backward(ctx: Any, second: Tensor) -> tuple[Tensor | None, ...]:
        gradient, x = ctx.saved_tensors
        by_gradient, by_image = ctx.needs_input_grad[:2]
        gradient_gradient = None
        image_gradient = None
        if by_gradient:
            gradient_gradient = _apply(_Convolution, x, second, None, ctx.shape)
        if by_image:
            image_gradient = _apply(_InputGradient, gradient, second, x.shape, ctx.shape)
        return gradient_gradient, image_gradient, None, None


def _apply(function: type[Function], *arguments: Any) -> Any:
    return function.apply(*arguments)


def _gradients(
    gradient: Tensor, x: Tensor, weight: Tensor, shape: Shape, wanted: tuple[bool, bool, bool]
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns gradients of input, weight and bias of a convolution; None for those that `wanted` leaves out."""
    stride, padding, groups = shape
    result: tuple[Tensor, Tensor, Tensor] = _backward(
        gradient, x, weight, [weight.shape[0]], [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], groups, wanted
    )
    return result


class _LeakyReLU(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.slope = slope
        return F.leaky_relu(x, slope)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return _apply(_LeakyReLUGradient, gradient, x, ctx.slope), None


class _LeakyReLUGradient(Function):
    """A gradient times the slope at `x`. It has no gradient with respect to `x`, as the slope is constant there."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, x: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.slope = slope
        by_x: Tensor = _leaky_backward(gradient, x, slope, False)  # x is the input, not the result
        return by_x

    @staticmethod
    def backward(ctx: Any, second: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        return _apply(_LeakyReLUGradient, second, x, ctx.slope), None, None
