"""Measures the benefit of the lesion view.

Small calcifications at 64 pixels, against a brain window with plain resizing.

Phantom: n heads, each scanned with and without one small deposit (radius 0.3-1.2 mm, 80-1000 HU) in a pallidum, at 256
pixels, shown at 64. For each view:
  CNR      lesion pixels minus the tissue around them, over the standard deviation of that tissue (median of heads);
  AUROC    of the brightest pixel within 14 mm, above the median there: deposit present or absent (bootstrap interval);
  density  Spearman correlation of the lesion's brightest pixel with the deposit's true density: whether 80 HU can be
           distinguished from 1000.
Real: the brightest spot inside the skull on slices 17-19 of a GE head CT (pineal and choroid calcification).

    GANSWEEP_REAL_DATA=/data python benchmarks/lesion_view.py --heads 120
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage, stats
from sklearn.metrics import roc_auc_score

from gansweep.cohort.intensity import WINDOWS, Window
from gansweep.cohort.phantom.anatomy import NUCLEI, Canvas, draw_head, paint_head
from gansweep.cohort.phantom.calcification import Deposit, paint_deposits
from gansweep.cohort.phantom.scanner import PIXELS_ACROSS, scan
from gansweep.cohort.readers.dicom import read_dicom
from gansweep.cohort.readers.resample import fit_mask, fit_pixels

NATIVE, SHOWN, SEARCH_MM = 256, 64, 14.0
VIEWS: dict[str, tuple[Window, bool]] = {
    "brain window, plain resize": (WINDOWS["brain"], False),
    "brain window, lesion resize": (WINDOWS["brain"], True),
    "lesion window, plain resize": (WINDOWS["lesion"], False),
    "lesion view (both)": (WINDOWS["lesion"], True),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--heads", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(options.seed)
    cases = [case(rng) for _ in range(options.heads)]
    result: dict[str, object] = {"benchmark": "lesion_view", "heads": options.heads, "seed": options.seed}
    print(f"{'view':<28} {'CNR':>6} {'AUROC':>22} {'density':>8}")
    for name, view in VIEWS.items():
        row = measured(cases, view, rng)
        low, high = row["auroc_interval"]
        print(f"{name:<28} {row['cnr']:>6.2f} {row['auroc']:>8.3f} [{low:.3f}, {high:.3f}] {row['density']:>8.3f}")
        result[name] = row
    root = os.environ.get("GANSWEEP_REAL_DATA")
    if root:
        result["real"] = real(Path(root) / "dicom_head_samples" / "images" / "GE_head_CT")
    print(json.dumps(result))


def case(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]:
    """Returns (with deposit, without, lesion mask, distance in mm from the deposit, its density), with images in HU."""
    canvas = Canvas(draw_head(rng), float(rng.uniform(0.25, 0.6)), NATIVE * PIXELS_ACROSS)
    tissue, _ = paint_head(canvas)
    nucleus, side, radius = NUCLEI["pallidum"], float(rng.choice([-1.0, 1.0])), float(rng.uniform(0.3, 1.2))
    density = float(np.exp(rng.uniform(np.log(80), np.log(1000))))
    x, y = side * (nucleus.x + float(rng.normal(0, 1))), nucleus.y + float(rng.normal(0, 2))
    deposit = Deposit(x, y, radius, radius * 1.2, 0.0, canvas.level, 1.0, density, int(rng.integers(1000, 2**31)), True)
    bright, cover = paint_deposits(tissue, canvas, [deposit])
    noise = float(rng.uniform(3, 6)) * 1.6  # four times as many pixels as the 128-pixel phantom share the same dose
    images = [scan(image, NATIVE, noise, rng) for image in (bright, tissue)]
    shape = (NATIVE, PIXELS_ACROSS, NATIVE, PIXELS_ACROSS)
    mask = cover.reshape(shape).mean(axis=(1, 3)) > 0.3
    away = np.hypot(canvas.x - x, canvas.y - y).reshape(shape).mean(axis=(1, 3))
    return images[0], images[1], mask, away, density


def measured(cases: list, view: tuple[Window, bool], rng: np.random.Generator) -> dict:
    contrast, statistic, peaks = [], [], []
    for present, absent, mask, away, _ in cases:
        near = fit_pixels(away[None].astype(np.float32), SHOWN, keep_lesions=False)[0] < SEARCH_MM
        lesion = fit_mask(mask, None, SHOWN)
        lesion = lesion if lesion.any() else fit_pixels(mask[None].astype(np.float32), SHOWN, keep_lesions=False)[0] > 0
        shown = [shown_as(image, view) for image in (present, absent)]
        around = near & ~ndimage.binary_dilation(lesion, iterations=2)
        contrast.append((shown[0][lesion].mean() - shown[0][around].mean()) / shown[0][around].std())
        statistic.append([image[near].max() - np.median(image[near]) for image in shown])
        peaks.append(shown[0][ndimage.binary_dilation(lesion)].max())
    scores = np.array(statistic)  # [heads, present or absent]
    draws = [auroc(scores[rng.integers(0, len(scores), len(scores))]) for _ in range(400)]
    low, high = np.percentile(draws, [2.5, 97.5])
    return {
        "cnr": round(float(np.median(contrast)), 3),
        "auroc": round(auroc(scores), 4),
        "auroc_interval": [round(float(low), 4), round(float(high), 4)],
        "density": round(float(stats.spearmanr(peaks, [item[4] for item in cases])[0]), 4),
    }


def auroc(scores: np.ndarray) -> float:
    return float(roc_auc_score(np.repeat([1, 0], len(scores)), np.concatenate([scores[:, 0], scores[:, 1]])))


def shown_as(hu: np.ndarray, view: tuple[Window, bool]) -> np.ndarray:
    window, keep = view
    return window.apply(fit_pixels(hu[None], SHOWN, keep_lesions=keep))[0]


def real(folder: Path) -> list[dict]:
    rows = []
    print(
        f"\n{'real CT slice':<14} {'peak HU':>8} {'plain HU':>9} {'kept HU':>8} {'brain+plain':>12} {'lesion view':>12}"
    )
    for number in (17, 18, 19):
        hu = read_dicom(folder / f"{number:02d}.dcm")[0].pixels[0]
        brain = inside_skull(hu)
        peak = float(hu[brain].max())
        small = fit_mask(ndimage.binary_erosion(brain, iterations=8), None, SHOWN)
        averaged = fit_pixels(hu[None], SHOWN, keep_lesions=False)[0]
        kept = fit_pixels(hu[None], SHOWN, keep_lesions=True)[0]
        contrasts = [
            contrast_of(shown_as(hu, VIEWS[name]), small) for name in (next(iter(VIEWS)), "lesion view (both)")
        ]
        row = {"slice": number, "peak_hu": peak, "plain_hu": float(averaged[small].max())}
        row |= {"kept_hu": float(kept[small].max()), "brain_cnr": contrasts[0], "lesion_cnr": contrasts[1]}
        rows.append({name: round(value, 2) for name, value in row.items()})
        print(
            f"{number:<14} {peak:>8.0f} {row['plain_hu']:>9.0f} {row['kept_hu']:>8.0f} "
            f"{contrasts[0]:>12.2f} {contrasts[1]:>12.2f}"
        )
    return rows


def contrast_of(image: np.ndarray, region: np.ndarray) -> float:
    values = image[region]
    spread = np.percentile(values, 75) - np.percentile(values, 25)
    return float((values.max() - np.median(values)) / (spread / 1.349))  # robust standard deviation


def inside_skull(hu: np.ndarray) -> np.ndarray:
    bone = ndimage.binary_closing(hu > 300, iterations=4)
    labels, _ = ndimage.label(bone)
    skull = labels == np.bincount(labels.ravel())[1:].argmax() + 1
    return ndimage.binary_erosion(ndimage.binary_fill_holes(skull) & ~skull, iterations=10)


if __name__ == "__main__":
    main()
