"""Which share of what is possible does a synthetic image give? Each arm's gain over that of an oracle.

On each phantom a few patients train everything: detectors on real images alone, with rivals that cost nothing (MixUp,
CutMix, elastic and intensity augmentation, real lesions pasted and blended), and with the samples of generators (whole
images by a GAN, lesions by the painter, a diffusion model). The oracle draws fresh phantoms from the true distribution:
no generator can give more. All arms make the same number of updates, and are tested on 300 other phantoms.

Printed are gains in AUROC and log loss over real images alone, and the share of the oracle's gain: mean gain over mean
gain of the oracle, with a bootstrap over phantoms, the unit that is drawn anew. The best rival is the one with the
largest mean gain, which chance favours, and so speaks against the generators.

Recipe and space are fixed on phantoms 0 to 9 and written down in docs/log.md; phantoms 100 to 119 are then run once.

Every phantom's arm is a line of `--results`: the run can be stopped and goes on, and several processes can share it.
With 40 patients and all arms a phantom takes some ten minutes of a core, so the 20 phantoms are a matter of hours.

    python benchmarks/oracle_share.py --results share.csv --first 0 --count 10 [--train 12] [--arms painter,diffusion]
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from filelock import FileLock

from gansweep import cache
from gansweep.config import TrialConfig
from gansweep.contracts import Condition, ImageSet
from gansweep.errors import Diverged
from gansweep.scoring.arms import BASE, PASTED, RIVALS, rival_arms
from gansweep.scoring.metrics.answers import Predictions, mean_over_trainings
from gansweep.scoring.metrics.registry import METRICS
from gansweep.scoring.networks.detection import Recipe, fraction_of_ratio, predict, train_detector
from gansweep.training.build import build_gan
from gansweep.training.loop import train
from gansweep.training.reporters import MemoryReporter
from trainables import TRAINABLES

if TYPE_CHECKING:
    from torch import Tensor

    from gansweep.cohort.dataset import Cohort

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks.planted_truths import Design, oracle, scarce_cohort  # noqa: E402

CPU = torch.device("cpu")
SAMPLES = 128
MEASURES = {"auroc": 1.0, "log_loss": -1.0}
"""Measures with the sign of a gain."""
HELD_BACK = 100
"""Phantoms from this one on are for the one test of a recipe that is written down."""

_BASE = TrialConfig(batch_size=16, n_critic=1, lr_g=4e-4, lr_d=4e-4)
_RELATIVISTIC = {"loss.kind": "relativistic", "penalty.kind": "r1_r2", "penalty.lambda": 1.0}
GENERATORS: dict[str, dict[str, Any]] = {
    "whole images": {
        "architecture": {"width": 16, "latent": 64},
        "conditioning": "projection",
        "augmentation.kind": "diffaugment",
        **_RELATIVISTIC,
    },
    "painter": {
        "family": "lesion_painter",
        "conditioning": "none",
        "architecture": {"width": 16, "critic_width": 16, "depth": 2},
        "augmentation.kind": "diffaugment",
        **_RELATIVISTIC,
    },
    "diffusion": {
        "family": "diffusion",
        "architecture": {"width": 16, "levels": 3, "sampling_steps": 25},
        "beta1": 0.9,
        "beta2": 0.999,
        "lr_g": 1e-3,
    },
}
ORACLE = "oracle"
ARMS = (BASE, *RIVALS.values(), *GENERATORS, ORACLE)


@dataclass(frozen=True)
class Plan:
    """What every phantom's arms have in common."""

    train: int
    iterations: int
    steps: int
    seeds: int
    ratio: float

    def named(self, phantom: int, arm: str) -> str:
        """A key of everything that an arm's predictions depend on."""
        config = self.config(arm).as_dict() if arm in GENERATORS else None
        pasted = {"images": SAMPLES} if arm in PASTED.values() else {}
        return cache.key(phantom=phantom, arm=arm, config=config, plan=vars(self), samples=SAMPLES, **pasted)

    def config(self, arm: str) -> TrialConfig:
        """The configuration of a generator's arm."""
        return _BASE.derive({**GENERATORS[arm], "iterations": self.iterations})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=None, help="a CSV file that keeps the scores of every arm")
    parser.add_argument("--first", type=int, default=0, help="phantom")
    parser.add_argument("--count", type=int, default=2, help="phantoms")
    parser.add_argument("--train", type=int, default=12, help="training patients")
    parser.add_argument("--iterations", type=int, default=150, help="of the generators")
    parser.add_argument("--steps", type=int, default=300, help="of the detectors")
    parser.add_argument("--seeds", type=int, default=2, help="detectors per arm")
    parser.add_argument("--ratio", type=float, default=1.0, help="synthetic images per real one")
    parser.add_argument("--arms", default=",".join(ARMS[1:-1]), help="besides the base and the oracle")
    options = parser.parse_args()
    arms = [BASE, *options.arms.split(","), ORACLE]
    unknown = [arm for arm in arms if arm not in ARMS]
    if unknown:
        parser.error(f"no arm {unknown[0]!r}; known: {', '.join(ARMS[1:-1])}")
    if options.first < HELD_BACK < options.first + options.count:
        parser.error(f"phantoms from {HELD_BACK} on are a test of their own")
    torch.set_num_threads(1)
    plan = Plan(options.train, options.iterations, options.steps, options.seeds, options.ratio)
    phantoms = range(options.first, options.first + options.count)
    with tempfile.TemporaryDirectory() as temporary:
        results = options.results or Path(temporary) / "results.csv"
        scenes = Scenes(Path(temporary), plan)
        gains = np.array([gains_of(results, scenes, phantom, arms) for phantom in phantoms])
    print(json.dumps({"benchmark": "oracle_share", **vars(plan), "phantoms": len(gains), **tabulated(gains, arms)}))


