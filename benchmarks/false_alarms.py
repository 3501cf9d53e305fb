"""Measures how often the verdict reports a difference when there is none, and how often an interval covers the truth.

First, detectors are simulated by crossed random effects (of patients, of trainings, and of both together), for common
and for rare diseases, so that the true scores have a closed form. Then, the same generator is compared with itself with
really trained detectors: both arms train detectors on the same few real images and on new samples of one generator, so
that chance is the only difference. A third arm of the same kind stands in for a rival. Training number k of all arms
shares its detector's seed, as in `confirm`. Each comparison has its own test patients, with several similar images each
(a patient's lesion is faint or bright, the dose high or low). Images are discs with and without a small spot, which a
small network learns in a second.

    python benchmarks/false_alarms.py --comparisons 200
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, astuple, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import stats

from gansweep.contracts import ImageSet, ImageSpec
from gansweep.scoring.arms import BASE, RIVALS
from gansweep.scoring.judged_arms import COMPARED, judge_arms
from gansweep.scoring.metrics.answers import Predictions
from gansweep.scoring.networks.detection import Recipe, fraction_of_ratio, predict, train_detector
from gansweep.scoring.statistics.verdicts import compare, interval, wilson
from trainables import DETECTORS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from gansweep.scoring.statistics.verdicts import Comparison

SIZE, STEPS, BATCH = 24, 60, 16
REAL = 8  # training patients
SAMPLES = 60
TEST = 50  # test patients
IMAGES = 3  # of each patient
ARM, SHARE = "real + 1 synthetic", fraction_of_ratio(1.0)
RIVAL = RIVALS["mixup"]
LOSSES = ("log_loss", "brier")
"""`confirm` does not compare arms by these."""
JUDGED = (*COMPARED, *LOSSES)
CPU = torch.device("cpu")
SHARED, OWN, GRAIN = 0.5, 0.7, 0.5  # spreads of the opinions that arms share and do not share, and between images


@dataclass(frozen=True)
class Design:
    """A test with three images per patient.

    Args:
        positives, negatives: numbers of patients.
        trainings: number of trainings per arm.
        luck: standard deviation of a training's skill.
        reaction: standard deviation of an arm's effect on a patient, which is the same in all of its trainings.
        skill: skill of the mean training, in logits.
    """

    positives: int = 20
    negatives: int = 20
    trainings: int = 5
    luck: float = 0.4
    reaction: float = 0.0
    skill: float = 1.0

    @property
    def truth(self) -> dict[str, float]:
        """Returns each metric's mean over all patients and trainings."""
        spread = 1.0 + self.reaction**2 + SHARED**2 + OWN**2 + GRAIN**2  # of a logit, beside luck
        of_class = float(stats.norm.cdf(self.skill / np.sqrt(self.luck**2 + spread)))
        area = float(stats.norm.cdf(2 * self.skill / np.sqrt(4 * self.luck**2 + 2 * spread)))
        return {"accuracy": of_class, "sensitivity": of_class, "specificity": of_class, "auroc": area}


DESIGNS = (
    Design(trainings=3, luck=0.0),
    Design(trainings=3),
    Design(50, 50, trainings=3),
    Design(150, 150, trainings=3, luck=0.1),
    Design(),
    Design(5, 100, luck=0.1, reaction=1.5),
    Design(8, 100, luck=0.1, reaction=1.5),
    Design(5, 5, trainings=3, luck=0.1, reaction=1.5),
)
SINGLE = (
    Design(10, 10, trainings=3, luck=0.0),
    Design(10, 10, trainings=3, luck=0.0, skill=3.0),
    Design(20, 20, trainings=3, luck=0.0, skill=3.0),
    Design(40, 40, trainings=3),
    Design(150, 150, trainings=3),
    Design(5, 100, luck=0.1),
)
"""Designs on which the intervals of single arms are tested."""


def crossed(rng: np.random.Generator, design: Design, effect: float = 0.0) -> tuple[Predictions, Predictions]:
    """Simulates two arms of detectors with crossed random effects.

    Patients differ in difficulty, shared by the arms. Each arm may improve or worsen the score of a patient. Each
    training of each arm has its own skill, and its own opinion of each patient.
    """
    count, trainings = design.positives + design.negatives, design.trainings
    of = np.repeat(np.arange(count), 3)
    labels = (of < design.positives).astype(int)
    difficulty, shared = rng.normal(size=count), rng.normal(scale=SHARED, size=(trainings, count))

    def arm(gain: float) -> Predictions:
        luck = rng.normal(scale=design.luck, size=(trainings, 1))
        reaction = rng.normal(scale=design.reaction, size=count)
        opinion = (shared + rng.normal(scale=OWN, size=(trainings, count)) + difficulty + reaction)[:, of]
        noise = rng.normal(scale=GRAIN, size=(trainings, len(of)))
        logits = (2 * labels - 1) * (design.skill + gain + luck) + opinion + noise
        p = 1 / (1 + np.exp(-logits))
        return Predictions(np.stack([1 - p, p], -1), labels, [f"patient {i}" for i in of], 1)

    return arm(0.0), arm(effect)


