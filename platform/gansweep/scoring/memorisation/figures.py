"""Figures of copying, in pixels or in an extractor's features."""

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
    owner_names,
)
from gansweep.scoring.memorisation.neighbours import (
    PATIENTS_AROUND,
    Nearest,
    blocks_of_rows,
    by_patient,
    columns_of,
    drawn_patients,
    nearness,
)
from gansweep.scoring.statistics.verdicts import wilson
from gansweep.scoring.values import MetricValue

if TYPE_CHECKING:
    from collections.abc import Callable

    from gansweep.contracts import ImageSet

__all__ = ["LEAST_PATIENTS", "Compared", "Findings", "ImagesToCompare", "Representation", "compared", "find_copying"]

MOST_IMAGES = 1000
"""Maximum number of images of a set in the membership attack and the threshold of copies.

Randomly drawn whole patients.
"""
LEAST_PATIENTS = 3
"""Minimum number of training patients. With fewer, no patient can be nearer than the others."""


@dataclass(frozen=True)
class ImagesToCompare:
    """Samples, and the real images that they are compared with.

    Args:
        samples: synthetic images `[n, C, H, W]`.
        independent: number of samples with independent origins.
        training: training images of the generator.
        held_out: images that the generator never saw. None of them equals a training image.
        training_patients: patient of each training image.
        held_out_patients: patient of each held-out image.
        held_out_rows: row of each held-out image among the images passed in.
        drawn_training: rows of the training images used for costly statistics.
        drawn_held_out: rows of the held-out images used for costly statistics.
        remark: remark on the images.
        seed: seed of resampling.
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
        """Leaves out held-out images that equal a training image, and draws patients.

        Args:
            samples: synthetic images.
            training: training images of the generator.
            held_out: images that it never saw; None if there are none.
            origins: number of patients from whose images the samples were made; None: made from noise.
            seed: seed of the draw.
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
        """Returns the numbers of images and patients."""
        return {
            "training_images": len(self.training),
            "training_patients": len(set(self.training_patients)),
            "held_out_images": len(self.held_out),
            "held_out_patients": len(set(self.held_out_patients)),
            "samples": len(self.samples),
        }

    def unusable(self) -> str:
        """Returns why nothing can be compared, or an empty string."""
        known = self.counts["training_patients"]
        if known < LEAST_PATIENTS:
            return f"{known} training patients; nearest neighbours need at least {LEAST_PATIENTS}"
        bad = int((~self.samples.isfinite().flatten(1).all(1)).sum())
        return f"{bad} samples hold values that are not finite" if bad else ""

    def metric_value(self, value: float, low: float, high: float, reason: str = "") -> MetricValue:
        """Returns a figure with its numbers of images."""
        return MetricValue(value, low, high, len(self.training) + len(self.held_out), len(self.samples), "", reason)

    def absent(self, reason: str) -> MetricValue:
        """Returns the value of an absent figure."""
        return replace(self.metric_value(0, 0, 0, reason), value=None, low=None, high=None)


@dataclass(frozen=True)
class Representation:
    """The images in the form that a distance takes: as pixels or as features.

    Args:
        distance: function from `[n, ...]` and `[m, ...]` to distances `[n, m]`.
        samples: the samples `[n, ...]`.
        training: the training images `[m, ...]`.
        held_out: the held-out images `[k, ...]`.
    """

    distance: Callable[[Tensor, Tensor], Tensor]
    samples: Tensor
    training: Tensor
    held_out: Tensor


@dataclass(frozen=True)
class Findings:
    """Results in one representation.

    Args:
        figures: figures by name.
        copies: which samples are copies.
        p: p-value of the membership attack; None if there are too few held-out patients for it.
        nearness: nearness of the samples to training patients, `[n]`.
        training: row of the training image nearest to each sample, `[n]`.
        held_out: row of the nearest held-out image, `[n]`; empty if there are none.
    """

    figures: dict[str, MetricValue]
    copies: Copies
    p: float | None
    nearness: Tensor
    training: Tensor
    held_out: Tensor


@dataclass(frozen=True)
class Compared:
    """Distances of n images to a set of m images, as far as the figures need them.

    Args:
        nearest: the nearest patients of the set.
        nearness: nearness to the patients of the set, `[n]`.
        image: row of the nearest image of the set, `[n]`.
        least: distance to that image, `[n]`.
        to_set: distance of each image of the set to the nearest of the n images, `[m]`.
    """

    nearest: Nearest
    nearness: Tensor
    image: Tensor
    least: Tensor
    to_set: Tensor


