"""Attention on feature maps: `ATTENTIONS[name](channels)` is a module that keeps the shape `[b, C, H, W]`."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["BlockAttention", "SelfAttention"]


class SelfAttention(nn.Module):
    """SAGAN's self-attention (Zhang et al. 2019, equations 1 to 4), with pooled keys and values.

    Starts as the identity. Written with plain products: fused attention kernels cannot be differentiated twice, which
    gradient penalties need.

    Args:
        channels: of the feature map.
    """

    largest: ClassVar[int] = 64
    """Pixels of a map it is meant for: at H x W every image takes a matrix of HW x HW / 4 numbers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(channels // 8, 1)
        self.query = nn.Conv2d(channels, inner, 1, bias=False)
        self.key = nn.Conv2d(channels, inner, 1, bias=False)
        self.value = nn.Conv2d(channels, max(channels // 2, 1), 1, bias=False)
        self.out = nn.Conv2d(max(channels // 2, 1), channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Each position plus gamma times what it attends to."""
        query = self.query(x).flatten(2)
        key, value = (F.max_pool2d(part(x), 2).flatten(2) for part in (self.key, self.value))
        weights = torch.einsum("bcq,bck->bqk", query, key).softmax(dim=-1)
        attended = torch.einsum("bqk,bck->bcq", weights, value).unflatten(2, x.shape[2:])
        out: Tensor = x + self.gamma * self.out(attended)
        return out


class BlockAttention(nn.Module):
    """CBAM (Woo et al. 2018): which channels matter, then where.

    Args:
        channels: of the feature map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(channels // 16, 1)
        self.channel = nn.Sequential(nn.Linear(channels, inner), nn.ReLU(), nn.Linear(inner, channels))
        self.spatial = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        """The map, gated twice."""
        channel = self.channel(x.mean(dim=(2, 3))) + self.channel(x.amax(dim=(2, 3)))
        x = x * channel.sigmoid()[:, :, None, None]
        spatial = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)
        out: Tensor = x * self.spatial(spatial).sigmoid()
        return out
