"""Statistics of copying: how much a generator's samples reveal which patients it was trained on.

For a generator that has learned without memorising, its training patients are like other patients of the same source.
Each statistic has a known value for such a generator, provided that the distances treat both groups equally too. The
distances of an encoder trained on the training patients do not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from gansweep.scoring.memorisation.neighbours import Nearest, lowest_by_patient
from gansweep.scoring.metrics.answers import Predictions
from gansweep.scoring.statistics.elementary import numbered
from gansweep.scoring.statistics.verdicts import interval, wilson

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Attack",
    "Copies",
    "Owners",
    "closer_than_held_out",
    "copies",
    "membership_auc",
    "memorisation_excess",
    "owner_names",
]

Owners = tuple["Sequence[str]", "Sequence[str]"]
"""Patients of the images in two sets. The same name in both sets means two different patients."""

DEALS = 2000
HALVES = 200


@dataclass(frozen=True)
class Copies:
    """Samples that are nearer to one training patient than real images are to another patient.

    Args:
        threshold: threshold of `nearness`.
        found: mask `[n]` of the samples below the threshold.
        expected, low, high: expected fraction of new patients below the threshold, and its interval.
    """

    threshold: float
    found: Tensor
    expected: float
    low: float
    high: float


class Attack(NamedTuple):
    """Result of a membership attack.

    Args:
        area: area under its ROC curve.
        low, high: 95 % interval of the area.
        p: probability of an area this large if members are drawn at random.
    """

    area: float
    low: float
    high: float
    p: float


def memorisation_excess(to_training: Nearest, to_held_out: Nearest, seed: int = 0) -> tuple[float, float, float]:
    """Returns how many more samples than by chance are nearest to a training patient, with a 95 % interval.

    Let there be P_t training and P_h held-out patients. If a generator treats both groups equally, a sample is nearest
    to a training patient with probability e = P_t / (P_t + P_h). With the observed fraction s, the excess is (s - e) /
    (1 - e). The null value is 0. At 1, every sample is nearest to a training patient. If some samples are copies and
    the others are independent, the excess is the fraction of copies. It is at most 1, and negative if held-out patients
    are nearer. This happens in the features of an encoder trained on the training patients, for any samples. With few
    held-out patients the interval is wide.

    The interval is computed by the half-sample jackknife over patients and samples (Shao & Wu 1989), and is at least as
    wide as that of a proportion of the samples.

    Args:
        to_training: distances of the samples to their nearest training patients, of at least two.
        to_held_out: distances of the same samples to their nearest held-out patients, of at least two.
        seed: seed of the random halves.

    Returns:
        Value, lower and upper bound.
    """
    generator = torch.Generator().manual_seed(seed)
    samples = len(to_training.distances)
    training = to_training.patients
    held_out = to_held_out.patients

    def random_half(count: int) -> Tensor:
        return torch.randperm(count, generator=generator)[: count // 2]

    excesses = []
    for _ in range(HALVES):
        rows = random_half(samples)
        some_training = random_half(training)
        some_held_out = random_half(held_out)
        nearer = to_training.among(some_training, rows) < to_held_out.among(some_held_out, rows)
        fraction = float(nearer.double().mean())
        excesses.append(_excess(fraction, len(some_training), len(some_held_out)))
    error = float(np.std(excesses, ddof=1))

    count = int((to_training.distances[:, 0] < to_held_out.distances[:, 0]).sum())
    value = _excess(count / samples, training, held_out)
    lowest_fraction, highest_fraction = wilson(count, samples)
    low = min(_excess(lowest_fraction, training, held_out), value - 1.96 * error)
    high = max(_excess(highest_fraction, training, held_out), value + 1.96 * error)
    return value, low, min(1.0, high)


def _excess(fraction: float, training: int, held_out: int) -> float:
    """Returns the excess of a fraction of samples that are nearest to one of `training` patients."""
    expected = training / (training + held_out)
    return (fraction - expected) / (1 - expected)


def closer_than_held_out(
    samples: Tensor, held_out: Tensor, owners: Owners, seed: int = 0
) -> tuple[float, float, float]:
    """Returns the probability that a sample is nearer to a training image than a held-out image is.

    Both distances are to the nearest training image. Range [0, 1]. The value is 0.5 for a generator that draws from the
    true distribution. Higher values mean that samples are nearer to the training images than new real images are.
    Copies are not the only cause: smooth images, such as those of a GAN early in training, are nearer to everything
    than a real image is. The value is therefore descriptive and does not affect the verdict.

    Args:
        samples: distances of samples to the nearest training image `[n]`.
        held_out: the same for held-out images `[m]`.
        owners: one owner per sample, and the patients of the held-out images, at least two.
        seed: seed of the bootstrap over samples and patients.

    Returns:
        Value, lower and upper bound (95 % interval).

    Source:
        Meehan, Chaudhuri & Dasgupta 2020, "A Non-Parametric Test to Detect Data-Copying in Generative Models",
        section 3.2: the Mann-Whitney statistic U / (n m) of the three-sample test, without the partition into cells.
    """
    return _auc(-samples, -held_out, owners, seed)


def copies(of_samples: Tensor, of_real: Tensor, patients: Sequence[str]) -> Copies:
    """Finds samples that are nearer to one training patient than real images are to other patients.

    The threshold is an order statistic of P real patients, each with the lowest `nearness` among its images. It is the
    lowest value, or from 199 patients on the value with a hundredth of the patients below it. The probability that a
    new patient of the same source is below the k-th lowest of P has the distribution Beta(k, P + 1 - k), whatever the
    distribution of nearness (Wilks 1941, "Determination of Sample Sizes for Setting Tolerance Limits"). Its mean and
    its 95 % interval give the fraction to expect without any copying.

    Args:
        of_samples: nearness of samples to training patients `[n]`.
        of_real: nearness of real images to training patients other than their own `[m]`.
        patients: patients of the real images `[m]`.
    """
    ordered = lowest_by_patient(of_real, patients).sort().values
    k = max(1, (len(ordered) + 1) // 100)
    below = stats.beta(k, len(ordered) + 1 - k)
    low, high = below.ppf([0.025, 0.975])
    threshold = ordered[k - 1]
    return Copies(float(threshold), of_samples < threshold, float(below.mean()), float(low), float(high))


def membership_auc(members: Tensor, others: Tensor, owners: Owners, seed: int = 0) -> Attack:
    """Measures how well an attacker who has only samples can identify the training patients.

    The attack ranks images by the distance to their nearest sample: the nearer, the more likely a training image. The
    result is the area under the attack's ROC curve. The null value is 0.5, and 1 is a total leak. It depends on the
    number of samples: few samples cannot reveal each of many patients.

    In the features of an encoder trained on the members, the area is slightly too low. For a generator that knows no
    patient it was 0.44 (95 %: 0.39 to 0.49), and 0.48 (0.45 to 0.52) with an encoder trained on third patients (12
    cohorts: `test_an_encoder_that_saw_the_training_patients_moves_the_excess`).

    Args:
        members: distances of training images to their nearest samples `[m]`.
        others: the same for held-out images `[k]`.
        owners: their patients, at least two on each side.
        seed: seed of resampling.

    Returns:
        The area; its 95 % interval, by a bootstrap over patients; and the probability of an area this large if the
        members were drawn at random from all these patients (a one-sided permutation test over patients, valid for few
        patients too).

    Raises:
        ConfigError: a side has fewer than two patients.

    Source:
        Chen et al. 2020, "GAN-Leaks", section 4.2 (full black-box attack).
    """
    value, low, high = _auc(-members, -others, owners, seed)
    column = numbered(owner_names(owners))
    ranks = stats.rankdata(-torch.cat([members, others]).numpy())
    sums = np.bincount(column, weights=ranks)
    counts = np.bincount(column)
    is_member = np.arange(len(sums)) < len(set(owners[0]))
    dealt = np.random.default_rng(seed).permuted(np.tile(is_member, (DEALS, 1)), axis=1)
    size = dealt @ counts
    areas = (dealt @ sums - size * (size + 1) / 2) / (size * (len(ranks) - size))
    # The actual assignment is one of the possible ones, hence the ones. The tolerance keeps rounding from excluding it.
    as_large = (areas >= value - 1e-9).sum()
    p = float((1 + as_large) / (1 + DEALS))
    return Attack(value, low, high, p)


def _auc(scores: Tensor, others: Tensor, owners: Owners, seed: int) -> tuple[float, float, float]:
    """Returns P(score > other), ties counted half, and its 95 % interval by a bootstrap over patients."""
    both = torch.cat([scores, others]).double().numpy()
    labels = np.repeat(np.array([1, 0]), [len(scores), len(others)])
    predictions = Predictions(np.stack([-both, both], 1)[None], labels, owner_names(owners), 1)
    return interval(predictions, "auroc", seed=seed)


def owner_names(owners: Owners) -> list[str]:
    """Returns the patients of both sets with a prefix, so that the same name in both sets means two patients."""
    first, second = owners
    return [*(f"0/{name}" for name in first), *(f"1/{name}" for name in second)]
