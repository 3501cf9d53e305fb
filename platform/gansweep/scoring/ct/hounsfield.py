"""Metrics of generated CT in Hounsfield units: amount and location of calcium, densities, and left-right symmetry."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gansweep.scoring.statistics.resampling import Sample, ratio
from gansweep.scoring.values import Halved, MetricValue, Sets, beside_floor, mean_of, of_resampled

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from gansweep.cohort.intensity import Window
    from gansweep.contracts import ImageSet

__all__ = ["NAMES", "calcified", "hounsfield_values", "inside_head", "quantiles_of"]

OF_CALCIUM = (
    *("calcified_volume", "calcified_volume_real"),
    *("calcified_volume_distance", "calcified_volume_distance_matched", "calcified_volume_distance_floor"),
    *("lateralisation", "lateralisation_real"),
)
NAMES = (
    *OF_CALCIUM,
    *("hu_distance", "hu_distance_matched", "hu_distance_floor"),
    *("asymmetry", "asymmetry_real"),
)
CALCIFIED_HU = 130.0
"""Threshold of calcium (Agatston et al. 1990). Grey matter with typical noise is well below it."""
HEAD_HU = -150.0
"""Threshold of the head: fat and everything denser is above it, air is below."""
SHELL = 0.2
"""Depth of scalp and skull as a fraction of the head's inscribed radius (15 of 85 mm, with a margin)."""
QUANTILES = 64
INF = float("inf")


@dataclass(frozen=True)
class _Heads:
    """Hounsfield units inside the head, for each image that shows one.

    Args:
        hu: Hounsfield units `[m, H, W]`.
        inside: masks of the inside of the head `[m, H, W]`.
        rows: rows of the images in the set `[m]`.
        of: the set.
    """

    hu: NDArray[np.float32]
    inside: NDArray[np.bool_]
    rows: Tensor
    of: ImageSet

    def sample(self, values: NDArray[np.float64]) -> Sample:
        """Returns one value, or one row of values, per image as a sample."""
        return Sample.of(torch.from_numpy(values), self.of, self.rows)

    def within(self, halves: tuple[Tensor, Tensor]) -> list[Tensor]:
        """Returns, for each half, a mask `[m]` of the images in it."""
        return [torch.isin(self.rows, half) for half in halves]


def hounsfield_values(sets: Sets, window: Window | None, positive: int) -> dict[str, MetricValue]:
    """Computes the figures in `NAMES` for sets whose window shows both air and calcium; else absent with the reason.

    - `calcified_volume`: calcified fraction of the inside of the skull, by area in each slice. Over many slices this is
      the fraction by volume (Delesse 1848). Mean over the fake images of the positive class (of all if there is one
      class), with that of the real images; range [0, 1].
    - `calcified_volume_distance`: 1-Wasserstein distance between the two distributions over images, in the same unit.
      The mean may be right even if every image is alike.
    - `lateralisation`: on which side the calcium is. In each slice, the signed distances of calcified pixels from the
      mirror line are summed, left negative. The absolute sums are added over all slices of the positive class and
      divided by the sum of the absolute distances. Range [0, 1]; 0: equal on both sides, 1: each slice on one side
      only. Read it together with `calcified_volume`, because harmless specks are one-sided.
    - `hu_distance`: 1-Wasserstein distance between the densities inside the skull, with equal weight for every image,
      in HU.
    - `asymmetry`: mean absolute difference from the mirror image, in HU, with that of the real images.

    For distances, lower is better; compare `_matched` with `_floor`. The other figures should be close to those of the
    real images. Small lesions in large pixels appear denser or fainter than they are, so both sets must have the same
    window and size.

    Args:
        sets: CT images and their halves.
        window: window that maps HU to [0, 1]; None if the images are not CT or the window is unknown.
        positive: index of the class with calcifications.
    """
    if window is None:
        return dict.fromkeys(NAMES, sets.absent("not CT in Hounsfield units"))
    if window.low >= HEAD_HU or window.high <= CALCIFIED_HU:
        shown = f"window {window.name} shows {window.low:g} to {window.high:g} HU"
        return dict.fromkeys(NAMES, sets.absent(f"{shown}; needed: below {HEAD_HU:g} to above {CALCIFIED_HU:g}"))
    real = _heads(sets.real, window)
    fake = _heads(sets.fake, window)
    counts = [len(fake.rows)]
    counts += [int(half.sum()) for half in real.within(sets.halves)]
    if min(counts) < 2:
        reason = f"a head is found in {len(real.rows)} real and {len(fake.rows)} fake images"
        return dict.fromkeys(NAMES, sets.absent(reason))
    headless = len(fake.of) - len(fake.rows)
    remark = f"no head in {headless} fake images" if headless else ""
    return _calcium(sets, real, fake, positive, remark) | _densities(sets, real, fake, remark)


