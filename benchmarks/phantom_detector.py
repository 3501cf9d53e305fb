"""Measures how difficult the phantom is: a plain detector is trained on 40 real patients and tested on new ones.

Several phantoms are drawn. On each, detectors with several seeds are trained like a trial's baseline (the project's own
small CNN, classical augmentation, no synthetic images) and tested on 100 other patients. The interval is over phantoms,
which are the independent unit: mean +- t * sd / sqrt(n).

    python benchmarks/phantom_detector.py --phantoms 4 --seeds 5 [--windows lesion,brain]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from scipy import stats
from sklearn.metrics import roc_auc_score

from gansweep.cohort.dataset import Cohort
from gansweep.cohort.ingest.run import IngestSettings, ingest
from gansweep.cohort.phantom.scans import write_phantom
from gansweep.scoring.networks.detection import Recipe, predict, train_detector
from trainables import DETECTORS

TRAIN = 40
TEST = 100
STEPS = 300
BATCH = 32
COLUMNS = ("accuracy", "sensitivity", "specificity", "auroc")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--phantoms", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--slices", type=int, default=4)
    parser.add_argument("--drawn", type=int, default=128, help="pixels of the DICOM images")
    parser.add_argument("--size", type=int, default=64, help="pixels of the cohort")
    parser.add_argument("--windows", default="lesion", help="one, or two to compare on the same phantoms: lesion,brain")
    options = parser.parse_args()
    torch.set_num_threads(1)
    windows = options.windows.split(",")
    print(f"{'phantom':>8} {'window':>10} " + " ".join(f"{name:>14}" for name in COLUMNS))
    shown = []
    for number in range(options.phantoms):
        shown.append(measure(number, windows, options))
        for window, row in zip(windows, shown[-1], strict=True):
            print(f"{number:>8} {window:>10} " + " ".join(f"{value:>14.3f}" for value in row), flush=True)
    scores = np.array(shown)  # [phantoms, windows, columns]
    tables = {window: scores[:, index] for index, window in enumerate(windows)}
    if len(windows) == 2:
        tables["difference"] = scores[:, 0] - scores[:, 1]
    result = {"benchmark": "phantom_detector", "train_patients": TRAIN, "test_patients": TEST, **vars(options)}
    for name, table in tables.items():
        half = stats.t.ppf(0.975, len(table) - 1) * table.std(0, ddof=1) / np.sqrt(len(table))
        cells = [f"{m:.3f} +- {h:.3f}" for m, h in zip(table.mean(0), half, strict=True)]
        print(f"{'mean':>8} {name:>10} " + " ".join(f"{cell:>14}" for cell in cells))
        result[name] = dict(zip(COLUMNS, zip(table.mean(0).tolist(), half.tolist(), strict=True), strict=True))
    print(json.dumps(result))


def measure(number: int, windows: list[str], options: argparse.Namespace) -> list[list[float]]:
    """Returns mean scores over detector seeds `[windows, columns]` on one phantom."""
    share = TRAIN / (TRAIN + TEST)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "phantom"
        write_phantom(source, patients=TRAIN + TEST, slices=options.slices, size=options.drawn, seed=1000 + number)
        for window in windows:
            settings = IngestSettings(size=options.size, split=(share, 1 - share, 0.0), window=window)
            ingest(source, Path(folder) / window, settings)
            rows.append(detected(Cohort.open(Path(folder) / window), options.seeds))
    return rows


def detected(cohort: Cohort, seeds: int) -> list[float]:
    """Returns mean scores `[columns]`, on the other patients, of detectors trained on the training patients."""
    train, held_out, spec = cohort.load("train"), cohort.load("val"), cohort.spec()
    device = torch.device("cpu")
    recipe = Recipe(lambda: DETECTORS["small_cnn"](spec), len(spec.classes), STEPS, BATCH)
    detectors = [train_detector(recipe, train, None, 0.0, seed, device) for seed in range(seeds)]
    probabilities = predict(detectors, held_out.images, device)[..., 1].numpy()
    truth = held_out.labels.numpy().astype(bool)
    return [float(value) for value in np.mean([scored(probability, truth) for probability in probabilities], axis=0)]


def scored(probability: np.ndarray, truth: np.ndarray) -> tuple[float, float, float, float]:
    called = probability > 0.5
    accuracy, sensitivity = (called == truth).mean(), called[truth].mean()
    return float(accuracy), float(sensitivity), float((~called[~truth]).mean()), roc_auc_score(truth, probability)


if __name__ == "__main__":
    main()
