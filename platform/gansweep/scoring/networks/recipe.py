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
        steps: number of updates.
        batch: number of images per update.
        balanced: whether batches hold every class equally often, by oversampling rare classes; otherwise classes are as
            frequent as in the training images.
        augmentation: augmentation of every training image, real or synthetic: a key of `AUGMENTATIONS`, for segmenters
            of `OF_PAIRS`; None for none.
        lr: maximum learning rate of AdamW in a one-cycle schedule.
        use: how synthetic images are used: `mixed`, `pretrained` or `annealed`; see `ScoringSettings.synthetic_use`.
        execution: how updates run on a GPU: see `TrialConfig.execution`.
    """

    build: Callable[[], nn.Module]
    classes: int
    steps: int
    batch: int
    balanced: bool = True
    augmentation: str | None = "classical"
    lr: float = 3e-3
    use: str = "mixed"
    execution: str = "auto"

    def synthetic_fraction(self, mean: float, step: int) -> float:
        """Returns the fraction of synthetic images in the batch of `step`.

        The mean over all steps is `mean`. The number of updates and, up to rounding, the number of synthetic images
        therefore do not depend on `use`.

        Args:
            mean: mean fraction over all steps, in [0, 1].
            step: number of the update, from 0.
        """
        if self.use == "pretrained":
            return 1.0 if step < round(mean * self.steps) else 0.0
        if self.use == "annealed":
            # Linear. If the mean is at most 1/2 it ends at 0; otherwise it starts at 1.
            done = step / max(1, self.steps - 1)
            first = min(1.0, 2 * mean)
            last = max(0.0, 2 * mean - 1)
            return first + (last - first) * done
        return mean
