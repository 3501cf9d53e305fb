"""The figures of copying in one space: in pixels, or in an extractor's features."""

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
from gansweep.scoring.metrics.value import MetricValue
from gansweep.scoring.statistics.verdicts import wilson

if TYPE_CHECKING:
    from collections.abc import Callable

    from gansweep.contracts import ImageSet

__all__ = ["Compared", "Space", "space_of"]

MOST = 1000
"""Images of a set behind the membership attack and the threshold of copies: whole patients, drawn by chance."""
LEAST_PATIENTS = 3
"""Training patients; with fewer there is no patient nearer than the others."""


@dataclass(frozen=True)
class Compared:
    """Samples, and the real images they are judged by.

    Args:
        samples: `[n, C, H, W]` synthetic images.
        independent: how many of them have an origin of their own.
        training: what the generator was trained on.
        held_out: what it never saw; none of these is equal to a training image.
        owners: patients of the training and of the held-out images.
        rows: of the held-out images among those that were given.
        drawn: rows of training and of held-out images, behind costly statistics.
        remark: on the images.
        seed: of resampling.
    """

    samples: Tensor
    independent: int
    training: Tensor
    held_out: Tensor
    owners: tuple[tuple[str, ...], tuple[str, ...]]
    rows: Tensor
    drawn: tuple[Tensor, Tensor]
    remark: str
    seed: int

    @classmethod
    def of(
        cls, samples: Tensor, training: ImageSet, held_out: ImageSet | None, origins: int | None, seed: int
    ) -> Compared:
        """Leaves out held-out images that are equal to a training image, and draws patients.

        Args:
            samples: synthetic images.
            training: what the generator was trained on.
            held_out: what it never saw; None: there is nothing.
            origins: how many patients' images the samples were made from; None: they come from noise.
            seed: of the draw.
        """
        images, names = (training.images[:0], ()) if held_out is None else (held_out.images, _patients(held_out))
        seen = {_digest(image) for image in training.images}
        fresh = [row for row, image in enumerate(images) if _digest(image) not in seen]
        equal = len(images) - len(fresh)
        owners = _patients(training), tuple(names[row] for row in fresh)
        rows = torch.tensor(fresh, dtype=torch.int64)
        return cls(
            samples=samples,
            independent=min(len(samples), origins or len(samples)),
            training=training.images,
            held_out=images[rows],
            owners=owners,
            rows=rows,
            drawn=(drawn_patients(owners[0], MOST, seed), drawn_patients(owners[1], MOST, seed)),
            remark=f"{equal} held-out images that are equal to training images left out" if equal else "",
            seed=seed,
        )

    @property
    def counts(self) -> dict[str, int]:
        """Images and patients."""
        return {
            "training_images": len(self.training),
            "training_patients": len(set(self.owners[0])),
            "held_out_images": len(self.held_out),
            "held_out_patients": len(set(self.owners[1])),
            "samples": len(self.samples),
        }

    def unusable(self) -> str:
        """Why nothing can be compared; empty where it can."""
        known = self.counts["training_patients"]
        if known < LEAST_PATIENTS:
            return f"{known} training patients; nearest neighbours need at least {LEAST_PATIENTS}"
        bad = int((~self.samples.isfinite().flatten(1).all(1)).sum())
        return f"{bad} samples hold values that are not finite" if bad else ""

    def measured(self, value: float, low: float, high: float, reason: str = "") -> MetricValue:
        """A figure with these sizes."""
        return MetricValue(value, low, high, len(self.training) + len(self.held_out), len(self.samples), "", reason)

    def absent(self, reason: str) -> MetricValue:
        """A figure that there is none of."""
        return replace(self.measured(0, 0, 0, reason), value=None, low=None, high=None)


@dataclass(frozen=True)
class Space:
    """What was found in pixels, or in features.

    Args:
        figures: by name.
        copies: which samples are copies.
        p: of the membership attack; None where there is none.
        nearness: `[n]` of the samples to training patients.
        to_training: `[n, m]` distances of samples to training images.
        to_held_out: `[n, k]` and to held-out ones.
    """

    figures: dict[str, MetricValue]
    copies: Copies
    p: float | None
    nearness: Tensor
    to_training: Tensor
    to_held_out: Tensor


def space_of(
    sets: Compared, distance: Callable[[Tensor, Tensor], Tensor], samples: Tensor, training: Tensor, held_out: Tensor
) -> Space:
    """The figures of one space.

    Args:
        sets: what is compared.
        distance: `[n, ...]` and `[m, ...]` to `[n, m]`.
        samples: what `distance` takes for the samples: the images, or their features; likewise
        training: for the training images, and
        held_out: for the held-out ones.
    """
    (owners, others) = sets.owners
    (chosen, unseen) = sets.drawn
    drawn = tuple(owners[row] for row in chosen.tolist()), tuple(others[row] for row in unseen.tolist())
    to_training = distance(samples, training)
    to_held_out = distance(samples, held_out)
    by_training, column = by_patient(to_training, owners)
    around = min(PATIENTS_AROUND, by_training.shape[1] - 2)
    near = nearness(by_training, around)

    of_real = distance(torch.cat([training[chosen], held_out[unseen]]), training)
    among, _ = by_patient(of_real, owners)
    among[torch.arange(len(chosen)), column[chosen]] = torch.inf  # no patient is its own neighbour
    copied = copies(near, nearness(among, around), [f"{side}/{name}" for side in (0, 1) for name in drawn[side]])
    share = float(copied.found.double().mean())
    floor = sets.measured(copied.expected, copied.low, copied.high, "what fresh patients of the same source give")
    figures = {
        "copies": sets.measured(share, *wilson(round(share * sets.independent), sets.independent)),
        "copies_floor": replace(floor, n_fake=0),
    }
    if len(set(others)) < 2:
        none = sets.absent("fewer than two held-out patients")
        missing = dict.fromkeys(("memorisation_excess", "closer_than_held_out", "membership_auc"), none)
        return Space(figures | missing, copied, None, near, to_training, to_held_out)

    excess = memorisation_excess(by_training, by_patient(to_held_out, others)[0], sets.seed)
    nearest = to_training.min(1).values, of_real[len(chosen) :].min(1).values
    own = tuple(map(str, range(len(samples))))
    closer = closer_than_held_out(*nearest, (own, drawn[1]), sets.seed)
    attacked = to_training.min(0).values[chosen], to_held_out.min(0).values[unseen]
    value, low, high, p = membership_auc(*attacked, drawn, sets.seed)
    figures |= {
        "membership_auc": sets.measured(value, low, high, f"p = {p:.4f} for members drawn at random"),
        "memorisation_excess": sets.measured(*excess),
        "closer_than_held_out": sets.measured(*closer),
    }
    return Space(figures, copied, p, near, to_training, to_held_out)


def _patients(images: ImageSet) -> tuple[str, ...]:
    return images.patients or tuple(str(row) for row in range(len(images)))


def _digest(image: Tensor) -> bytes:
    return hashlib.blake2b(image.float().cpu().contiguous().numpy().tobytes(), digest_size=16).digest()
