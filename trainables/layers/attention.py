"""Attention modules for feature maps: `ATTENTIONS[name](channels)` maps `[b, C, H, W]` to the same shape."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["BlockAttention", "SelfAttention"]


class SelfAttention(nn.Module):
    """SAGAN's self-attention (Zhang et al. 2019, equations 1 to 4), with pooled keys and values.

    It is the identity at initialisation. It uses plain matrix products because fused attention kernels cannot be
    differentiated twice, which gradient penalties need.

    Args:
        channels: channels of the feature map.
    """

    largest: ClassVar[int] = 64
    """Maximum height and width of the feature map: the attention matrix of an image has HW x HW / 4 numbers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(channels // 8, 1)
        self.query = nn.Conv2d(channels, inner, 1, bias=False)
        self.key = nn.Conv2d(channels, inner, 1, bias=False)
        self.value = nn.Conv2d(channels, max(channels // 2, 1), 1, bias=False)
        self.out = nn.Conv2d(max(channels // 2, 1), channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """`x` `[b, C, H, W]` plus gamma times the attended values; height and width are at least 2."""
        query = self.query(x).flatten(2)
        key = F.max_pool2d(self.key(x), 2).flatten(2)
        value = F.max_pool2d(self.value(x), 2).flatten(2)
        weights = torch.einsum("bcq,bck->bqk", query, key).softmax(dim=-1)
        attended = torch.einsum("bqk,bck->bcq", weights, value).unflatten(2, x.shape[2:])
        out: Tensor = x + self.gamma * self.out(attended)
        return out


class BlockAttention(nn.Module):
    """CBAM (Woo et al. 2018): channel attention, then spatial attention.

    Args:
        channels: channels of the feature map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(channels // 16, 1)  # the paper's reduction ratio
        self.channel = nn.Sequential(nn.Linear(channels, inner), nn.ReLU(), nn.Linear(inner, channels))
        self.spatial = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        """`x` `[b, C, H, W]`, multiplied by a gate per channel and then by a gate per pixel."""
        channel = self.channel(x.mean(dim=(2, 3))) + self.channel(x.amax(dim=(2, 3)))
        x = x * channel.sigmoid()[:, :, None, None]
        spatial = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)
        out: Tensor = x * self.spatial(spatial).sigmoid()
        return out