def _calcium(sets: Sets, real: _Heads, fake: _Heads, positive: int, remark: str) -> dict[str, MetricValue]:
    real_values = real.sample(calcified(real.hu, real.inside))
    fake_values = fake.sample(calcified(fake.hu, fake.inside))
    if len(sets.real.labels.unique()) < 2:
        real_chosen = torch.ones_like(real_values.labels, dtype=torch.bool)
        fake_chosen = torch.ones_like(fake_values.labels, dtype=torch.bool)
    else:
        real_chosen = real_values.labels == positive
        fake_chosen = fake_values.labels == positive
    real_values = real_values[real_chosen]
    fake_values = fake_values[fake_chosen]
    halves = [half[real_chosen] for half in real.within(sets.halves)]
    counts = [len(fake_values)]
    counts += [int(half.sum()) for half in halves]
    if min(counts) < 2:
        reason = f"{len(real_values)} real and {len(fake_values)} fake images of the positive class with a head"
        return dict.fromkeys(OF_CALCIUM, sets.absent(reason))
    name = "calcified_volume"
    return {
        name: mean_of(fake_values, sets, 0, len(fake_values), remark),
        f"{name}_real": mean_of(real_values, sets, len(real_values), 0),
        **_distance(f"{name}_distance", real_values, fake_values, halves, sets, remark),
        "lateralisation": _lateralisation(fake, fake_chosen, sets, remark),
        "lateralisation_real": _lateralisation(real, real_chosen, sets, ""),
    }


def _lateralisation(heads: _Heads, chosen: Tensor, sets: Sets, remark: str) -> MetricValue:
    """Returns the lateralisation over the chosen slices that have calcium."""
    calcium = (heads.hu >= CALCIFIED_HU) & heads.inside
    of_slices = np.array([sides(*pair) for pair in zip(calcium, heads.inside, strict=True)])
    found = heads.sample(of_slices)[chosen & torch.from_numpy(of_slices[:, 1] > 0)]
    if not len(found):
        return sets.absent("no calcium in images of the positive class")
    sums, absolute_sums = found.values.T
    resampled = ratio(replace(found, values=sums), absolute_sums, sets.seed)
    is_real = heads.of is sets.real
    n_real = len(found) if is_real else 0
    n_fake = 0 if is_real else len(found)
    return of_resampled(resampled, n_real, n_fake, reason=remark)


def _densities(sets: Sets, real: _Heads, fake: _Heads, remark: str) -> dict[str, MetricValue]:
    real_quantiles = real.sample(quantiles_of(real.hu, real.inside))
    fake_quantiles = fake.sample(quantiles_of(fake.hu, fake.inside))
    return {
        **_distance("hu_distance", real_quantiles, fake_quantiles, real.within(sets.halves), sets, remark),
        "asymmetry": mean_of(_asymmetries(fake), sets, 0, len(fake_quantiles), remark),
        "asymmetry_real": mean_of(_asymmetries(real), sets, len(real_quantiles), 0),
    }


def _asymmetries(heads: _Heads) -> Sample:
    """Returns the asymmetry of each head."""
    values = [asymmetry(hu, inside) for hu, inside in zip(heads.hu, heads.inside, strict=True)]
    return heads.sample(np.array(values))


def _distance(name: str, x: Sample, y: Sample, halves: list[Tensor], sets: Sets, remark: str) -> dict[str, MetricValue]:
    return beside_floor(name, _wasserstein, Halved(x, y, halves, sets.seed), (0, INF), reason=remark)


def _wasserstein(x: Tensor, y: Tensor) -> float:
    from scipy import stats

    return float(stats.wasserstein_distance(x.flatten().numpy(), y.flatten().numpy()))


