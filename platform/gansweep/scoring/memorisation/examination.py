"""Memorisation test of a generator: the figures, the verdict, and the pairs of images to inspect."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gansweep.scoring.memorisation.figures import Findings, ImagesToCompare, Representation, find_copying
from gansweep.scoring.memorisation.neighbours import pixel_distances, small_images

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gansweep.contracts import ImageSet
    from gansweep.scoring.networks.extractors import Extractor
    from gansweep.scoring.values import MetricValue

__all__ = ["FIGURES", "Closest", "Memorisation", "MemorisationLimits", "assess"]

REPRESENTATIONS = ("pixels", "features")
FIGURES = (
    "copies_pixels",
    "copies_pixels_floor",
    "membership_auc_pixels",
    "memorisation_excess_pixels",
    "closer_than_held_out_pixels",
    "copies_features",
    "copies_features_floor",
    "membership_auc_features",
    "memorisation_excess_features",
    "closer_than_held_out_features",
)
"""Names of all figures, in each of `REPRESENTATIONS`."""


@dataclass(frozen=True)
class MemorisationLimits:
    """Limits beyond which a generator counts as having memorised patients. One figure over its limit is enough.

    Args:
        copies: maximum fraction of samples that are copies. It is exceeded if the lower end of the interval is above
            it, and above the upper end of what new patients give (`copies_*_floor`).
        membership_auc: maximum area of the membership attack. It is exceeded if the lower end of the interval is above
            it.
        p: maximum p-value of the membership attack, if members are drawn at random.
    """

    copies: float = 0.01
    membership_auc: float = 0.6
    p: float = 0.01


@dataclass(frozen=True)
class Closest:
    """A sample and the real images nearest to it, as rows of the compared sets.

    Args:
        sample: the synthetic image.
        training: its nearest training image.
        held_out: its nearest held-out image, or None if there are none.
        ratio: `nearness` divided by the threshold of a copy, in pixels or features, whichever is lower. Below 1: a
            copy.
    """

    sample: int
    training: int
    held_out: int | None
    ratio: float


@dataclass(frozen=True)
class Memorisation:
    """Result of the memorisation test.

    Args:
        figures: figures by name, in pixels and in features; absent figures have a reason.
        memorised: whether a figure is over its limit; None if nothing could be checked.
        reason: which figures are over their limits, or why nothing could be checked.
        counts: numbers of training and held-out images and patients, and of samples.
        closest: the samples nearest to a training image, nearest first.
    """

    figures: Mapping[str, MetricValue] = field(default_factory=dict)
    memorised: bool | None = None
    reason: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    closest: tuple[Closest, ...] = ()


def assess(
    samples: Tensor,
    training: ImageSet,
    held_out: ImageSet | None,
    extractor: Extractor | str | None,
    *,
    origins: int | None = None,
    limits: MemorisationLimits | None = None,
    seed: int = 0,
    pairs: int = 12,
) -> Memorisation:
    """Compares a generator's samples with its training images and with images that it never saw.

    The figures are those of `gansweep.scoring.memorisation.copying`, in pixels (`pixel_distances`) and in features:
    `memorisation_excess_pixels`, `closer_than_held_out_pixels`, `copies_pixels` with `copies_pixels_floor`,
    `membership_auc_pixels`, and so on. `copies` and `membership_auc` determine the verdict.

    `memorisation_excess_features` is absent if the extractor was trained on real images of the cohort. Such an encoder
    spreads its training patients apart, so that new images are nearer to the other patients. The value for a generator
    that knows no patient is then not 0: its mean was -0.41 (95 %: -0.50 to -0.32; 12 cohorts of 60 training and 60
    held-out patients, one image of 16 pixels each, 600 steps), and -0.02 (-0.08 to 0.04) with an encoder trained on
    third patients (`test_an_encoder_that_saw_the_training_patients_moves_the_excess`).

    Held-out images that equal a training image are left out, with a remark.

    Args:
        samples: synthetic images `[n, C, H, W]` in [-1, 1].
        training: all training images of the generator.
        held_out: images of other patients from the same source; None if there are none.
        extractor: feature extractor. With None, or a text with the reason for its absence, figures in features are
            absent.
        origins: number of patients from whose images the samples were made, which makes them alike; None: made from
            noise.
        limits: limits of the verdict; None: the documented ones.
        seed: seed of resampling.
        pairs: number of samples nearest to a training image to return.
    """
    images = ImagesToCompare.of(samples, training, held_out, origins, seed)
    if reason := images.unusable():
        return Memorisation(dict.fromkeys(FIGURES, images.absent(reason)), reason=reason, counts=images.counts)
    pixels = [small_images(part) for part in (samples, images.training, images.held_out)]
    found = [find_copying(images, Representation(pixel_distances, *pixels))]
    figures = _named(found[0], "pixels", images.remark)
    if extractor is None or isinstance(extractor, str):
        none = images.absent(extractor or "no feature extractor")
        figures |= {name.replace("pixels", "features"): none for name in figures}
    else:
        found.append(find_copying(images, _as_features(images, extractor)))
        figures |= _named(found[1], "features", images.remark, extractor.name)
        if extractor.trained_on:
            reason = f"the extractor was trained on {extractor.trained_on}"
            figures["memorisation_excess_features"] = replace(images.absent(reason), features=extractor.name)
    limits = limits or MemorisationLimits()
    over: list[str] = []
    # Without an extractor there are no findings in features.
    for name, findings in zip(REPRESENTATIONS, found, strict=False):
        over += _over(findings, name, limits)
    closest = _closest(found, images.held_out_rows, pairs)
    return Memorisation(figures, bool(over), "; ".join(over), images.counts, closest)


def _as_features(images: ImagesToCompare, extractor: Extractor) -> Representation:
    of_samples = extractor.features(images.samples)
    of_training = extractor.features(images.training)
    of_held_out = extractor.features(images.held_out) if len(images.held_out) else of_training[:0]
    return Representation(torch.cdist, of_samples, of_training, of_held_out)


def _named(findings: Findings, name: str, remark: str, features: str = "") -> dict[str, MetricValue]:
    """Returns the figures under their full names: `copies_floor` in pixels becomes `copies_pixels_floor`."""
    found = {}
    for figure, value in findings.figures.items():
        base, floor, _ = figure.partition("_floor")
        said = "; ".join(part for part in (value.reason, remark) if part)
        found[f"{base}_{name}{floor}"] = replace(value, features=features, reason=said)
    return found


def _over(findings: Findings, name: str, limits: MemorisationLimits) -> list[str]:
    """Describes the figures that are over their limits."""
    over = []
    copied = findings.figures["copies"]
    floor = findings.figures["copies_floor"]
    attack = findings.figures["membership_auc"]
    if copied.low is not None and floor.high is not None:
        limit = max(limits.copies, floor.high)
        if copied.low > limit:
            over.append(f"{_percent(copied)} of samples are copies of training images by {name}")
    significant = findings.p is not None and findings.p <= limits.p
    if significant and attack.low is not None and attack.low > limits.membership_auc:
        area = f"{attack.value:.2f} ({attack.low:.2f} to {attack.high:.2f})"
        over.append(f"samples tell training patients from others by {name}: AUC {area}")
    return over


def _percent(fraction: MetricValue) -> str:
    value = 100 * (fraction.value or 0.0)
    low = 100 * (fraction.low or 0.0)
    high = 100 * (fraction.high or 0.0)
    return f"{value:.0f} % ({low:.0f} to {high:.0f})"


def _closest(findings: Sequence[Findings], held_out_rows: Tensor, count: int) -> tuple[Closest, ...]:
    """Returns the samples nearest to being copies, each in the representation in which it is nearest."""
    ratios = torch.stack([one.nearness.double() / max(one.copies.threshold, 1e-12) for one in findings])
    least, which = ratios.min(0)
    found = []
    for sample in least.argsort(stable=True)[:count].tolist():
        there = findings[int(which[sample])]
        training = int(there.training[sample])
        held_out = int(held_out_rows[there.held_out[sample]]) if len(there.held_out) else None
        found.append(Closest(sample, training, held_out, float(least[sample])))
    return tuple(found)
