"""The figures of copying, in pixels or in an extractor's features."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gansweep.scoring.memorisation.copying import (
    Copies,
    closer_than_held_out,
    copies,
    membership_auc,
    memorisation_excess,
)
from gansweep.scoring.memorisation.neighbours import PATIENTS_AROUND, by_patient, drawn_patients, nearness
from gansweep.scoring.statistics.verdicts import wilson
from gansweep.scoring.values import MetricValue

if TYPE_CHECKING:
    from collections.abc import Callable

    from gansweep.contracts import ImageSet

__all__ = ["Findings", "ImagesToCompare", "Representation", "find_copying"]

MOST_IMAGES = 1000
"""Images of a set behind the membership attack and the threshold of copies: whole patients, drawn at random."""
LEAST_PATIENTS = 3
"""Training patients. With fewer, no patient can be nearer than the others."""


@dataclass(frozen=True)
class ImagesToCompare:
    """Samples, and the real images they are compared with.

    Args:
        samples: `[n, C, H, W]` synthetic images.
        independent: how many of the samples have an origin of their own.
        training: what the generator was trained on.
        held_out: what the generator never saw. None of these is equal to a training image.
        training_patients: of each training image.
        held_out_patients: of each held-out image.
        held_out_rows: of each held-out image, its row among the images that were given.
        drawn_training: rows of the training images behind costly statistics.
        drawn_held_out: rows of the held-out images behind costly statistics.
        remark: on the images.
        seed: of resampling.
    """

    samples: Tensor
    independent: int
    training: Tensor
    held_out: Tensor
    training_patients: tuple[str, ...]
    held_out_patients: tuple[str, ...]
    held_out_rows: Tensor
    drawn_training: Tensor
    drawn_held_out: Tensor
    remark: str
    seed: int

    @classmethod
    def of(
        cls, samples: Tensor, training: ImageSet, held_out: ImageSet | None, origins: int | None, seed: int
    ) -> ImagesToCompare:
        """Leaves out held-out images that are equal to a training image, and draws patients.

        Args:
            samples: synthetic images.
            training: what the generator was trained on.
            held_out: what it never saw; None: there is nothing.
            origins: how many patients' images the samples were made from; None: they come from noise.
            seed: of the draw.
        """
        images = training.images[:0] if held_out is None else held_out.images
        patients = () if held_out is None else _patients(held_out)
        seen = {_digest(image) for image in training.images}
        fresh = [row for row, image in enumerate(images) if _digest(image) not in seen]
        equal = len(images) - len(fresh)
        rows = torch.tensor(fresh, dtype=torch.int64)
        training_patients = _patients(training)
        held_out_patients = tuple(patients[row] for row in fresh)
        return cls(
            samples=samples,
            independent=min(len(samples), origins or len(samples)),
            training=training.images,
            held_out=images[rows],
            training_patients=training_patients,
            held_out_patients=held_out_patients,
            held_out_rows=rows,
            drawn_training=drawn_patients(training_patients, MOST_IMAGES, seed),
            drawn_held_out=drawn_patients(held_out_patients, MOST_IMAGES, seed),
            remark=f"{equal} held-out images that are equal to training images left out" if equal else "",
            seed=seed,
        )

    @property
    def counts(self) -> dict[str, int]:
        """Images and patients."""
        return {
            "training_images": len(self.training),
            "training_patients": len(set(self.training_patients)),
            "held_out_images": len(self.held_out),
            "held_out_patients": len(set(self.held_out_patients)),
            "samples": len(self.samples),
        }

    def unusable(self) -> str:
        """Why nothing can be compared; empty where it can."""
        known = self.counts["training_patients"]
        if known < LEAST_PATIENTS:
            return f"{known} training patients; nearest neighbours need at least {LEAST_PATIENTS}"
        bad = int((~self.samples.isfinite().flatten(1).all(1)).sum())
        return f"{bad} samples hold values that are not finite" if bad else ""

    def metric_value(self, value: float, low: float, high: float, reason: str = "") -> MetricValue:
        """A figure with the numbers of images behind it."""
        return MetricValue(value, low, high, len(self.training) + len(self.held_out), len(self.samples), "", reason)

    def absent(self, reason: str) -> MetricValue:
        """A figure that there is none of."""
        return replace(self.metric_value(0, 0, 0, reason), value=None, low=None, high=None)


@dataclass(frozen=True)
class Representation:
    """The images as a distance takes them: as pixels, or as features.

    Args:
        distance: of `[n, ...]` and `[m, ...]` to `[n, m]`.
        samples: `[n, ...]` of the samples.
        training: `[m, ...]` of the training images.
        held_out: `[k, ...]` of the held-out images.
    """

    distance: Callable[[Tensor, Tensor], Tensor]
    samples: Tensor
    training: Tensor
    held_out: Tensor


@dataclass(frozen=True)
class Findings:
    """What was found in one representation.

    Args:
        figures: by name.
        copies: which samples are copies.
        p: of the membership attack; None where there is none.
        nearness: `[n]` of the samples to training patients.
        to_training: `[n, m]` distances of samples to training images.
        to_held_out: `[n, k]` distances of samples to held-out images.
    """

    figures: dict[str, MetricValue]
    copies: Copies
    p: float | None
    nearness: Tensor
    to_training: Tensor
    to_held_out: Tensor


def find_copying(images: ImagesToCompare, shown: Representation) -> Findings:
    """The figures of copying in one representation of the images."""
    to_training = shown.distance(shown.samples, shown.training)
    to_held_out = shown.distance(shown.samples, shown.held_out)
    to_training_patients, column = by_patient(to_training, images.training_patients)
    around = min(PATIENTS_AROUND, to_training_patients.shape[1] - 2)
    near = nearness(to_training_patients, around)

    # Real images and their distances to training images of other patients: what is normal without any copying.
    drawn = torch.cat([shown.training[images.drawn_training], shown.held_out[images.drawn_held_out]])
    from_real = shown.distance(drawn, shown.training)
    from_real_to_patients, _ = by_patient(from_real, images.training_patients)
    members = torch.arange(len(images.drawn_training))
    from_real_to_patients[members, column[images.drawn_training]] = torch.inf  # no patient is its own neighbour
    owners = (
        tuple(images.training_patients[row] for row in images.drawn_training.tolist()),
        tuple(images.held_out_patients[row] for row in images.drawn_held_out.tolist()),
    )
    names = [f"{side}/{name}" for side in (0, 1) for name in owners[side]]
    copied = copies(near, nearness(from_real_to_patients, around), names)
    figures = _copy_figures(images, copied)
    if len(set(images.held_out_patients)) < 2:
        none = images.absent("fewer than two held-out patients")
        missing = dict.fromkeys(("memorisation_excess", "closer_than_held_out", "membership_auc"), none)
        return Findings(figures | missing, copied, None, near, to_training, to_held_out)

    to_held_out_patients, _ = by_patient(to_held_out, images.held_out_patients)
    excess = memorisation_excess(to_training_patients, to_held_out_patients, images.seed)
    closer = closer_than_held_out(
        to_training.min(1).values,
        from_real[len(members) :].min(1).values,
        (tuple(map(str, range(len(images.samples)))), owners[1]),
        images.seed,
    )
    attack = membership_auc(
        to_training.min(0).values[images.drawn_training],
        to_held_out.min(0).values[images.drawn_held_out],
        owners,
        images.seed,
    )
    figures |= {
        "membership_auc": images.metric_value(
            attack.area, attack.low, attack.high, f"p = {attack.p:.4f} for members drawn at random"
        ),
        "memorisation_excess": images.metric_value(*excess),
        "closer_than_held_out": images.metric_value(*closer),
    }
    return Findings(figures, copied, attack.p, near, to_training, to_held_out)


def _copy_figures(images: ImagesToCompare, copied: Copies) -> dict[str, MetricValue]:
    fraction = float(copied.found.double().mean())
    bounds = wilson(round(fraction * images.independent), images.independent)
    remark = "what fresh patients of the same source give"
    floor = images.metric_value(copied.expected, copied.low, copied.high, remark)
    return {
        "copies": images.metric_value(fraction, *bounds),
        "copies_floor": replace(floor, n_fake=0),
    }


def _patients(images: ImageSet) -> tuple[str, ...]:
    return images.patients or tuple(str(row) for row in range(len(images)))


def _digest(image: Tensor) -> bytes:
    return hashlib.blake2b(image.float().cpu().contiguous().numpy().tobytes(), digest_size=16).digest()
