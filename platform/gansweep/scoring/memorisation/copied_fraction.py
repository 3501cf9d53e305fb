"""The fraction of a trial's samples that are copies of training images, cheap enough for every report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from gansweep.scoring.memorisation.copying import copies, owner_names
from gansweep.scoring.memorisation.figures import LEAST_PATIENTS, ImagesToCompare, Representation, compared
from gansweep.scoring.memorisation.neighbours import pixel_distances, small_images

if TYPE_CHECKING:
    from torch import Tensor

    from gansweep.contracts import ImageSet

__all__ = ["CopiedFraction"]


@dataclass(frozen=True)
class CopiedFraction:
    """Measures which fraction of samples is nearer to a training patient than new patients are, in pixels.

    It is `copies_pixels` of the examination before an export (`gansweep.scoring.memorisation.examination.assess`),
    without the resampling behind its interval.

    Args:
        images: the real images.
        small: the training images, averaged down.
        threshold: threshold of nearness, below which a sample is a copy.
        expected: fraction of new patients below the threshold.
    """

    images: ImagesToCompare
    small: Tensor
    threshold: float
    expected: float

    @classmethod
    def of(cls, training: ImageSet, held_out: ImageSet) -> CopiedFraction | None:
        """Finds the threshold, from real images; None if there are too few training patients for one.

        Args:
            training: training images of the generator, on the CPU.
            held_out: images of other patients, on the CPU.
        """
        images = ImagesToCompare.of(training.images[:0], training, held_out, None, seed=0)
        if images.counts["training_patients"] < LEAST_PATIENTS:
            return None
        small = small_images(images.training)
        unseen = small_images(images.held_out)[images.drawn_held_out]
        drawn = torch.cat([small[images.drawn_training], unseen])
        real = compared(_pixels(small), drawn, small, images.training_patients, own=images.drawn_training)
        owners = (
            tuple(images.training_patients[row] for row in images.drawn_training.tolist()),
            tuple(images.held_out_patients[row] for row in images.drawn_held_out.tolist()),
        )
        found = copies(real.nearness[:0], real.nearness, owner_names(owners))
        return cls(images, small, found.threshold, found.expected)

    def __call__(self, samples: Tensor) -> float:
        """Returns the fraction of `samples` `[n, C, H, W]` that are copies."""
        there = compared(_pixels(self.small), small_images(samples), self.small, self.images.training_patients)
        return float((there.nearness < self.threshold).double().mean())


def _pixels(small: Tensor) -> Representation:
    return Representation(pixel_distances, small[:0], small, small[:0])
