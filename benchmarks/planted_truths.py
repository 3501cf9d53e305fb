"""Evaluates generators of known value with the scores and verdicts that users get.

A scarce phantom cohort is ingested (by default 12 training patients with one slice each). Four kinds of generators are
evaluated as `gansweep sweep` and `gansweep confirm` evaluate a trial's generator:

- oracle: draws new phantoms from the true distribution;
- lesions forgotten: new phantoms of controls, whatever label is requested: fine anatomy, no lesions;
- labels shuffled: the oracle's images, regardless of the requested label;
- noise: uniform noise.

The oracle must help, the others never. Its arm is also the maximum that any GAN could reach here, and is shown with the
table of Henchiri's Fahr-CT paper (accuracy, sensitivity and specificity of real and of augmented training).

    python benchmarks/planted_truths.py [--train 12] [--slices 1] [--steps 900]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict, dataclass, fields
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from gansweep.cohort.dataset import Cohort
from gansweep.cohort.ingest.run import IngestSettings, ingest
from gansweep.cohort.intensity import window_named
from gansweep.cohort.phantom.scans import draw_phantom, write_phantom
from gansweep.cohort.readers.resample import fit_pixels
from gansweep.config import ScoringSettings, TrialConfig
from gansweep.contracts import Condition, ImageSet, Sampler
from gansweep.scoring.arms import real_arms, synthetic_arms
from gansweep.scoring.judged_arms import JudgedArms, judge_arms
from gansweep.scoring.networks.detection import Recipe
from gansweep.scoring.statistics.verdicts import wilson
from gansweep.scoring.trial import TrialScorer
from trainables import TRAINABLES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

SCANNED, SIZE = 96, 48  # pixels of the scanner and of the cohort
VAL, TEST = 60, 300  # patients
SAMPLES = 128  # drawn from each generator for the arms
RATIO = 3.0
AUGMENTED = f"real + {RATIO:g} synthetic"
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Design:
    """How scarce the real images are, and how long the detectors train on them.

    Args:
        train: number of training patients.
        slices: number of slices per patient.
        steps: number of updates of each detector.
        batch: number of images per update.
    """

    train: int = 12
    slices: int = 1
    steps: int = 900
    batch: int = 16

    @property
    def scoring(self) -> ScoringSettings:
        """Returns the scoring settings that `confirm` would use."""
        return ScoringSettings(
            samples=128, encoder_steps=300, detector_steps=self.steps, detector_batch=self.batch, detector_seeds=3
        )


@dataclass(frozen=True)
class Planted:
    """Results of one kind of generator.

    Args:
        fid, fid_floor: means over the trainings. The floor is that of real validation images.
        fidelity: lesion fidelity over all trainings' samples, with its Wilson interval (for the given detectors).
        arms: results on the test patients.
    """

    fid: float
    fid_floor: float
    fidelity: tuple[float, float, float]
    arms: JudgedArms


def scarce_cohort(folder: Path, design: Design, seed: int) -> Cohort:
    total = design.train + VAL + TEST
    write_phantom(folder / "scans", patients=total, slices=design.slices, size=SCANNED, seed=seed)
    split = (design.train / total, VAL / total, TEST / total)
    ingest(folder / "scans", folder / "cohort", IngestSettings(size=SIZE, split=split, seed=seed))
    return Cohort.open(folder / "cohort")


@cache
def fresh(fahr: tuple[bool, ...], seed: int) -> Tensor:
    """Draws new phantoms, processed as by ingest, `[n, 1, SIZE, SIZE]`."""
    rng, window = np.random.default_rng([seed, 2]), window_named("lesion")
    scans = (draw_phantom(rng, ill, SCANNED)[0][None] for ill in fahr)
    shown = np.stack([window.apply(fit_pixels(scan, SIZE, keep_lesions=True)) for scan in scans])
    return torch.from_numpy(shown) * 2 - 1


def oracle(condition: Condition, seed: int) -> Tensor:
    return fresh(tuple((condition.labels == 1).tolist()), seed)


def lesions_forgotten(condition: Condition, seed: int) -> Tensor:
    return fresh((False,) * len(condition.labels), seed)


def labels_shuffled(condition: Condition, seed: int) -> Tensor:
    return oracle(condition, seed)[torch.randperm(len(condition.labels), generator=torch.Generator().manual_seed(seed))]


def noise(condition: Condition, seed: int) -> Tensor:
    shape = (len(condition.labels), 1, SIZE, SIZE)
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


GENERATORS: dict[str, Sampler] = {
    "oracle": oracle,
    "lesions forgotten": lesions_forgotten,
    "labels shuffled": labels_shuffled,
    "noise": noise,
}


def measure(folder: Path, trainings: int, seed: int, design: Design = Design()) -> dict[str, Planted]:
    """Evaluates every kind with `trainings` generators of one detector per arm, as sweep and confirm would."""
    cohort = scarce_cohort(folder, design, seed)
    arms = _arms(cohort, trainings, design.scoring)
    scorer = TrialScorer(cohort, design.scoring, TRAINABLES, folder / "cache", CPU)
    found = {}
    for name, sampler in GENERATORS.items():
        # With a ratio of zero, no detectors are trained with samples: only the search's other scores are needed here.
        scores = [scorer.score(sampler, TrialConfig(seed=k, synthetic_ratio=0.0)) for k in range(trainings)]
        mean = {key: float(np.mean([one[key] for one in scores])) for key in ("fid", "fid_floor", "lesion_fidelity")}
        n = trainings * design.scoring.samples
        fidelity = (mean["lesion_fidelity"], *wilson(round(mean["lesion_fidelity"] * n), n))
        # Each kind is a separate sweep, so its claims are corrected for each other and not for those of other kinds.
        judged = judge_arms({name: arms[name]}, cohort.load_test(), 1, seed=seed)[name]
        found[name] = Planted(mean["fid"], mean["fid_floor"], fidelity, judged)
    return found


def _arms(cohort: Cohort, trainings: int, scoring: ScoringSettings) -> dict[str, list[Mapping[str, Tensor]]]:
    """Returns each kind's arms, one entry per training. The real arms are computed once for all kinds."""
    real, test, spec = cohort.load("train"), cohort.load_test(), cohort.spec()
    build = partial(TRAINABLES.detectors[scoring.detector], spec)
    recipe = Recipe(build, len(spec.classes), scoring.detector_steps, scoring.detector_batch)
    labels = torch.arange(SAMPLES) % len(spec.classes)
    arms: dict[str, list[Mapping[str, Tensor]]] = {name: [] for name in GENERATORS}
    for k in range(trainings):
        without = real_arms(recipe, real, test.images, seeds=[k], device=CPU)
        for name, sampler in GENERATORS.items():
            samples = ImageSet(sampler(Condition(labels), k), labels)
            given = synthetic_arms(recipe, real, samples, test.images, ratios=(RATIO,), seeds=[k], device=CPU)
            arms[name].append({**without, **given})
        print(f"training {k + 1} of {trainings}", file=sys.stderr, flush=True)
    return arms


