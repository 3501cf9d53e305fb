"""Arms of the final comparison: detectors trained with and without synthetic images, evaluated on test images.

All arms make the same number of updates on batches of the same size. Detector number s of every arm starts from the
same weights (see `gansweep.scoring.networks.detection`).

Three kinds of arms need no generator: the base, controls that measure the effect of augmentation and oversampling, and
rivals. A rival is a cheap way to get more out of few patients: an augmentation, or real lesions pasted into controls.
Synthetic images help only if they are better than the base and better than the best rival.

`gansweep.scoring.mask_arms` has the same arms for segmenters, and `gansweep.scoring.judged_arms` compares both.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gansweep.scoring.lesion_pasting import can_paste, paste_lesions
from gansweep.scoring.networks.detection import Recipe, fraction_of_ratio, predict, train_detectors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch
    from torch import Tensor

    from gansweep.contracts import ImageSet

__all__ = [
    "AUGMENTED",
    "BASE",
    "PASTED",
    "REAL_ARMS",
    "RIVALS",
    "arm_names",
    "pasted_lesions",
    "real_arms",
    "rival_arms",
    "run_arms",
    "synthetic_arms",
    "synthetic_fractions",
    "without_synthetic",
]

log = logging.getLogger(__name__)

BASE = "real"
"""Real images with classical augmentation in class-balanced batches. Synthetic images must beat this arm."""

REAL_ARMS: dict[str, dict[str, Any]] = {
    BASE: {},
    "real, not oversampled": {"balanced": False},
    "real, not augmented": {"augmentation": None},
}
"""Arms with neither synthetic images nor a rival, and how their recipes differ from that of the base."""

AUGMENTED = {
    "mixup": "real + MixUp",
    "cutmix": "real + CutMix",
    "elastic": "real + elastic augmentation",
    "intensity": "real + intensity augmentation",
}
"""Names of the arms of rivals that are augmentations, by rival."""

PASTED = {"paste": "real + pasted lesions", "blend": "real + blended lesions"}
"""Names of the arms of rivals that paste real lesions into controls, by rival."""

RIVALS = {**AUGMENTED, **PASTED}
"""Names of the rivals' arms, by rival."""


def arm_names(ratios: Sequence[float]) -> tuple[str, ...]:
    """Returns the names of the arms that `run_arms` evaluates without rivals, the base first."""
    return (*REAL_ARMS, *synthetic_fractions(ratios))


def synthetic_fractions(ratios: Sequence[float]) -> dict[str, float]:
    """Returns the fraction of synthetic images in the batches of each arm that has some, by name."""
    fractions = {f"real + {ratio:g} synthetic": fraction_of_ratio(ratio) for ratio in ratios}
    return {**fractions, "synthetic only": 1.0}


def run_arms(
    recipe: Recipe,
    real: ImageSet,
    synthetic: ImageSet,
    test: Tensor,
    *,
    ratios: Sequence[float],
    seeds: Sequence[int],
    device: torch.device,
) -> dict[str, Tensor]:
    """Returns class probabilities `[s, n, classes]` of each arm's s detectors for the n test images.

    Args:
        recipe: training recipe of the base arm.
        real: training images.
        synthetic: samples of one generator, of every class that it makes.
        test: test images `[n, C, H, W]` of patients that neither the generator nor the search has seen.
        ratios: numbers of synthetic images per real image, one arm each.
        seeds: seeds of the detectors. Arms share the random numbers of each seed.
        device: training device.
    """
    return {
        **real_arms(recipe, real, test, seeds=seeds, device=device),
        **synthetic_arms(recipe, real, synthetic, test, ratios=ratios, seeds=seeds, device=device),
    }


def real_arms(
    recipe: Recipe, real: ImageSet, test: Tensor, *, seeds: Sequence[int], device: torch.device
) -> dict[str, Tensor]:
    """Evaluates the arms of `run_arms` that need no generator, the base first."""
    found = {}
    for name, changes in REAL_ARMS.items():
        _tell(name, seeds)
        found[name] = _predicted(replace(recipe, **changes), real, None, 0.0, test, seeds, device)
    return found


def rival_arms(
    recipe: Recipe,
    real: ImageSet,
    test: Tensor,
    *,
    rivals: Sequence[str],
    images: int,
    positive: int,
    seeds: Sequence[int],
    device: torch.device,
) -> dict[str, Tensor]:
    """Returns class probabilities `[s, n, classes]` of the rivals' arms; see `run_arms`.

    Impossible rivals are omitted: pasted lesions without masks, and the augmentation that the base already uses.

    Args:
        recipe: training recipe of the base arm.
        real: training images. Lesions can be pasted if they have masks.
        test: test images `[n, C, H, W]`.
        rivals: keys of `RIVALS`.
        images: number of images with pasted lesions, the same as a generator's samples. A batch has one of them for
            each real image.
        positive: index of the class with lesions.
        seeds: seeds of the detectors. The first is also the seed of the pasted lesions.
        device: training device.
    """
    found: dict[str, Tensor] = {}
    for rival in rivals:
        pasted = pasted_lesions(rival, real, positive, images=images, seed=seeds[0])
        if rival in AUGMENTED and rival != recipe.augmentation:
            _tell(RIVALS[rival], seeds)
            changed = replace(recipe, augmentation=rival)
            found[RIVALS[rival]] = _predicted(changed, real, None, 0.0, test, seeds, device)
        elif pasted is not None:
            _tell(RIVALS[rival], seeds)
            found[RIVALS[rival]] = _predicted(recipe, real, pasted, fraction_of_ratio(1.0), test, seeds, device)
    return found


def pasted_lesions(rival: str, real: ImageSet, positive: int, *, images: int, seed: int) -> ImageSet | None:
    """Returns the images and masks of a rival that pastes lesions; None if it is another rival or cannot paste.

    Args:
        rival: key of `RIVALS`.
        real: training images.
        positive: index of the class with lesions.
        images: number of images.
        seed: seed of the pasted lesions.
    """
    if rival not in PASTED or not can_paste(real, positive):
        return None
    return paste_lesions(real, positive, images, blend=rival == "blend", seed=seed)


def without_synthetic(arms: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the arms that need no generator: those of `real_arms` and `rival_arms`."""
    return {name: said for name, said in arms.items() if name in REAL_ARMS or name in RIVALS.values()}


def synthetic_arms(
    recipe: Recipe,
    real: ImageSet,
    synthetic: ImageSet,
    test: Tensor,
    *,
    ratios: Sequence[float],
    seeds: Sequence[int],
    device: torch.device,
) -> dict[str, Tensor]:
    """Evaluates the arms of `run_arms` that use a generator's samples."""
    found = {}
    for name, fraction in synthetic_fractions(ratios).items():
        _tell(name, seeds)
        found[name] = _predicted(recipe, real, synthetic, fraction, test, seeds, device)
    return found


def _tell(name: str, seeds: Sequence[int]) -> None:
    log.info("training %d detectors: %s", len(seeds), name)


def _predicted(
    recipe: Recipe,
    real: ImageSet,
    synthetic: ImageSet | None,
    synthetic_fraction: float,
    test: Tensor,
    seeds: Sequence[int],
    device: torch.device,
) -> Tensor:
    detectors = train_detectors(recipe, real, synthetic, synthetic_fraction, seeds, device)
    return predict(detectors, test, device)
