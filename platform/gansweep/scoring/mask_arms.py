"""Arms of segmenters, trained with and without pairs of a generator and evaluated on test images with a lesion.

They are the arms of `gansweep.scoring.arms`, with these differences:

- There is no arm without oversampling, a control of the balance between classes.
- There is no MixUp: the mean of two masks is no mask. CutMix and elastic augmentation change image and mask alike.
  Intensity augmentation changes the image alone.
- Lesions are pasted with their masks.
- Samples are not filtered, as in the scores of a trial: the filters judge by the class of a sample.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gansweep.scoring.arms import AUGMENTED, REAL_ARMS, RIVALS, pasted_lesions, synthetic_fractions
from gansweep.scoring.networks.augmentation import OF_PAIRS
from gansweep.scoring.networks.detection import fraction_of_ratio
from gansweep.scoring.networks.segmentation import train_segmenters
from gansweep.scoring.reference import mask_scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from torch import Tensor

    from gansweep.contracts import ImageSet
    from gansweep.scoring.networks.recipe import Recipe

__all__ = ["MaskArms"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MaskArms:
    """Trains the segmenters of arms, and scores them on the test images with a lesion.

    Every method returns `mask_scores` by arm: `[s, metrics, n]` of the arm's s segmenters for the n images.

    Args:
        recipe: training recipe of the base arm.
        real: training images with masks.
        test: test images with masks, of patients that neither the generator nor the search has seen.
        seeds: seeds of the segmenters. Arms share the random numbers of each seed.
        device: training device.
    """

    recipe: Recipe
    real: ImageSet
    test: ImageSet
    seeds: Sequence[int]
    device: torch.device

    def real_arms(self) -> dict[str, Tensor]:
        """Evaluates the arms that need neither a generator nor a rival, the base first."""
        changes = {name: changed for name, changed in REAL_ARMS.items() if "balanced" not in changed}
        return {name: self._scores(name, replace(self.recipe, **changed)) for name, changed in changes.items()}

    def rival_arms(self, rivals: Sequence[str], positive: int, images: int) -> dict[str, Tensor]:
        """Evaluates the rivals that are possible for masks.

        Args:
            rivals: keys of `gansweep.scoring.arms.RIVALS`.
            positive: index of the class with lesions.
            images: number of images with pasted lesions.
        """
        found: dict[str, Tensor] = {}
        for rival in rivals:
            pasted = pasted_lesions(rival, self.real, positive, images=images, seed=self.seeds[0])
            if rival in AUGMENTED and rival in OF_PAIRS:
                found[RIVALS[rival]] = self._scores(RIVALS[rival], replace(self.recipe, augmentation=rival))
            elif pasted is not None:
                found[RIVALS[rival]] = self._scores(RIVALS[rival], self.recipe, pasted, fraction_of_ratio(1.0))
        return found

    def synthetic_arms(self, samples: ImageSet, ratios: Sequence[float]) -> dict[str, Tensor]:
        """Evaluates the arms that use a generator's samples.

        Args:
            samples: samples of one generator, with masks.
            ratios: numbers of synthetic images per real image, one arm each.
        """
        return {
            name: self._scores(name, self.recipe, samples, fraction)
            for name, fraction in synthetic_fractions(ratios).items()
        }

    def _scores(self, name: str, recipe: Recipe, others: ImageSet | None = None, fraction: float = 0.0) -> Tensor:
        log.info("training %d segmenters: %s", len(self.seeds), name)
        segmenters = train_segmenters(recipe, self.real, others, fraction, self.seeds, self.device)
        return mask_scores(segmenters, self.test, self.device)