def percent(value: float, low: float, high: float, sign: str = "") -> str:
    return f"{100 * value:{sign}.1f} ({100 * low:{sign}.1f} to {100 * high:{sign}.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trainings", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0, help="of the phantom cohort")
    for field in fields(Design):
        parser.add_argument(f"--{field.name}", type=int, default=field.default)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        design = Design(**{field.name: getattr(options, field.name) for field in fields(Design)})
        found = measure(Path(folder), options.trainings, options.seed, design)
    print("| generator | FID (floor) | lesion fidelity | arm | accuracy | sensitivity | specificity | AUROC |")
    print("|---|---|---|---|---|---|---|---|")
    for name, planted in found.items():
        for arm, scores in planted.arms.arms.items():
            if name == "oracle" or arm in planted.arms.comparisons:
                shown = (percent(*scores[m]) for m in ("accuracy", "sensitivity", "specificity", "auroc"))
                of = f"{planted.fid:.3g} ({planted.fid_floor:.3g}) | {percent(*planted.fidelity)}"
                print(f"| {name} | {of} | {arm} | {' | '.join(shown)} |")
    print("\n| generator | arm | metric | difference | verdict |\n|---|---|---|---|---|")
    for name, planted in found.items():
        for arm, by_metric in planted.arms.comparisons.items():
            for metric, c in by_metric.items():
                print(f"| {name} | {arm} | {metric} | {percent(c.difference, c.low, c.high, '+')} | {c.verdict} |")
    result = {"benchmark": "planted_truths", "test": TEST, **vars(options)}
    print(json.dumps({**result, "found": {name: asdict(planted) for name, planted in found.items()}}))


if __name__ == "__main__":
    main()
