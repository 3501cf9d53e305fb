"""How good image-to-image families are on held-out images whose right answers are known."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gansweep.contracts import Condition, PairedTask, Sampler
from gansweep.scoring.fusion import spatial_frequency, sum_of_correlations_of_differences
from gansweep.scoring.paired import ms_gmsd, psnr, ssim

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["paired_scores"]


def paired_scores(sampler: Sampler, task: PairedTask, labels: Tensor, seed: int = 0) -> dict[str, float]:
    """Scores of a translator's answers, and beside each that of the baseline which takes no model.

    Args:
        sampler: draws from the trial's generator.
        task: held-out sources and what they should become, from the family's `paired_task`.
        labels: `[n]` classes of the held-out images.
        seed: of families that draw noise besides.

    Returns:
        Means over images. With one target `psnr` (dB), `ssim`, `ms_gmsd`, `spatial_frequency`; with two, which are to
        be fused, `ssim` and `ms_gmsd` (means of both targets), `scd`, `spatial_frequency`; and each with `_baseline`. A
        mean that is not finite (PSNR of equal images, correlations of constant ones) is left out, and `ms_gmsd` of
        images below 16 pixels.
    """
    answers = sampler(Condition(labels, task.sources), seed)[:, : task.baseline.shape[1]]
    targets = [target.cpu() for target in task.targets]
    scores = _scores(answers.cpu(), targets)
    scores |= {f"{name}_baseline": value for name, value in _scores(task.baseline.cpu(), targets).items()}
    return {name: value for name, value in scores.items() if math.isfinite(value)}


def _scores(images: Tensor, targets: Sequence[Tensor]) -> dict[str, float]:
    scores = {
        "ssim": torch.stack([ssim(target, images) for target in targets]).mean(dim=0),
        "spatial_frequency": spatial_frequency(images),
    }
    if images.shape[-1] >= 16:
        scores["ms_gmsd"] = torch.stack([ms_gmsd(target, images) for target in targets]).mean(dim=0)
    if len(targets) == 1:
        scores["psnr"] = psnr(targets[0], images)
    else:
        first, second = targets
        scores["scd"] = sum_of_correlations_of_differences(first, second, images)
    return {name: float(values.mean()) for name, values in scores.items()}
