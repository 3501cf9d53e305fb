"""The metrics there are. To add one: a function in a file of its theme, and an entry here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from gansweep.scoring.metrics.answers import accuracy, auroc, brier_score, log_loss, sensitivity, specificity
from gansweep.scoring.metrics.frechet import frechet_distance
from gansweep.scoring.metrics.fusion import spatial_frequency, sum_of_correlations_of_differences
from gansweep.scoring.metrics.kernel import kernel_distance
from gansweep.scoring.metrics.manifold import coverage, density, precision, recall
from gansweep.scoring.metrics.masks import dice
from gansweep.scoring.metrics.paired import ms_gmsd, ms_ssim, psnr, ssim
from gansweep.scoring.metrics.recognition import inception_score, lesion_fidelity
from gansweep.scoring.metrics.sliced import sliced_wasserstein

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["METRICS", "Classes", "Input", "Metric", "metrics_of"]

Input = Literal["features", "pairs", "fusion", "images", "classes", "class probabilities", "answers", "masks"]
"""What a metric takes, and what it gives.

- `features`: real `[n, d]` and synthetic `[m, d]`; one number.
- `pairs`: the right images and the synthetic ones, `[n, C, H, W]` each; `[n]`.
- `fusion`: both sources and their fusion, `[n, C, H, W]` each; `[n]`.
- `images`: `[n, C, H, W]` of one set; `[n]`.
- `classes`: class probabilities `[n, k]` of samples, by a classifier of real images, and the classes asked for; `[n]`
  of 0 or 1.
- `class probabilities`: these alone; one number.
- `answers`: `Predictions` of detectors for real images, and weights (see `gansweep.scoring.metrics.answers`).
- `masks`: predicted and true masks `[n, 1, H, W]`; `[n]`.
"""

Classes = Literal["all", "positive", "negative", "both"]


@dataclass(frozen=True)
class Metric:
    """A metric of synthetic images, or of what is learned from them.

    Args:
        compute: the function; its docstring has definition, units and source.
        takes: what it is computed from.
        better: the direction.
        range: of values.
        trial: whether the reports of a trial have it, beside `gansweep score`. Those of pairs, fusions and images only
            where the family answers pairs, and those of masks where it draws masks.
        biased: of features: whether it depends on the number of images. A trial then also reports `_matched`, the
            metric of as many samples as its floor has images.
        about: of answers: the images that it is about. `both`: it compares the positive with the negative ones.
        single_target: of pairs: whether it has no meaning where an answer unites two targets.
        least_size: of pairs: the smallest images, in pixels, that a trial computes it of.
    """

    compute: Callable[..., Any]
    takes: Input
    better: Literal["lower", "higher", "like the real"]
    range: tuple[float, float]
    trial: bool = False
    biased: bool = False
    about: Classes = "all"
    single_target: bool = False
    least_size: int = 0


INF = float("inf")

METRICS: dict[str, Metric] = {
    "fid": Metric(frechet_distance, "features", "lower", (0, INF), trial=True, biased=True),
    "kid": Metric(kernel_distance, "features", "lower", (-INF, INF), trial=True),
    "sliced_wasserstein": Metric(sliced_wasserstein, "features", "lower", (0, INF)),
    "precision": Metric(precision, "features", "higher", (0, 1)),
    "recall": Metric(recall, "features", "higher", (0, 1)),
    "density": Metric(density, "features", "higher", (0, INF)),
    "coverage": Metric(coverage, "features", "higher", (0, 1)),
    "psnr": Metric(psnr, "pairs", "higher", (0, INF), trial=True, single_target=True),
    "ssim": Metric(ssim, "pairs", "higher", (-1, 1), trial=True),
    "ms_ssim": Metric(ms_ssim, "pairs", "higher", (0, 1)),
    "ms_gmsd": Metric(ms_gmsd, "pairs", "lower", (0, 1), trial=True, least_size=16),
    "scd": Metric(sum_of_correlations_of_differences, "fusion", "higher", (-2, 2), trial=True),
    "spatial_frequency": Metric(spatial_frequency, "images", "like the real", (0, 361), trial=True),
    "lesion_fidelity": Metric(lesion_fidelity, "classes", "higher", (0, 1), trial=True),
    "inception_score": Metric(inception_score, "class probabilities", "higher", (1, INF)),
    "accuracy": Metric(accuracy, "answers", "higher", (0, 1), trial=True),
    "sensitivity": Metric(sensitivity, "answers", "higher", (0, 1), trial=True, about="positive"),
    "specificity": Metric(specificity, "answers", "higher", (0, 1), trial=True, about="negative"),
    "auroc": Metric(auroc, "answers", "higher", (0, 1), trial=True, about="both"),
    "log_loss": Metric(log_loss, "answers", "lower", (0, 13.82), trial=True),
    "brier": Metric(brier_score, "answers", "lower", (0, 1), trial=True),
    "dice": Metric(dice, "masks", "higher", (0, 1), trial=True),
}


def metrics_of(takes: Input, *, trial: bool = False) -> dict[str, Metric]:
    """The metrics that take this input; with `trial` those alone that a trial reports."""
    return {name: metric for name, metric in METRICS.items() if metric.takes == takes and (metric.trial or not trial)}