def compared(
    shown: Representation, images: Tensor, others: Tensor, patients: tuple[str, ...], own: Tensor | None = None
) -> Compared:
    """Compares images with a set, in blocks of rows that limit the memory.

    Args:
        shown: representation with the distance.
        images: `[n, ...]`.
        others: the set, `[m, ...]`.
        patients: patients of the images in the set, `[m]`.
        own: rows of the first images in the set, if they are part of it. The patient of such an image does not count as
            its neighbour. None: no image is part of the set.
    """
    column = columns_of(patients)
    around = max(min(PATIENTS_AROUND, len(set(patients)) - 2), 0)
    nearest: list[Nearest] = []
    near: list[Tensor] = []
    image: list[Tensor] = []
    least: list[Tensor] = []
    to_set = torch.full((len(others),), torch.inf)
    for rows in blocks_of_rows(len(images), len(others)):
        distances = shown.distance(images[rows], others)
        to_patients, _ = by_patient(distances, patients)
        if own is not None:
            mine = column[own[rows]]
            to_patients[torch.arange(len(mine)), mine] = torch.inf
        values, places = distances.min(1)
        nearest.append(Nearest.of(to_patients))
        near.append(nearness(to_patients, around))
        image.append(places)
        least.append(values)
        torch.minimum(to_set, distances.min(0).values, out=to_set)
    return Compared(Nearest.joined(nearest), torch.cat(near), torch.cat(image), torch.cat(least), to_set)


def find_copying(images: ImagesToCompare, shown: Representation) -> Findings:
    """Computes the figures of copying in one representation of the images."""
    samples = compared(shown, shown.samples, shown.training, images.training_patients)

    # Distances of real images to training images of other patients show what is normal without any copying.
    drawn = torch.cat([shown.training[images.drawn_training], shown.held_out[images.drawn_held_out]])
    members = len(images.drawn_training)
    real = compared(shown, drawn, shown.training, images.training_patients, own=images.drawn_training)
    owners = (
        tuple(images.training_patients[row] for row in images.drawn_training.tolist()),
        tuple(images.held_out_patients[row] for row in images.drawn_held_out.tolist()),
    )
    copied = copies(samples.nearness, real.nearness, owner_names(owners))
    figures = _copy_figures(images, copied)
    unseen = None
    if len(shown.held_out):
        unseen = compared(shown, shown.samples, shown.held_out, images.held_out_patients)
    nearest_held_out = samples.image[:0] if unseen is None else unseen.image
    if unseen is None or len(set(images.held_out_patients)) < 2:
        none = images.absent("fewer than two held-out patients")
        missing = dict.fromkeys(("memorisation_excess", "closer_than_held_out", "membership_auc"), none)
        return Findings(figures | missing, copied, None, samples.nearness, samples.image, nearest_held_out)

    excess = memorisation_excess(samples.nearest, unseen.nearest, images.seed)
    # Each sample counts as a patient of its own.
    sample_owners = tuple(str(row) for row in range(len(images.samples)))
    closer = closer_than_held_out(samples.least, real.least[members:], (sample_owners, owners[1]), images.seed)
    from_training = samples.to_set[images.drawn_training]
    from_held_out = unseen.to_set[images.drawn_held_out]
    attack = membership_auc(from_training, from_held_out, owners, images.seed)
    remark = f"p = {attack.p:.4f} for members drawn at random"
    figures |= {
        "membership_auc": images.metric_value(attack.area, attack.low, attack.high, remark),
        "memorisation_excess": images.metric_value(*excess),
        "closer_than_held_out": images.metric_value(*closer),
    }
    return Findings(figures, copied, attack.p, samples.nearness, samples.image, nearest_held_out)


def _copy_figures(images: ImagesToCompare, copied: Copies) -> dict[str, MetricValue]:
    fraction = float(copied.found.double().mean())
    low, high = wilson(round(fraction * images.independent), images.independent)
    remark = "what fresh patients of the same source give"
    floor = images.metric_value(copied.expected, copied.low, copied.high, remark)
    return {
        "copies": images.metric_value(fraction, low, high),
        "copies_floor": replace(floor, n_fake=0),
    }


def _patients(images: ImageSet) -> tuple[str, ...]:
    return images.patients or tuple(str(row) for row in range(len(images)))


def _digest(image: Tensor) -> bytes:
    content = image.float().cpu().contiguous().numpy().tobytes()
    return hashlib.blake2b(content, digest_size=16).digest()
