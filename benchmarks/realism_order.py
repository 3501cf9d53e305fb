"""Tests whether realism metrics are ordered under increasing damage, on real images.

Two real sets are ingested, and each is split into two halves that share no patient. The second half is damaged in four
ways, each in increasing doses, and compared with the first, on which the cohort's encoder was trained:

- blur: Gaussian, standard deviation in pixels;
- noise: Gaussian, standard deviation as a fraction of the grey range;
- contrast: reduced towards each image's mean by that fraction;
- dropped modes: this many of eight clusters of images (k-means on pixels) are replaced by copies of other images.

Several seeds draw halves, noise and dropped modes. A metric is ordered for a seed if it worsens at every step, starting
with the undamaged half, until it reaches the worst end of its range. Kendall's tau-b between dose and metric measures
how close it is to that (1: worse at every step).

    GANSWEEP_REAL_DATA=/data python benchmarks/realism_order.py --seeds 5
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import stats
from sklearn.cluster import KMeans
from torch.nn import functional

from gansweep.cohort.dataset import Cohort
from gansweep.cohort.ingest.run import IngestSettings, ingest
from gansweep.contracts import ImageSet
from gansweep.scoring.metrics.registry import METRICS
from gansweep.scoring.networks.encoder import extractor_of, train_encoder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from gansweep.scoring.networks.extractors import Extractor

SETS = {"head_ct_hemorrhage200": 100, "br35h_tumour_masks": 200}  # images in each half
SIZE, STEPS = 48, 600  # pixels; updates of the encoder
MODES = 8
CPU = torch.device("cpu")
REALISM = [name for name, metric in METRICS.items() if metric.takes in {"features", "images"}]


@dataclass(frozen=True)
class Half:
    """Images to damage, and the inputs of the damage.

    Args:
        images: images `[n, C, H, W]` in [-1, 1].
        modes: cluster of each image `[n]`, 0 to `MODES` - 1.
        seed: seed of noise, copies, and the order in which modes are dropped.
    """

    images: Tensor
    modes: Tensor
    seed: int

    def generator(self) -> torch.Generator:
        """Returns a generator, equal for every dose: a larger dose drops the modes of a smaller one, and more."""
        return torch.Generator().manual_seed(self.seed)


def blurred(half: Half, dose: float) -> Tensor:
    radius = max(1, int(np.ceil(3 * dose)))
    weights = torch.exp(-(torch.arange(-radius, radius + 1) ** 2) / (2 * dose**2))
    weights = (weights / weights.sum()).repeat(half.images.shape[1], 1)
    padded = functional.pad(half.images, (radius,) * 4, mode="replicate")
    across = functional.conv2d(padded, weights[:, None, None, :], groups=len(weights))
    return functional.conv2d(across, weights[:, None, :, None], groups=len(weights))


def noisy(half: Half, dose: float) -> Tensor:
    return (half.images + 2 * dose * torch.randn(half.images.shape, generator=half.generator())).clamp(-1, 1)


def flattened(half: Half, dose: float) -> Tensor:
    centre = half.images.mean((1, 2, 3), keepdim=True)
    return centre + (1 - dose) * (half.images - centre)


def collapsed(half: Half, dose: float) -> Tensor:
    generator = half.generator()
    dropped = torch.randperm(MODES, generator=generator)[: int(dose)]
    lost = torch.isin(half.modes, dropped)
    kept = (~lost).nonzero().squeeze(1)
    images = half.images.clone()
    images[lost] = half.images[kept[torch.randint(len(kept), (int(lost.sum()),), generator=generator)]]
    return images


DAMAGE: dict[str, tuple[Callable[[Half, float], Tensor], tuple[float, ...]]] = {
    "blur": (blurred, (0.5, 0.75, 1.0, 1.5)),
    "noise": (noisy, (0.02, 0.05, 0.1, 0.2)),
    "contrast": (flattened, (0.1, 0.2, 0.35, 0.5)),
    "dropped modes": (collapsed, (1, 3, 5, 7)),
}


def cohort_of(source: Path, folder: Path) -> ImageSet:
    """Returns all images of a set. Near-duplicates count as one patient."""
    ingest(source, folder, IngestSettings(size=SIZE, split=(1.0, 0.0, 0.0), resplit=True))
    return Cohort.open(folder).load("train")


def measured(images: ImageSet, n: int, seed: int) -> dict[str, dict[str, list[float]]]:
    """Returns how much worse than undamaged each metric is, at dose 0 and each dose, by damage and metric."""
    first, second = _halves(images, n, seed)
    reference = ImageSet(images.images[first], images.labels[first])
    encoder = train_encoder(reference, int(images.labels.max()) + 1, STEPS, CPU)
    extractor = extractor_of(encoder.state_dict(), CPU)
    other = images.images[second]
    modes = KMeans(MODES, n_init=4, random_state=seed).fit_predict(other.flatten(1).numpy())
    half = Half(other, torch.from_numpy(modes).long(), seed)
    real = _Real(reference.images, extractor.features(reference.images), extractor)
    start = real.badness(other)
    found: dict[str, dict[str, list[float]]] = {}
    for damage, (damaged, doses) in DAMAGE.items():
        worse = [start, *(real.badness(damaged(half, dose)) for dose in doses)]
        found[damage] = {name: [one[name] for one in worse] for name in REALISM}
    return found


@dataclass(frozen=True)
class _Real:
    images: Tensor
    features: Tensor
    extractor: Extractor

    def badness(self, fake: Tensor) -> dict[str, float]:
        """Returns every metric of realism, with a sign such that higher is worse."""
        features, found = self.extractor.features(fake), {}
        for name in REALISM:
            metric = METRICS[name]
            if metric.takes == "features":
                value = metric.compute(self.features, features)
            else:
                value = float((metric.compute(fake).mean() - metric.compute(self.images).mean()).abs())
            found[name] = -value if metric.better == "higher" else value
        return found


def _halves(images: ImageSet, n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Returns the rows of two sets of n images that share no patient."""
    patients = np.array(images.patients)
    # In the order of the images: their sorted names are pseudonyms, which every ingest draws anew.
    order = np.random.default_rng(seed).permutation(list(dict.fromkeys(images.patients)))
    side = np.isin(patients, order[::2])
    rng = np.random.default_rng([seed, 1])
    first, second = (torch.from_numpy(rng.permutation(np.flatnonzero(side == s))[:n]) for s in (True, False))
    return first, second