class Scenes:
    """The phantoms' cohorts, of which the last one is kept.

    Args:
        folder: where the cohorts are made.
        plan: what they have in common.
    """

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.plan = plan
        self._folder = folder
        self._kept: tuple[int, Cohort, ImageSet] | None = None

    def of(self, phantom: int) -> tuple[Cohort, ImageSet]:
        """Returns a phantom's cohort, and its test images."""
        if self._kept is None or self._kept[0] != phantom:
            place = self._folder / f"phantom-{phantom}"
            cohort = scarce_cohort(place, Design(train=self.plan.train), phantom)
            self._kept = phantom, cohort, cohort.load_test()
        return self._kept[1:]


def gains_of(results: Path, scenes: Scenes, phantom: int, arms: list[str]) -> list[list[float]]:
    """Returns gains over real images alone `[measures, arms]` on one phantom."""
    scores = {}
    for arm in arms:
        key = scenes.plan.named(phantom, arm)
        with FileLock(results.with_name(f".{key}.lock")):
            found = known(results).get(key)
            if found is None:
                cohort, test = scenes.of(phantom)
                said = predictions((cohort, test), scenes.plan, phantom, arm)
                found = {name: scored(said, test, name) for name in MEASURES}
                keep(results, {"key": key, "train": scenes.plan.train, "phantom": phantom, "arm": arm, **found})
        scores[arm] = [sign * found[name] for name, sign in MEASURES.items()]
        print(f"phantom {phantom}: {arm}", file=sys.stderr, flush=True)
    return [[scores[arm][row] - scores[BASE][row] for arm in arms] for row in range(len(MEASURES))]


def known(results: Path) -> dict[str, dict[str, float]]:
    """Returns the scores of the arms that were run, by the key of all that they depend on."""
    if not results.exists():
        return {}
    with results.open(newline="", encoding="utf-8") as file:
        return {row["key"]: {name: float(row[name]) for name in MEASURES} for row in csv.DictReader(file)}


def keep(results: Path, row: dict[str, Any]) -> None:
    """Adds an arm's scores to the file."""
    with FileLock(results.with_suffix(".lock")):
        is_new = not results.exists()
        with results.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(row))
            if is_new:
                writer.writeheader()
            writer.writerow(row)


