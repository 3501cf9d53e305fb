"""A small cohort in memory: discs with (positive) and without (negative) a small bright spot."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING

import torch

from gansweep.contracts import Condition, ImageSet, ImageSpec

if TYPE_CHECKING:
    from gansweep.config import DataView

SIZE = 32


def discs(labels: torch.Tensor, generator: torch.Generator, size: int = SIZE) -> torch.Tensor:
    """`[n, 1, size, size]` noisy discs; label 1 has a bright spot at a random place inside."""
    axis = torch.linspace(-1, 1, size)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    place = (torch.rand(len(labels), 4, generator=generator) - 0.5)[:, :, None, None]
    radius = 0.7 + 0.2 * place[:, 0]
    disc = ((x - 0.2 * place[:, 1]) ** 2 + y**2 < radius**2) * 0.8 - 0.9
    spot = ((x - 0.7 * place[:, 2]) ** 2 + (y - 0.7 * place[:, 3]) ** 2 < 0.12**2) * 0.8
    images = disc + spot * labels[:, None, None]
    return (images + 0.1 * torch.randn(images.shape, generator=generator)).clamp(-1, 1)[:, None]


def disc_set(n: int, seed: int, size: int = SIZE) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    patients = tuple(f"{seed}-{i // 2}" for i in range(n))
    return ImageSet(discs(labels, generator, size), labels, None, patients)


@dataclass
class DiscCohort:
    """The shape of a `Cohort` that scoring needs."""

    train: int = 60
    val: int = 40
    classes: tuple[str, ...] = ("negative", "positive")

    def __post_init__(self) -> None:
        self.info = SimpleNamespace(positive_class=self.classes[-1])
        self.content_hash = f"discs-{self.train}-{self.val}-{len(self.classes)}"

    def spec(self, view: DataView | None = None) -> ImageSpec:
        return ImageSpec((view and view.size) or SIZE, 1, self.classes)

    def load(self, split: str, view: DataView | None = None) -> ImageSet:
        size = self.spec(view).size
        found = disc_set(self.train if split == "train" else self.val, {"train": 1, "val": 2}[split], size)
        return found if len(self.classes) > 1 else ImageSet(found.images, torch.zeros_like(found.labels))


def oracle(condition: Condition, seed: int) -> torch.Tensor:
    """A sampler that draws from the true distribution."""
    return discs(condition.labels, torch.Generator().manual_seed(seed))


def noise(condition: Condition, seed: int) -> torch.Tensor:
    """A sampler of pure noise."""
    shape = (len(condition.labels), 1, SIZE, SIZE)
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1
