"""Compares the families on a real cohort at equal compute: realism, and the gain of a detector.

    python benchmarks/families_real.py --cohort COHORT [--seconds 60] [--families dcgan,progan] [--sheets FOLDER]

Every family trains for the same number of processor seconds on one thread (its iterations follow from its own step
time, which is measured first), with the same objective if it supports it (`benchmarks/learning.py`), conditional on the
class, with DiffAugment. If the cohort has masks, joint image and mask (on dcgan), SPADE and the lesion painter are
included. Distances are in the features of the cohort's own encoder, to the training images. Their floor is the distance
of the real validation images. Detectors are trained on real training images with and without one synthetic image per
two real ones and evaluated on the validation images: `--detectors` seeds per arm, and the difference with its 95 %
interval over patients and detectors. Test images are not used. Rows are printed as they are finished; the last line is
JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from learning import FAMILIES, RELATIVISTIC

from gansweep.cohort.dataset import Cohort
from gansweep.config import ScoringSettings, TrialConfig
from gansweep.contracts import Condition, ImageSet
from gansweep.scoring.metrics.answers import Predictions
from gansweep.scoring.networks.detection import fraction_of_ratio, predict, train_detector
from gansweep.scoring.statistics.verdicts import compare
from gansweep.scoring.trial import TrialScorer
from gansweep.store.sheet import sheet_png
from gansweep.training.build import build_gan
from gansweep.training.loop import train
from gansweep.training.reporters import MemoryReporter
from trainables import TRAINABLES

if TYPE_CHECKING:
    from gansweep.contracts import Sampler
    from gansweep.scoring.reference import Reference

CPU = torch.device("cpu")
RATIO = 0.5
MASKED: dict[str, dict[str, Any]] = {
    "joint": RELATIVISTIC | {"architecture": {"base": "dcgan", "width": 16, "latent": 32}},
    "spade": RELATIVISTIC | {"architecture": {"width": 16, "latent": 32, "modulation": 16}},
    "lesion_painter": RELATIVISTIC
    | {"architecture": {"width": 16, "critic_width": 16}, "conditioning": "none", "lr_d": 2e-4, "lr_g": 2e-4},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cohort", type=Path, help="a folder that `gansweep ingest` wrote")
    parser.add_argument("--seconds", type=float, default=60.0, help="of processor time, per family")
    parser.add_argument("--families", help="comma-separated; default: all that the cohort admits")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--detectors", type=int, default=3)
    parser.add_argument("--detector-steps", type=int, default=200)
    parser.add_argument("--cache", type=Path, help="keeps the encoder and the real-only detectors for another run")
    parser.add_argument("--sheets", type=Path, help="a folder for sample sheets; they show real images too")
    arguments = parser.parse_args()
    if arguments.cohort is None:
        print("nothing to do: --cohort names no cohort")
        return
    torch.set_num_threads(1)
    cohort = Cohort.open(arguments.cohort)
    known = FAMILIES | (MASKED if cohort.spec().mask_channels else {})
    names = arguments.families.split(",") if arguments.families else list(known)
    scoring = ScoringSettings(
        samples=arguments.samples,
        detector_steps=arguments.detector_steps,
        detector_seeds=arguments.detectors,
        segmenter_steps=0,
    )
    with tempfile.TemporaryDirectory() as folder:
        scorer = TrialScorer(cohort, scoring, TRAINABLES, arguments.cache or Path(folder), CPU)
        real = scorer.reference(TrialConfig().data)
        print(f"{len(real.train)} training, {len(real.val)} validation images of {cohort.spec().size} pixels")
        print(f"{'family':<14} {'parameters':>10} {'iterations':>10} {'s/1,000':>8} {'fid':>7} {'matched':>7} "
              f"{'floor':>6} {'kid':>7} {'difference':>10}  95 % interval")  # fmt: skip
        rows = [row_of(name, known[name], scorer, real, arguments) for name in names]
    print(json.dumps({"cohort": cohort.content_hash, "seconds": arguments.seconds, "rows": rows}))


def row_of(
    family: str, changes: dict[str, Any], scorer: TrialScorer, real: Reference, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Trains one family, scores it, prints and returns its row."""
    base = TrialConfig(
        family=family, n_critic=1, batch_size=32, ema_half_life=1.0, seed=arguments.seed, synthetic_ratio=0.0
    )
    config = base.derive({"augmentation.kind": "diffaugment", **changes})
    config = config.derive({"iterations": _affordable(config, real, arguments.seconds)})
    gan = build_gan(config, real.spec, TRAINABLES)
    found: dict[str, Any] = {}

    def score(sampler: Sampler, iteration: int) -> dict[str, float]:
        found["training"] = time.process_time() - began
        found["scores"] = scorer.score(sampler, config, iteration)
        found["samples"] = _samples(sampler, config, real, arguments.samples)
        return {}

    began = time.process_time()
    train(config, gan, real.train, MemoryReporter(), score, reports=1, device=CPU)
    samples: ImageSet = found["samples"]
    difference = _difference(samples, real)
    if arguments.sheets:
        arguments.sheets.mkdir(parents=True, exist_ok=True)
        sheet = sheet_png(real.train, samples.images, samples.labels, real.spec.classes)
        (arguments.sheets / f"{family}.png").write_bytes(sheet)
    row = {
        "family": family,
        "seed": arguments.seed,
        "parameters": sum(p.numel() for network in gan.networks.values() for p in network.parameters()),
        "iterations": config.iterations,
        "seconds": found["training"],
        "seconds_per_1000": found["training"] / (config.iterations * config.batch_size) * 1000,
        **{name: found["scores"][name] for name in ("fid", "fid_matched", "fid_floor", "kid", "kid_floor")},
        "lesion_fidelity": found["scores"]["lesion_fidelity"],
        **difference,
    }
    print(f"{family:<14} {row['parameters']:>10,} {row['iterations']:>10,} {row['seconds_per_1000']:>8.2f} "
          f"{row['fid']:>7.1f} {row['fid_matched']:>7.1f} {row['fid_floor']:>6.1f} {row['kid']:>7.3f} "
          f"{100 * row['difference']:>+10.1f}  {100 * row['low']:+.1f} to {100 * row['high']:+.1f}",
          flush=True)  # fmt: skip
    return row