def predictions(scene: tuple[Cohort, ImageSet], plan: Plan, phantom: int, arm: str) -> Tensor:
    """Class probabilities `[s, n, classes]` of an arm's detectors."""
    cohort, test = scene
    real, spec = cohort.load("train"), cohort.spec()
    recipe = Recipe(partial(TRAINABLES.detectors["small_cnn"], spec), len(spec.classes), plan.steps, 16)
    seeds = list(range(plan.seeds))
    if arm in RIVALS.values():
        (rival,) = (name for name, title in RIVALS.items() if title == arm)
        return rival_arms(
            recipe, real, test.images, rivals=[rival], images=SAMPLES, positive=1, seeds=seeds, device=CPU
        )[arm]
    samples = None
    if arm == ORACLE:
        labels = torch.arange(SAMPLES) % len(spec.classes)
        samples = ImageSet(oracle(Condition(labels), 10_000 + phantom), labels)
    elif arm in GENERATORS:
        samples = sampled(plan.config(arm).derive({"seed": phantom}), cohort, real)
    detectors = [train_detector(recipe, real, samples, fraction_of_ratio(plan.ratio), seed, CPU) for seed in seeds]
    return predict(detectors, test.images, CPU)


def sampled(config: TrialConfig, cohort: Cohort, real: ImageSet) -> ImageSet | None:
    """Samples of a fresh training; None of one that diverged, which then gains nothing."""
    spec = cohort.spec()
    made = torch.tensor(TRAINABLES.classes_made(config, spec))
    labels = made[torch.arange(SAMPLES) % len(made)]
    drawn: list[Tensor] = []

    def keep(sampler: Any, _iteration: int) -> dict[str, float]:
        drawn.append(sampler(Condition(labels), config.seed)[:, : spec.channels])
        return {}

    try:
        train(config, build_gan(config, spec, TRAINABLES), real, MemoryReporter(), keep, reports=1, device=CPU)
    except Diverged:
        return None
    return ImageSet(drawn[0], labels)


def scored(said: Tensor, test: ImageSet, name: str) -> float:
    answers = Predictions(said.numpy(), test.labels.numpy(), test.patients, 1)
    return mean_over_trainings(METRICS[name].compute, answers)


def tabulated(gains: np.ndarray, arms: list[str], replicates: int = 2000) -> dict[str, Any]:
    """Prints the table of gains `[phantoms, measures, arms]`. The first arm is the base, the last the oracle."""
    rng = np.random.default_rng(0)
    drawn = gains[rng.integers(len(gains), size=(replicates, len(gains)))].mean(1)
    result: dict[str, Any] = {}
    print(
        f"| arm, {len(gains)} phantoms | " + " | ".join(f"gain in {m} | share of the oracle's" for m in MEASURES) + " |"
    )
    print("|---|" + "---|---|" * len(MEASURES))
    rows = {arm: [column] * len(MEASURES) for column, arm in enumerate(arms) if arm != BASE}
    rivals = [column for column, arm in enumerate(arms) if arm in RIVALS.values()]
    if rivals:
        means = gains.mean(0)
        rows["best rival"] = [max(rivals, key=lambda column: means[row, column]) for row in range(len(MEASURES))]
    for arm, columns in rows.items():
        cells = []
        for row, (name, column) in enumerate(zip(MEASURES, columns, strict=True)):
            scale = 100 if name == "auroc" else 1
            mean = scale * gains[:, row, column].mean()
            share = gains[:, row, column].mean() / gains[:, row, -1].mean()
            low, high = np.quantile(drawn[:, row, column] / drawn[:, row, -1], (0.025, 0.975))
            cells += [f"{mean:+.3g}", f"{share:.2f} ({low:.2f} to {high:.2f})"]
            result.setdefault(arm, {})[name] = {"gain": float(mean), "share": (float(share), float(low), float(high))}
        print(f"| {arm} | " + " | ".join(cells) + " |")
    return result


if __name__ == "__main__":
    main()