def patients(count: int, images: int, seed: int) -> ImageSet:
    """Returns `images` noisy discs for each of `count` patients. Every second patient has a spot, faint or bright."""
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


def null_comparisons(number: int, trainings: int) -> dict[str, Mapping[str, Comparison]]:
    """Returns every metric's comparisons of one generator with itself: of the arm, of the rival, and of the two."""
    spec = ImageSpec(SIZE, 1, ("negative", "positive"))
    recipe = Recipe(partial(DETECTORS["small_cnn"], spec), 2, STEPS, BATCH)
    fresh = iter(range(number * 1000, (number + 1) * 1000))  # seeds that no other comparison uses
    real, test = patients(REAL, IMAGES, next(fresh)), patients(TEST, IMAGES, next(fresh))

    def arm(seed: int) -> Tensor:
        samples = patients(SAMPLES, 1, next(fresh))
        return predict([train_detector(recipe, real, samples, SHARE, seed, CPU)], test.images, CPU)

    seeds = range(number * trainings, (number + 1) * trainings)
    runs = [{name: arm(seed) for name in (BASE, ARM, RIVAL)} for seed in seeds]
    judged = judge_arms({"twice": runs}, test, 1, seed=number)["twice"]
    base, synthetic = (answers([run[name] for run in runs], test) for name in (BASE, ARM))
    losses = {metric: compare(base, synthetic, metric, seed=number) for metric in LOSSES}
    return {
        "arm": {**judged.comparisons[ARM], **losses},
        "rival": judged.rivals[RIVAL],
        "arm over rival": judged.over_rival[ARM],
    }


def answers(probabilities: Sequence[Tensor], test: ImageSet) -> Predictions:
    """Returns the answers of one detector per training."""
    stacked = torch.cat([one.double() for one in probabilities]).numpy()
    return Predictions(stacked, test.labels.numpy(), test.patients, 1)


def alarms(comparisons: int, trainings: int) -> dict[str, dict[str, int]]:
    """Returns how many null comparisons were called a difference, by what was compared and by metric."""
    found: dict[str, dict[str, int]] = {}
    for number in range(comparisons):
        for claim, by_metric in null_comparisons(number, trainings).items():
            counts = found.setdefault(claim, dict.fromkeys(by_metric, 0))
            for metric, comparison in by_metric.items():
                counts[metric] += comparison.verdict != "no evidence"
        if number % 20 == 19:
            print(f"{number + 1} of {comparisons}: {found}", file=sys.stderr, flush=True)
    return found


def simulated(comparisons: int, design: Design) -> dict[str, int]:
    """Returns how many null comparisons of simulated detectors were called a difference, by metric."""
    rng = np.random.default_rng(0)
    found = dict.fromkeys(JUDGED, 0)
    for number in range(comparisons):
        pair = crossed(rng, design)
        for metric in JUDGED:
            found[metric] += compare(*pair, metric, seed=number).verdict != "no evidence"
    return found


def covered(arms: int, design: Design) -> dict[str, int]:
    """Returns how many intervals of single arms of simulated detectors covered the truth, by metric."""
    rng = np.random.default_rng(0)
    found = dict.fromkeys(COMPARED, 0)
    for number in range(arms):
        arm, _ = crossed(rng, design)
        for metric, truth in design.truth.items():
            _, low, high = interval(arm, metric, seed=number)
            found[metric] += low <= truth <= high
    return found


def table(
    title: str,
    designs: Sequence[Design],
    count: Callable[[int, Design], dict[str, int]],
    metrics: Sequence[str],
    n: int,
) -> list[Any]:
    """Prints the result of `count` for each design in n trials. Returns it with the designs."""
    columns = ("positive", "negative", "trainings", "luck", "reaction", "skill", *metrics)
    print(f"\n{title}, {n} each\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}", flush=True)
    rows: list[Any] = []
    for design in designs:
        found = count(n, design)
        print(f"| {' | '.join(map(str, (*astuple(design), *(share(found[m], n) for m in metrics))))} |", flush=True)
        rows.append({**asdict(design), **found})
    return rows


def share(count: int, n: int) -> str:
    low, high = wilson(count, n)
    return f"{100 * count / n:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--comparisons", type=int, default=200)
    parser.add_argument("--trainings", type=int, default=3)
    parser.add_argument(
        "--simulated", type=int, default=1000, help="comparisons and arms of simulated detectors, per row"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    n = options.simulated
    rates = table("Simulated null comparisons called a difference", DESIGNS, simulated, JUDGED, n)
    coverage = table("Single arms whose 95 % interval held the truth", SINGLE, covered, COMPARED, n)
    trained = alarms(options.comparisons, options.trainings)
    print("\n| compared | metric | really trained: called a difference |\n|---|---|---|")
    for claim, by_metric in trained.items():
        for metric, found in by_metric.items():
            print(f"| {claim} | {metric} | {share(found, options.comparisons)} |")
    figures = {"simulated_alarms": rates, "coverage": coverage, "alarms": trained}
    print(json.dumps({"benchmark": "false_alarms", **vars(options), **figures}))


if __name__ == "__main__":
    main()