def _heads(images: ImageSet, window: Window) -> _Heads:
    hu = window.invert((images.images[:, 0].numpy() + 1) / 2)
    inside = np.stack([inside_head(image) for image in hu])
    rows = torch.from_numpy(np.flatnonzero(inside.any((1, 2))))
    return _Heads(hu[rows], inside[rows], rows, images)


def inside_head(hu: NDArray[Any]) -> NDArray[np.bool_]:
    """Returns a mask of the inside of the skull in a slice `[H, W]` in HU; empty if there is no head.

    The head is the largest connected component that is not air, with holes filled. Its inside is everything further
    from the surface than a fifth of the inscribed radius, except what is as dense as calcium and connected to something
    further out: the skull where it is thick or cut obliquely. The skull need not be closed, because a generator may
    draw gaps.
    """
    from scipy import ndimage

    nothing = np.zeros(hu.shape, dtype=bool)
    parts, found = ndimage.label(hu > HEAD_HU)
    if not found:
        return nothing
    sizes = np.bincount(parts.ravel())
    largest = int(sizes[1:].argmax()) + 1  # label 0 is air
    head = ndimage.binary_fill_holes(parts == largest)
    # The outside of the image counts as air.
    depth = ndimage.distance_transform_edt(np.pad(head, 1))[1:-1, 1:-1]
    deep = depth > SHELL * depth.max()
    dense, _ = ndimage.label((hu >= CALCIFIED_HU) & head, structure=np.ones((3, 3)))
    labels_of_skull = np.unique(dense[~deep])
    skull = np.isin(dense, labels_of_skull) & (dense > 0)
    inside: NDArray[np.bool_] = deep & ~skull
    # Specks of noise are not a head.
    return inside if inside.sum() >= 0.02 * inside.size else nothing


def calcified(hu: NDArray[Any], inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Returns the fraction `[m]` of the `inside` `[m, H, W]` that has 130 HU or more."""
    found: NDArray[np.float64] = ((hu >= CALCIFIED_HU) & inside).sum((1, 2)) / inside.sum((1, 2))
    return found


def quantiles_of(hu: NDArray[Any], inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Returns quantiles `[m, 64]` of the HU `inside`.

    Every image has the same weight, whatever the size of its head.
    """
    levels = (np.arange(QUANTILES) + 0.5) / QUANTILES
    return np.stack([np.quantile(image[within], levels) for image, within in zip(hu, inside, strict=True)])


def mirror_line(inside: NDArray[np.bool_]) -> int:
    """Returns twice the column of the vertical line about which `inside` `[H, W]` and its mirror image overlap most.

    The mirror image of column x is then the line minus x, and the line may lie between two columns. The search covers a
    sixteenth of the width on each side of the centre of mass.
    """
    width = inside.shape[1]
    profile = inside.sum(0).astype(np.float64)
    centre = 2 * float((np.arange(width) * profile).sum() / profile.sum())
    first = max(0, round(centre) - width // 8)
    last = min(2 * (width - 1), round(centre) + width // 8)

    def overlap(line: int) -> int:
        part, mirror = _mirrored(inside, line)
        return int((part & mirror).sum())

    return max(range(first, last + 1), key=overlap)


def asymmetry(hu: NDArray[Any], inside: NDArray[np.bool_]) -> float:
    """Returns the mean absolute difference in HU between a slice `[H, W]` and its mirror image, where both are inside.

    A rotated head is asymmetric by this measure, in real and in fake images.
    """
    line = mirror_line(inside)
    part, mirrored_part = _mirrored(inside, line)
    within = part & mirrored_part
    image, mirror = _mirrored(hu.astype(np.float64), line)
    return float(np.abs(image - mirror)[within].mean()) if within.any() else 0.0


def sides(calcium: NDArray[np.bool_], inside: NDArray[np.bool_]) -> tuple[float, float]:
    """Sums the distances of `calcium` pixels `[H, W]` from the mirror line, in pixels.

    Returns:
        The absolute value of the sum of signed distances, and the sum of the absolute distances. The first is 0 if
        deposits mirror each other, and equals the second if all are on one side.
    """
    away = np.nonzero(calcium)[1] - mirror_line(inside) / 2
    return abs(float(away.sum())), float(np.abs(away).sum())


def _mirrored(image: NDArray[Any], line: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Returns the columns whose mirror images are within the image, and these mirror images."""
    width = image.shape[1]
    part = image[:, max(0, line - width + 1) : min(width - 1, line) + 1]
    return part, part[:, ::-1]
