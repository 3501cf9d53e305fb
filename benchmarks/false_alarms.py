"""How often does the verdict see a difference where there is none?

First with detectors that are simulated by crossed random effects (of patients, of trainings, and of both together).
Then with the same generator twice and detectors really trained: in every comparison both arms train detectors on the
same few real images and on samples of one generator, drawn anew, so that chance is the only difference. Training number
k of both arms shares its detector's seed, as in `confirm`. Each comparison has test patients of its own, with several
images each that are alike (a patient's lesion is faint or bright, the dose high or low). Images are discs with and
without a small spot, which a small network learns in a second.

    python benchmarks/false_alarms.py --comparisons 200
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from gansweep.contracts import ImageSet, ImageSpec
from gansweep.scoring.arms import BASE, METRICS, judge_arms
from gansweep.scoring.detection import Recipe, predict, synthetic_share, train_detector
from gansweep.scoring.statistics import Predictions, compare, wilson
from trainables import DETECTORS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from gansweep.scoring.statistics import Comparison

SIZE, STEPS, BATCH = 24, 60, 16
REAL, SAMPLES, TEST, IMAGES = 8, 60, 50, 3  # training patients, samples, test patients, images of each
ARM, SHARE = "real + 1 synthetic", synthetic_share(1.0)
CPU = torch.device("cpu")


def crossed(
    rng: np.random.Generator, *, patients: int = 40, trainings: int = 5, luck: float = 0.4, effect: float = 0.0
) -> tuple[Predictions, Predictions]:
    """Two arms of detectors with crossed random effects, three images per patient.

    Patients differ in difficulty, shared by the arms; each training of each arm has its own luck, and its own opinion
    of each patient.
    """
    of = np.repeat(np.arange(patients), 3)
    labels = of % 2
    difficulty, shared = rng.normal(size=patients), rng.normal(scale=0.5, size=(trainings, patients))

    def arm(gain: float) -> Predictions:
        skill = (2 * labels - 1) * (1 + gain + rng.normal(scale=luck, size=(trainings, 1)))
        opinion = (shared + rng.normal(scale=0.7, size=(trainings, patients)))[:, of]
        logits = skill + difficulty[of] + opinion + rng.normal(scale=0.5, size=(trainings, len(of)))
        p = 1 / (1 + np.exp(-logits))
        return Predictions(np.stack([1 - p, p], -1), labels, [f"patient {i}" for i in of], 1)

    return arm(0.0), arm(effect)


def patients(count: int, images: int, seed: int) -> ImageSet:
    """`images` noisy discs of each of `count` patients; every second patient has a spot, faint or bright."""
    generator = torch.Generator().manual_seed(seed)
    axis = torch.linspace(-1, 1, SIZE)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    n = count * images
    of = torch.arange(n) // images
    contrast, dose = torch.rand(2, count, generator=generator)[:, of, None, None]
    place = (torch.rand(4, n, generator=generator) - 0.5)[:, :, None, None]
    disc = ((x - 0.2 * place[0]) ** 2 + y**2 < (0.7 + 0.2 * place[1]) ** 2) * 0.6 - 0.8
    spot = ((x - 0.7 * place[2]) ** 2 + (y - 0.7 * place[3]) ** 2 < 0.15**2) * (0.2 + 0.6 * contrast)
    noise = (0.1 + 0.2 * dose) * torch.randn(n, SIZE, SIZE, generator=generator)
    labels = of % 2
    shown = (disc + spot * labels[:, None, None] + noise).clamp(-1, 1)[:, None]
    return ImageSet(shown, labels, None, tuple(str(int(patient)) for patient in of))


def null_comparison(number: int, trainings: int) -> Mapping[str, Comparison]:
    """Every metric's verdict on one generator against itself."""
    spec = ImageSpec(SIZE, 1, ("negative", "positive"))
    recipe = Recipe(partial(DETECTORS["small_cnn"], spec), 2, STEPS, BATCH)
    fresh = iter(range(number * 1000, (number + 1) * 1000))  # seeds that no other comparison uses
    real, test = patients(REAL, IMAGES, next(fresh)), patients(TEST, IMAGES, next(fresh))

    def arm(seed: int) -> Tensor:
        samples = patients(SAMPLES, 1, next(fresh))
        return predict([train_detector(recipe, real, samples, SHARE, seed, CPU)], test.images, CPU)

    runs = [{BASE: arm(seed), ARM: arm(seed)} for seed in range(number * trainings, (number + 1) * trainings)]
    return judge_arms({"twice": runs}, test, 1, seed=number)["twice"].comparisons[ARM]


def alarms(comparisons: int, trainings: int) -> dict[str, int]:
    """Of so many null comparisons, how many were called a difference, by metric."""
    found = dict.fromkeys(METRICS, 0)
    for number in range(comparisons):
        for metric, comparison in null_comparison(number, trainings).items():
            found[metric] += comparison.verdict != "no evidence"
        if number % 20 == 19:
            print(f"{number + 1} of {comparisons}: {found}", file=sys.stderr, flush=True)
    return found


def simulated(comparisons: int, trainings: int, count: int, luck: float) -> int:
    """Of so many null comparisons of simulated detectors, how many were called a difference in accuracy."""
    rng = np.random.default_rng(0)
    pairs = (crossed(rng, patients=count, trainings=trainings, luck=luck) for _ in range(comparisons))
    return sum(compare(*pair, seed=number).verdict != "no evidence" for number, pair in enumerate(pairs))


def share(count: int, n: int) -> str:
    low, high = wilson(count, n)
    return f"{100 * count / n:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--comparisons", type=int, default=200)
    parser.add_argument("--trainings", type=int, default=3)
    parser.add_argument("--simulated", type=int, default=1000, help="comparisons of simulated detectors, per row")
    options = parser.parse_args()
    torch.set_num_threads(1)
    n, rates = options.simulated, {}
    print("| trainings | test patients | luck of a training | called a difference in accuracy |\n|---|---|---|---|")
    for trainings, count, luck in ((3, 40, 0.0), (3, 40, 0.4), (3, 100, 0.4), (3, 300, 0.1), (5, 40, 0.4)):
        rates[f"{trainings}/{count}/{luck}"] = found = simulated(n, trainings, count, luck)
        print(f"| {trainings} | {count} | {luck} | {share(found, n)} |", flush=True)
    trained = alarms(options.comparisons, options.trainings)
    print("\n| metric | really trained: called a difference |\n|---|---|")
    for metric, found in trained.items():
        print(f"| {metric} | {share(found, options.comparisons)} |")
    print(json.dumps({"benchmark": "false_alarms", **vars(options), "simulated_alarms": rates, "alarms": trained}))


if __name__ == "__main__":
    main()
