"""How hard is the phantom? A plain detector trained on 40 real patients, tested on patients it has never seen.

Several phantoms are drawn; on each, detectors with several seeds are trained as a trial's baseline is (the project's
own small CNN, classical augmentation, no synthetic images) and tested on 100 other patients. The interval is over
phantoms, the unit that is drawn anew: mean +- t * sd / sqrt(n).

    python benchmarks/phantom_detector.py --phantoms 4 --seeds 5
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
from gansweep.cohort.ingest import IngestSettings, ingest
from gansweep.cohort.phantom import write_phantom
from gansweep.scoring.detection import Recipe, predict, train_detector
from trainables import DETECTORS

TRAIN, TEST, STEPS, BATCH = 40, 100, 300, 32
COLUMNS = ("accuracy", "sensitivity", "specificity", "auroc")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--phantoms", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--slices", type=int, default=4)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--window", default=None)
    options = parser.parse_args()
    torch.set_num_threads(1)
    scores = np.array([measure(number, options) for number in range(options.phantoms)])  # [phantoms, seeds, columns]
    print(f"{'phantom':>8} " + " ".join(f"{name:>12}" for name in COLUMNS))
    for number, rows in enumerate(scores):
        print(f"{number:>8} " + " ".join(f"{value:>12.3f}" for value in rows.mean(0)))
    means = scores.mean(1)
    half = stats.t.ppf(0.975, len(means) - 1) * means.std(0, ddof=1) / np.sqrt(len(means))
    print(f"{'mean':>8} " + " ".join(f"{m:.3f}+-{h:.3f}" for m, h in zip(means.mean(0), half, strict=True)))
    result = {
        "benchmark": "phantom_detector",
        "train_patients": TRAIN,
        "test_patients": TEST,
        "slices": options.slices,
        "size": options.size,
        "phantoms": options.phantoms,
        "seeds": options.seeds,
        **{name: [round(m, 4), round(h, 4)] for name, m, h in zip(COLUMNS, means.mean(0), half, strict=True)},
    }
    print(json.dumps(result))


def measure(number: int, options: argparse.Namespace) -> list[list[float]]:
    """Scores `[seeds, columns]` on one phantom."""
    share = TRAIN / (TRAIN + TEST)
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "phantom", Path(folder) / "cohort"
        write_phantom(source, patients=TRAIN + TEST, slices=options.slices, seed=1000 + number)
        settings = IngestSettings(size=options.size, split=(share, 1 - share, 0.0), window=options.window)
        ingest(source, out, settings)
        cohort = Cohort.open(out)
        train, held_out, spec = cohort.load("train"), cohort.load("val"), cohort.spec()
    device = torch.device("cpu")
    recipe = Recipe(lambda: DETECTORS["small_cnn"](spec), len(spec.classes), STEPS, BATCH)
    detectors = [train_detector(recipe, train, None, 0.0, seed, device) for seed in range(options.seeds)]
    probabilities = predict(detectors, held_out.images, device)[..., 1].numpy()
    truth = held_out.labels.numpy().astype(bool)
    return [list(scored(probability, truth)) for probability in probabilities]


def scored(probability: np.ndarray, truth: np.ndarray) -> tuple[float, float, float, float]:
    called = probability > 0.5
    accuracy, sensitivity = (called == truth).mean(), called[truth].mean()
    return float(accuracy), float(sensitivity), float((~called[~truth]).mean()), roc_auc_score(truth, probability)


if __name__ == "__main__":
    main()