def tau(worse: Sequence[float]) -> float:
    """Returns Kendall's tau-b of dose and badness; 0 if nothing changes."""
    found = stats.kendalltau(range(len(worse)), worse).statistic
    return 0.0 if np.isnan(found) else float(found)


def in_order(metric: str, worse: Sequence[float]) -> bool:
    """Returns whether a metric worsens at every step, until it is as bad as its range allows."""
    ends = METRICS[metric]
    worst = -ends.range[0] if ends.better == "higher" else ends.range[1]
    return all(b > a or a == b == worst for a, b in pairwise(worse))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if "GANSWEEP_REAL_DATA" not in os.environ:
        print("realism_order needs real images: set GANSWEEP_REAL_DATA")
        return
    root = Path(os.environ["GANSWEEP_REAL_DATA"])
    result = []
    print("| set | metric | " + " | ".join(f"{damage}: in order, tau" for damage in DAMAGE) + " |")
    print("|---" * (len(DAMAGE) + 2) + "|")
    for name, n in SETS.items():
        with tempfile.TemporaryDirectory() as folder:
            images = replace(cohort_of(root / name, Path(folder) / "cohort"), masks=None)
        runs = []
        for seed in range(options.seeds):
            runs.append(measured(images, n, seed))
            print(f"{name}: seed {seed}", file=sys.stderr, flush=True)
        for metric in REALISM:
            cells = []
            for damage in DAMAGE:
                worse = [run[damage][metric] for run in runs]
                ordered, mean = sum(in_order(metric, one) for one in worse), float(np.mean([tau(one) for one in worse]))
                cells.append(f"{ordered} of {len(worse)}, {mean:.2f}")
                result.append({"set": name, "metric": metric, "damage": damage, "ordered": ordered, "tau": mean})
            print(f"| {name} | {metric} | {' | '.join(cells)} |", flush=True)
    print(json.dumps({"benchmark": "realism_order", "size": SIZE, "halves": SETS, **vars(options), "found": result}))


if __name__ == "__main__":
    main()
