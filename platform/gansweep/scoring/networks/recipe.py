"""How every detector or segmenter of a comparison is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

__all__ = ["Recipe"]


@dataclass(frozen=True)
class Recipe:
    """How every detector of a comparison is trained.

    Args:
        build: makes an untrained detector, images `[b, C, H, W]` to logits `[b, classes]`.
        classes: number of classes.
        steps: updates.
        batch: images per update.
        balanced: batches hold every class equally often (scarce classes are oversampled); else as they come.
        augmentation: of every training image, real or synthetic: a key of `AUGMENTATIONS`; None: none.
        lr: the peak of a one-cycle schedule of AdamW.
        use: how synthetic images are used: `mixed`, `pretrained` or `annealed`; see `ScoringSettings.synthetic_use`.
    """

    build: Callable[[], nn.Module]
    classes: int
    steps: int
    batch: int
    balanced: bool = True
    augmentation: str | None = "classical"
    lr: float = 3e-3
    use: str = "mixed"

    def synthetic_fraction(self, mean: float, step: int) -> float:
        """The fraction of synthetic images in the batch of a step, whose mean over all steps is `mean`.

        Whichever the use, a training has the same number of updates and, but for rounding, of synthetic images.
        """
        if self.use == "pretrained":
            return 1.0 if step < round(mean * self.steps) else 0.0
        if self.use == "annealed":
            # Falls in a straight line: to 0 from at most 1, or from 1 to what the mean leaves.
            done = step / max(1, self.steps - 1)
            first = min(1.0, 2 * mean)
            last = max(0.0, 2 * mean - 1)
            return first + (last - first) * done
        return mean
