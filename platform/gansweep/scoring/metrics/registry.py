"""Registry of the metrics. To add one, write a function in the file of its topic and add an entry here."""

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
"""Input of a metric, and what the metric returns.

- `features`: real `[n, d]` and synthetic `[m, d]`; returns one number.
- `pairs`: true and synthetic images, `[n, C, H, W]` each; returns `[n]`.
- `fusion`: both sources and their fusion, `[n, C, H, W]` each; returns `[n]`.
- `images`: `[n, C, H, W]` of one set; returns `[n]`.
- `classes`: class probabilities `[n, k]` of samples, from a classifier of real images, and the intended classes;
  returns `[n]` of 0 or 1.
- `class probabilities`: these alone; returns one number.
- `answers`: `Predictions` of detectors for real images, and weights (see `gansweep.scoring.metrics.answers`).
- `masks`: predicted and true masks `[n, 1, H, W]`; returns `[n]`.
"""

Classes = Literal["all", "positive", "negative", "both"]


@dataclass(frozen=True)
class Metric:
    """A metric of synthetic images, or of what a network learns from them.

    Args:
        compute: the function. Its docstring states definition, units and source.
        takes: input of the metric.
        better: direction of better values.
        range: range of the values.
        trial: whether a trial reports it, in addition to `gansweep score`. A trial reports metrics of pairs, fusions
            and images only if the family makes paired images, and metrics of masks only if the family makes masks.
        biased: for features: whether the metric depends on the number of images. A trial then also reports `_matched`,
            the metric of as many samples as its floor has images.
        about: for answers: the images that the metric uses. `both` compares positive with negative images.
        single_target: for pairs: whether the metric is meaningless if an output combines two targets.
        least_size: for pairs: least image size, in pixels, for which a trial computes the metric.
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
    """Returns the metrics that take this input. With `trial`, returns only those that a trial reports."""
    return {name: metric for name, metric in METRICS.items() if metric.takes == takes and (metric.trial or not trial)}
