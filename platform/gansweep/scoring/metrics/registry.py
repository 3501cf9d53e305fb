"""The metrics there are. To add one: a function in a file of its theme, and a line here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from gansweep.scoring.metrics.frechet import frechet_distance
from gansweep.scoring.metrics.fusion import spatial_frequency
from gansweep.scoring.metrics.kernel import kernel_distance
from gansweep.scoring.metrics.manifold import coverage, density, precision, recall
from gansweep.scoring.metrics.paired import ms_gmsd, ms_ssim, psnr, ssim
from gansweep.scoring.metrics.sliced import sliced_wasserstein

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["METRICS", "Metric"]


@dataclass(frozen=True)
class Metric:
    """A metric of a set of samples against real images.

    Args:
        compute: the function; its docstring has definition, units and source.
        of: what it takes: the features of both sets, their images pair by pair, or the images of one set.
        better: the direction.
        range: of values.
    """

    compute: Callable[..., Any]
    of: Literal["features", "pairs", "images"]
    better: Literal["lower", "higher", "like the real"]
    range: tuple[float, float]


INF = float("inf")

METRICS: dict[str, Metric] = {
    "fid": Metric(frechet_distance, "features", "lower", (0, INF)),
    "kid": Metric(kernel_distance, "features", "lower", (-INF, INF)),
    "sliced_wasserstein": Metric(sliced_wasserstein, "features", "lower", (0, INF)),
    "precision": Metric(precision, "features", "higher", (0, 1)),
    "recall": Metric(recall, "features", "higher", (0, 1)),
    "density": Metric(density, "features", "higher", (0, INF)),
    "coverage": Metric(coverage, "features", "higher", (0, 1)),
    "psnr": Metric(psnr, "pairs", "higher", (0, INF)),
    "ssim": Metric(ssim, "pairs", "higher", (-1, 1)),
    "ms_ssim": Metric(ms_ssim, "pairs", "higher", (0, 1)),
    "ms_gmsd": Metric(ms_gmsd, "pairs", "lower", (0, 1)),
    "spatial_frequency": Metric(spatial_frequency, "images", "like the real", (0, 361)),
}
