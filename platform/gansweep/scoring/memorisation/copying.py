"""Statistics of copying: how far a generator's samples give away which patients it was trained on.

To a generator that has learnt and not memorised, its training patients and other patients of the same source are
alike. Each statistic here has a value that is known beforehand for such a generator, if the distances do not know one
from the other either: those of an encoder that was trained on the training patients do.
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
from gansweep.scoring.statistics.verdicts import interval, wilson

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Attack", "Copies", "Owners", "closer_than_held_out", "copies", "membership_auc", "memorisation_excess"]

Owners = tuple["Sequence[str]", "Sequence[str]"]
"""Whose images the values of two sets belong to; the same name on both sides means two patients."""

DEALS = 2000
HALVES = 200


@dataclass(frozen=True)
class Copies:
    """Which samples one training patient stands nearer to than real images stand to another patient.

    Args:
        threshold: of `nearness`.
        found: `[n]` which samples are below it.
        expected, low, high: the fraction of fresh patients that is below it, and its interval.
    """

    threshold: float
    found: Tensor
    expected: float
    low: float
    high: float


class Attack(NamedTuple):
    """How well a membership attack does.

    Args:
        area: under its ROC curve.
        low, high: the 95 % interval of the area.
        p: the chance of an area as large with members drawn at random.
    """

    area: float
    low: float
    high: float
    p: float


def memorisation_excess(to_training: Nearest, to_held_out: Nearest, seed: int = 0) -> tuple[float, float, float]:
    """How many more samples are nearest to a training patient than chance would have it, with its 95 % interval.

    With P_t training and P_h held-out patients, a sample of a generator that does not know one from the other is
    nearest to a training patient with probability e = P_t / (P_t + P_h). With s the fraction found, the excess is
    (s - e) / (1 - e). 0 is the null value; 1: every sample is nearest to a training patient; where some samples are
    copies and the others know nothing, it is the fraction of copies. At most 1; negative where held-out patients are
    nearer, as they are in the features of an encoder that was trained on the training patients, for whatever samples.
    With few held-out patients the interval is wide.

    The interval is by the half-sample jackknife over patients and samples (Shao & Wu 1989), and not narrower than
    that of a proportion of the samples.

    Args:
        to_training: distances of n samples to the nearest of p training patients, p > 1.
        to_held_out: to the nearest of q held-out patients, q > 1.
        seed: of the halves.

    Returns:
        value, low, high.
    """
    generator = torch.Generator().manual_seed(seed)

    def excess(fraction: float, training: int, held_out: int) -> float:
        expected = training / (training + held_out)
        return (fraction - expected) / (1 - expected)

    def half(n: int) -> Tensor:
        return torch.randperm(n, generator=generator)[: n // 2]

    def of_halves() -> float:
        rows = half(n)
        training = half(p)
        held_out = half(q)
        nearer = to_training.among(training, rows) < to_held_out.among(held_out, rows)
        fraction = nearer.double().mean()
        return excess(float(fraction), len(training), len(held_out))

    n = len(to_training.distances)
    p = to_training.patients
    q = to_held_out.patients
    error = float(np.std([of_halves() for _ in range(HALVES)], ddof=1))
    count = int((to_training.distances[:, 0] < to_held_out.distances[:, 0]).sum())
    value = excess(count / n, p, q)
    low, high = (excess(end, p, q) for end in wilson(count, n))
    return value, min(low, value - 1.96 * error), min(1.0, max(high, value + 1.96 * error))


def closer_than_held_out(
    samples: Tensor, held_out: Tensor, owners: Owners, seed: int = 0
) -> tuple[float, float, float]:
    """The chance that a sample lies nearer to its nearest training image than a held-out image does to its own.

    Range [0, 1]. 0.5 for a generator that draws from the true distribution; higher: its samples lie nearer to the
    training images than fresh real images do. Not only copies do: smooth images, as of a GAN in its first hours, lie
    nearer to everything than a real image does. So this describes, and decides nothing.

    Args:
        samples: `[n]` distances to the nearest training image.
        held_out: `[m]` likewise.
        owners: each sample is its own; patients of the held-out images, of at least two.
        seed: of the bootstrap over samples and patients.

    Returns:
        value and its 95 % interval.

    Source:
        Meehan, Chaudhuri & Dasgupta 2020, "A Non-Parametric Test to Detect Data-Copying in Generative Models",
        section 3.2: the Mann-Whitney statistic U / (n m) of the three-sample test, without the partition into cells.
    """
    return _auc(-samples, -held_out, owners, seed)


def copies(of_samples: Tensor, of_real: Tensor, patients: Sequence[str]) -> Copies:
    """Finds the samples to which one training patient stands nearer than to real images of other patients.

    The threshold is an order statistic of P real patients, each by the lowest `nearness` among its images: the lowest
    of all, or from 199 patients on the one that a hundredth is below. A fresh patient of the same source falls below
    the k-th lowest of P with a probability that is distributed as Beta(k, P + 1 - k), however nearness itself is
    distributed (Wilks 1941, "Determination of Sample Sizes for Setting Tolerance Limits"). Its mean and its 95 %
    interval say what may be found without any copying.

    Args:
        of_samples: `[n]` nearness of samples to training patients.
        of_real: `[m]` nearness of real images to training patients other than their own.
        patients: `[m]` whose they are.
    """
    ordered = lowest_by_patient(of_real, patients).sort().values
    k = max(1, (len(ordered) + 1) // 100)
    below = stats.beta(k, len(ordered) + 1 - k)
    low, high = below.ppf([0.025, 0.975])
    threshold = ordered[k - 1]
    return Copies(float(threshold), of_samples < threshold, float(below.mean()), float(low), float(high))


def membership_auc(members: Tensor, others: Tensor, owners: Owners, seed: int = 0) -> Attack:
    """How well an attacker who has nothing but samples tells whom a generator was trained on.

    The attack calls an image the likelier a training image, the nearer the nearest sample is. The area under its ROC
    curve: 0.5 is the null value, 1 a total leak. It depends on the number of samples: few of them cannot show what
    each of many patients gave away.

    In the features of an encoder trained on the members it errs a little to the side of no leak: of a generator
    that knows nobody the area was 0.44 (95 %: 0.39 to 0.49), and 0.48 (0.45 to 0.52) with an encoder trained on third
    patients (12 cohorts: `test_an_encoder_that_saw_the_training_patients_moves_the_excess`).

    Args:
        members: `[m]` distances of training images to their nearest samples.
        others: `[k]` the same of held-out images.
        owners: their patients, at least two on each side.
        seed: of resampling.

    Returns:
        The area; its 95 % interval, by a bootstrap over patients; and the chance of an area as large had the members
        been drawn from all these patients at random (a one-sided permutation test over patients, right for few too).

    Raises:
        ConfigError: fewer than two patients on a side.

    Source:
        Chen et al. 2020, "GAN-Leaks", section 4.2 (full black-box attack).
    """
    value, low, high = _auc(-members, -others, owners, seed)
    column = np.unique(_names(owners), return_inverse=True)[1]
    ranks = stats.rankdata(-torch.cat([members, others]).numpy())
    sums = np.bincount(column, weights=ranks)
    counts = np.bincount(column)
    is_member = np.arange(len(sums)) < len(set(owners[0]))
    dealt = np.random.default_rng(seed).permuted(np.tile(is_member, (DEALS, 1)), axis=1)
    size = dealt @ counts
    areas = (dealt @ sums - size * (size + 1) / 2) / (size * (len(ranks) - size))
    # The deal that was made is one of those possible, hence the ones; rounding must not make it lose to itself.
    return Attack(value, low, high, float((1 + (areas >= value - 1e-9).sum()) / (1 + DEALS)))


def _auc(scores: Tensor, others: Tensor, owners: Owners, seed: int) -> tuple[float, float, float]:
    """P(score > other), ties half, and its 95 % interval by a bootstrap over patients."""
    both = torch.cat([scores, others]).double().numpy()
    labels = np.repeat(np.array([1, 0]), [len(scores), len(others)])
    return interval(Predictions(np.stack([-both, both], 1)[None], labels, _names(owners), 1), "auroc", seed=seed)


def _names(owners: Owners) -> list[str]:
    return [f"{side}/{name}" for side, names in enumerate(owners) for name in names]