def _affordable(config: TrialConfig, real: Reference, seconds: float) -> int:
    """Returns the number of iterations in the given processor seconds.

    It is extrapolated from two short runs, in which a growing GAN grows.
    """
    start, tried = _taken(config, real, 1), 2
    while (taken := _taken(config, real, tried) - start) < 0.05 * seconds:
        tried *= 2
    return max(math.floor((tried - 1) * seconds / taken), 1)


def _taken(config: TrialConfig, real: Reference, iterations: int) -> float:
    short = config.derive({"iterations": iterations})
    gan = build_gan(short, real.spec, TRAINABLES)
    began = time.process_time()
    train(short, gan, real.train, MemoryReporter(), lambda _sampler, _iteration: {}, reports=1, device=CPU)
    return time.process_time() - began


def _samples(sampler: Sampler, config: TrialConfig, real: Reference, number: int) -> ImageSet:
    """Draws equally many samples of each class that the family makes."""
    made = torch.tensor(TRAINABLES.classes_made(config, real.spec))
    labels = made.repeat(-(-number // len(made)))[:number]
    return ImageSet(sampler(Condition(labels), config.seed)[:, : real.spec.channels], labels)


def _difference(samples: ImageSet, real: Reference) -> dict[str, float]:
    """Returns the difference in validation accuracy between detectors trained with and without the samples."""
    assert real.baseline is not None
    recipe, alone = real.baseline.recipe, real.baseline.probabilities
    share = fraction_of_ratio(RATIO)
    detectors = [train_detector(recipe, real.train, samples, share, seed, CPU) for seed in range(len(alone))]
    with_samples = predict(detectors, real.val.images, CPU)
    base, arm = (_predictions(probabilities, real) for probabilities in (alone, with_samples))
    found = compare(base, arm, "accuracy")
    accuracy = float((alone.argmax(-1) == real.val.labels).double().mean())
    return {"real_only": accuracy, "difference": found.difference, "low": found.low, "high": found.high, "p": found.p}


def _predictions(probabilities: torch.Tensor, real: Reference) -> Predictions:
    return Predictions(probabilities.double().numpy(), real.val.labels.numpy(), real.val.patients, real.positive)


if __name__ == "__main__":
    main()
