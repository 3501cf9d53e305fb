"""Evaluates the lesion scores of `gansweep score` on generators with known faults.

Each "generator" draws phantoms from the true distribution and then makes one mistake. The scores are the panel's, with
their 95 % intervals. The floor of a distance is the score of real phantoms of other patients, and `matched` is the
score of equally many fake ones. The features are those of the project's encoder, trained on phantoms that are in
neither set.

    python benchmarks/lesion_scores.py [--images 80] [--size 64] [--encoder-steps 200] [--seed 0]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gansweep.cohort.intensity import WINDOWS
from gansweep.cohort.phantom.scans import draw_phantom
from gansweep.cohort.readers.resample import fit_mask, fit_pixels
from gansweep.contracts import ImageSet
from gansweep.scoring.networks.encoder import train_encoder
from gansweep.scoring.panel.score import PanelInputs, score_sets

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from gansweep.scoring.values import MetricValue

LESION = WINDOWS["lesion"]
SHOWN = (
    "fid",
    "lesion_fid",
    "lesion_fidelity",
    "calcified_volume",
    "calcified_volume_distance",
    "lateralisation",
    "hu_distance",
    "asymmetry",
)
BRAIN_HU = 35.0

Slice = tuple["NDArray[Any]", "NDArray[Any]"]


def as_it_is(hu: NDArray[Any], mask: NDArray[Any]) -> Slice:
    return hu, mask


def without_lesions(hu: NDArray[Any], mask: NDArray[Any]) -> Slice:
    """Removes the lesion: the anatomy is right and the label is wrong.

    The mask stays, as a generator's mask channel would.
    """
    return np.where(mask, np.minimum(hu, BRAIN_HU), hu), mask


def on_one_side(hu: NDArray[Any], mask: NDArray[Any]) -> Slice:
    right = mask & (np.arange(hu.shape[1]) >= hu.shape[1] // 2)
    return np.where(right, np.minimum(hu, BRAIN_HU), hu), mask & ~right


def too_dense(hu: NDArray[Any], mask: NDArray[Any]) -> Slice:
    """Makes soft tissue 10 HU too dense."""
    return np.where((hu > 0) & (hu < 80), hu + 10, hu), mask


MISTAKES: dict[str, Callable[[NDArray[Any], NDArray[Any]], Slice]] = {
    "none": as_it_is,
    "no lesions": without_lesions,
    "lesions on one side": on_one_side,
    "tissue 10 HU too dense": too_dense,
}


def drawn(n: int, size: int, rng: np.random.Generator, mistake: Callable[..., Slice]) -> ImageSet:
    images, masks = [], []
    for index in range(n):
        hu, mask = mistake(*draw_phantom(rng, fahr=bool(index % 2)))
        images.append(LESION.apply(fit_pixels(hu[None], size, keep_lesions=True)))
        masks.append(fit_mask(mask, None, size)[None])
    stacked = torch.from_numpy(np.stack(images)).float() * 2 - 1
    return ImageSet(stacked, torch.arange(n) % 2, torch.from_numpy(np.stack(masks)).float())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=80)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--encoder-steps", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        measure(options, folder)


def measure(options: argparse.Namespace, folder: str) -> None:
    apart = drawn(options.images, options.size, np.random.default_rng([options.seed, 99]), as_it_is)
    encoder = train_encoder(apart, 2, options.encoder_steps, torch.device("cpu"))
    real = drawn(options.images, options.size, np.random.default_rng([options.seed, 0]), as_it_is)
    features = Path(folder) / "encoder.pt"
    traced = torch.jit.trace(encoder, real.images[:2])
    torch.jit.save(traced, features, _extra_files={"gansweep.json": '{"channels": 1}'})
    result: dict[str, Any] = {"benchmark": "lesion_scores", **vars(options), "rows": {}}
    for number, (name, mistake) in enumerate(MISTAKES.items(), start=1):
        fake = drawn(options.images, options.size, np.random.default_rng([options.seed, number]), mistake)
        found = score_sets(PanelInputs(real, fake, window=LESION), features, options.seed)
        print(f"mistake: {name}", flush=True)
        for score in SHOWN:
            beside = {
                kind: found[f"{score}_{kind}"] for kind in ("matched", "floor", "real") if f"{score}_{kind}" in found
            }
            values = {"fake": found[score], **beside}
            texts = (f"{kind} {_shown(v)}" for kind, v in values.items())
            print(f"  {score:<28}{'; '.join(texts)}", flush=True)
            result["rows"].setdefault(name, {})[score] = {kind: [v.value, v.low, v.high] for kind, v in values.items()}
    print(json.dumps(result))


def _shown(found: MetricValue) -> str:
    """Formats value and interval, or the reason why there is none."""
    if found.value is None or found.low is None or found.high is None:
        return f"- ({found.reason})"
    return f"{found.value:.4g} ({found.low:.4g} to {found.high:.4g})"


if __name__ == "__main__":
    main()
