"""Which score of a configuration repeats itself, and which one follows what the test patients gain?

Twelve configurations, from good to useless, are trained with several seeds on two phantom cohorts, and scored as a
trial is. Each training has detectors of its own, so that a score's chance is the generator's, the detectors' and the
patients'. Printed are, score by score:

- the intraclass correlation of one training's score, with a 95 % interval (Shrout & Fleiss 1979, ICC(1, 1));
- the rank correlation of one training's score with the gain of the *other* trainings of its configuration on test
  patients (AUROC over that of real images alone), mean over trainings and cohorts, with an interval by a bootstrap of
  configurations;
- what the pick by that score is worth: of one training of every configuration, the best by validation is picked, and
  the mean gain of its configuration's *other* trainings on test patients is compared with that of the pick by accuracy,
  paired over cohorts (Student's interval over cohorts, mean over seeds);
- the parts of a difference's variance: configurations, generator seeds, detector seeds, patients, as standard
  deviations, and the reliability that more of each would buy.

Every training is kept in `--cache`, so that the run can be stopped and goes on, and several processes can share it.

    python benchmarks/reliability.py --cache reliability-cache [--seeds 4] [--cohorts 2] [--configurations 12]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from scipy import stats

from gansweep import cache
from gansweep.cohort.dataset import Cohort
from gansweep.cohort.ingest.run import IngestSettings, ingest
from gansweep.cohort.phantom.scans import write_phantom
from gansweep.config import ScoringSettings, TrialConfig
from gansweep.contracts import Condition, ImageSet
from gansweep.distributed import World
from gansweep.errors import Diverged
from gansweep.scoring.metrics.answers import Predictions, mean_over_trainings
from gansweep.scoring.metrics.registry import METRICS, metrics_of
from gansweep.scoring.networks.detection import Recipe, fraction_of_ratio, predict, train_detector
from gansweep.scoring.reference import ReferenceMaker
from gansweep.scoring.statistics.elementary import numbered
from gansweep.scoring.statistics.paired_seeds import worth
from gansweep.scoring.statistics.reliability import components, reliability
from gansweep.training.build import build_gan
from gansweep.training.loop import train
from gansweep.training.reporters import MemoryReporter
from gansweep.training.sampling import make_sampler
from trainables import TRAINABLES

if TYPE_CHECKING:
    from gansweep.scoring.reference import Reference

CPU = torch.device("cpu")
SCANNED, SIZE = 96, 32  # pixels of the scanner and of the cohort
TRAIN, VAL, TEST = 16, 40, 120  # patients, one slice each
SAMPLES, DETECTORS = 64, 2
SCORED = ScoringSettings(samples=SAMPLES, encoder_steps=200, detector_steps=150, detector_batch=16)
ANSWERS = ("accuracy", "auroc", "log_loss", "brier")
DISTANCES = ("fid", "kid")
FIRST_PHANTOM = 7_000
"""Cohorts of their own: neither those that recipes are developed on nor those that they are tested on."""

_BASE = TrialConfig(batch_size=16, n_critic=1, iterations=60, synthetic_ratio=1.0, lr_g=4e-4, lr_d=4e-4)
_DCGAN: dict[str, Any] = {"architecture": {"width": 8, "latent": 32}}
_GP = {"loss.kind": "wasserstein", "penalty.kind": "gradient_penalty"}
_RELATIVISTIC = {"loss.kind": "relativistic", "penalty.kind": "r1_r2", "penalty.lambda": 1.0}
_PAINTER: dict[str, Any] = {
    "family": "lesion_painter",
    "conditioning": "none",
    "architecture": {"width": 8, "critic_width": 8, "depth": 2},
    **_RELATIVISTIC,
}
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "dcgan, WGAN-GP": _DCGAN | _GP,
    "dcgan, WGAN-GP, projection": _DCGAN | _GP | {"conditioning": "projection"},
    "dcgan, relativistic": _DCGAN | _RELATIVISTIC,
    "dcgan, relativistic, DiffAugment": _DCGAN | _RELATIVISTIC | {"augmentation.kind": "diffaugment"},
    "dcgan, hinge and R1": _DCGAN | {"loss.kind": "hinge", "penalty.kind": "r1", "penalty.lambda": 1.0},
    "dcgan, relativistic, 15 iterations": _DCGAN | _RELATIVISTIC | {"iterations": 15},
    "dcgan, relativistic, ratio 4": _DCGAN | _RELATIVISTIC | {"synthetic_ratio": 4.0},
    "r3gan": {"family": "r3gan", "architecture": {"width": 8, "latent": 32}, **_RELATIVISTIC},
    "painter": _PAINTER,
    "painter, 15 iterations": _PAINTER | {"iterations": 15},
    "painter, ratio 0.25": _PAINTER | {"synthetic_ratio": 0.25},
    "painter, hinge": _PAINTER | {"loss.kind": "hinge", "penalty.kind": "r1"},
}


@dataclass(frozen=True)
class Scene:
    """A phantom cohort with what its trainings are compared with."""

    reference: Reference
    test: ImageSet
    recipe: Recipe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, default=None, help="a folder that keeps every training")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--cohorts", type=int, default=2)
    parser.add_argument("--configurations", type=int, default=len(CONFIGURATIONS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.cache or Path(temporary)
        names = list(CONFIGURATIONS)[: options.configurations]
        # Seed by seed: a run that is stopped has every configuration.
        wanted = [(c, s, n) for s in range(options.seeds) for c in range(options.cohorts) for n in names]
        compute(folder, wanted)
        found = [[[kept(folder, c, s, n) for s in range(options.seeds)] for n in names] for c in range(options.cohorts)]
        real = [[kept(folder, c, s, REAL) for s in range(options.seeds)] for c in range(options.cohorts)]
        scenes = [scene_of(folder, c) for c in range(options.cohorts)]
    tables = tabulated(found, real, scenes, names)
    print(json.dumps({"benchmark": "reliability", "train": TRAIN, "val": VAL, "test": TEST, **tables}))


REAL = "real images alone"


def compute(folder: Path, wanted: list[tuple[int, int, str]]) -> None:
    """Trains what the cache lacks; what another process is at work on is waited for at the end."""
    postponed = []
    for number, (cohort, seed, name) in enumerate(wanted):
        for one in (REAL, name):
            try:
                measured(folder, cohort, seed, one, timeout=0)
            except Timeout:
                postponed.append((cohort, seed, one))
        print(f"{number + 1} of {len(wanted)}: cohort {cohort}, seed {seed}, {name}", file=sys.stderr, flush=True)
    for cohort, seed, name in postponed:
        measured(folder, cohort, seed, name, timeout=-1)


def measured(folder: Path, cohort: int, seed: int, name: str, *, timeout: float) -> None:
    path = place(folder, cohort, seed, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock"), timeout=timeout):
        if cache.read(path) is None:
            scene = scene_of(folder, cohort)
            torch.manual_seed(0)
            cache.write(path, judged(scene, seed, None) if name == REAL else judged(scene, seed, config_of(name, seed)))


def place(folder: Path, cohort: int, seed: int, name: str) -> Path:
    what = {"config": None if name == REAL else config_of(name, seed).as_dict(), "scoring": SCORED.model_dump()}
    design = {"patients": (TRAIN, VAL, TEST), "size": SIZE, "detectors": DETECTORS}
    return folder / f"training-{cache.key(cohort=cohort, seed=seed, **what, **design)}.pt"


def kept(folder: Path, cohort: int, seed: int, name: str) -> dict[str, Any]:
    found: dict[str, Any] = cache.read(place(folder, cohort, seed, name))
    return found


def config_of(name: str, seed: int) -> TrialConfig:
    return _BASE.derive({**CONFIGURATIONS[name], "seed": seed})


_scenes: dict[tuple[Path, int], Scene] = {}


def scene_of(folder: Path, number: int) -> Scene:
    if (folder, number) not in _scenes:
        with FileLock(folder / f"cohort-{number}.lock"):
            if not (folder / f"cohort-{number}").exists():
                total = TRAIN + VAL + TEST
                scans = folder / f"scans-{number}"
                if not scans.exists():
                    write_phantom(scans, patients=total, slices=1, size=SCANNED, seed=FIRST_PHANTOM + number)
                split = (TRAIN / total, VAL / total, TEST / total)
                ingest(scans, folder / f"cohort-{number}", IngestSettings(size=SIZE, split=split, seed=number))
            cohort = Cohort.open(folder / f"cohort-{number}")
            maker = ReferenceMaker(cohort, SCORED, TRAINABLES, folder / "features", CPU)
            reference = maker.make(_BASE.data, World())
        build = partial(TRAINABLES.detectors[SCORED.detector], reference.spec)
        recipe = Recipe(build, len(reference.spec.classes), SCORED.detector_steps, SCORED.detector_batch)
        _scenes[folder, number] = Scene(reference, cohort.load_test(), recipe)
    return _scenes[folder, number]


def judged(scene: Scene, seed: int, config: TrialConfig | None) -> dict[str, Any]:
    """What detectors say with one generator's samples, and how far the samples are; None: with real images alone."""
    reference = scene.reference
    samples, fraction, distances = None, 0.0, {}
    if config is not None:
        samples = sampled(scene, config)
        fraction = fraction_of_ratio(config.synthetic_ratio)
        made = torch.isin(reference.train.labels, samples.labels.unique())
        features = reference.extractor.features(samples.images)
        for name in DISTANCES:
            distances[name] = METRICS[name].compute(reference.train_features[made], features)
    said: dict[str, list[torch.Tensor]] = {"val": [], "test": []}
    for number in range(DETECTORS):
        detector = train_detector(scene.recipe, reference.train, samples, fraction, seed * DETECTORS + number, CPU)
        said["val"].append(predict([detector], reference.val.images, CPU)[0])
        said["test"].append(predict([detector], scene.test.images, CPU)[0])
    return {**{split: torch.stack(one) for split, one in said.items()}, "distances": distances}


def sampled(scene: Scene, config: TrialConfig) -> ImageSet:
    """Samples of a fresh training; of one that diverged, what its generator draws untrained."""
    reference = scene.reference
    gan = build_gan(config, reference.spec, TRAINABLES)
    drawn: list[torch.Tensor] = []
    made = torch.tensor(TRAINABLES.classes_made(config, reference.spec))
    labels = made[torch.arange(SAMPLES) % len(made)]

    def keep(sampler: Any, _iteration: int) -> dict[str, float]:
        drawn.append(sampler(Condition(labels), config.seed))
        return {}

    try:
        train(config, gan, reference.train, MemoryReporter(), keep, reports=1, device=CPU)
    except Diverged:
        fresh = build_gan(config, reference.spec, TRAINABLES)
        drawn.append(make_sampler(fresh, None, reference.train, CPU)(Condition(labels), config.seed))
    return ImageSet(drawn[-1][:, : reference.spec.channels], labels)


def tabulated(
    found: list[list[list[dict[str, Any]]]], real: list[list[dict[str, Any]]], scenes: list[Scene], names: list[str]
) -> dict[str, Any]:
    """Prints the tables; figures `[cohorts, configurations, seeds(, detectors)]` are made of what was kept."""
    with_samples, alone = scores_of(found, scenes, "val"), scores_of([[one] for one in real], scenes, "val")
    gains = scores_of(found, scenes, "test")["auroc"].mean(-1)
    gains = gains - scores_of([[one] for one in real], scenes, "test")["auroc"].mean(-1)
    single = {name: values.mean(-1) for name, values in with_samples.items()}
    single |= {f"{name}, difference": (with_samples[name] - alone[name]).mean(-1) for name in ANSWERS}
    for name in DISTANCES:
        single[name] = np.array([[[one["distances"][name] for one in row] for row in cohort] for cohort in found])
    print(f"| score | ICC, n = {gains.size} | rank correlation with the gain on test patients |\n|---|---|---|")
    result: dict[str, Any] = {"scores": {}, "picks": {}, "components": {}}
    better = {}
    for name, values in single.items():
        icc = reliability(values)
        better[name] = values if METRICS[name.partition(",")[0]].better == "higher" else -values
        tracks = tracking(better[name], gains)
        print(f"| {name} | {shown(icc.value, icc.low, icc.high)} | {shown(*tracks)} |")
        result["scores"][name] = {"icc": (icc.value, icc.low, icc.high), "tracks": tracks}
    result["picks"] = picks(better, gains)
    print(
        "\n| difference | configurations | generators | detectors | patients | ICC now | 4 generators | 8 detectors |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name in ANSWERS:
        parts = components(with_samples[name] - alone[name])
        patients = patient_variance(found, scenes, name)
        spreads = np.sqrt([parts.configuration, parts.generator, parts.detector, patients])
        bought = [parts.repeated(g, d, patients) for g, d in ((1, DETECTORS), (4, DETECTORS), (1, 4 * DETECTORS))]
        print(f"| {name} | " + " | ".join(f"{value:.4f}" for value in spreads) + " | "
              + " | ".join(f"{value:.2f}" for value in bought) + " |")  # fmt: skip
        result["components"][name] = {"sd": spreads.tolist(), "icc": bought}
    print("\n| configuration | gain in AUROC on test patients, points |\n|---|---|")
    for name, gain in zip(names, gains.mean((0, 2)), strict=True):
        print(f"| {name} | {100 * gain:+.1f} |")
    return result


def scores_of(found: Any, scenes: list[Scene], split: str) -> dict[str, np.ndarray]:
    """Each metric of each single detector `[cohorts, configurations, seeds, detectors]`."""

    def scores(metric: Any) -> np.ndarray:
        return np.array(
            [
                [
                    [[one_score(metric, said, images_of(scene, split), scene) for said in training[split]]
                     for training in row]
                    for row in cohort
                ]
                for cohort, scene in zip(found, scenes, strict=True)
            ]
        )  # fmt: skip

    return {name: scores(metrics_of("answers")[name].compute) for name in ANSWERS}


def images_of(scene: Scene, split: str) -> ImageSet:
    return scene.test if split == "test" else scene.reference.val


def one_score(metric: Any, said: torch.Tensor, images: ImageSet, scene: Scene) -> float:
    answers = Predictions(said[None].numpy(), images.labels.numpy(), images.patients, scene.reference.positive)
    return mean_over_trainings(metric, answers)


def tracking(values: np.ndarray, gains: np.ndarray, replicates: int = 1000) -> tuple[float, float, float]:
    """Rank correlation of a training's score with the other trainings' mean gain, and its interval."""
    seeds = values.shape[-1]
    others = (gains.sum(-1, keepdims=True) - gains) / (seeds - 1)

    def mean(rows: np.ndarray) -> float:
        ranks = [stats.rankdata(one[:, rows], axis=1) for one in (values, others)]
        left, right = (one - one.mean(1, keepdims=True) for one in ranks)
        spread = np.sqrt((left**2).sum(1) * (right**2).sum(1))
        return float(np.nanmean((left * right).sum(1) / np.where(spread > 0, spread, np.nan)))

    rng = np.random.default_rng(0)
    every = np.arange(values.shape[1])
    with np.errstate(all="ignore"):
        drawn = [mean(rng.choice(every, len(every))) for _ in range(replicates)]
    return (mean(every), *(float(one) for one in np.nanquantile(drawn, (0.025, 0.975))))


def picks(better: dict[str, np.ndarray], gains: np.ndarray) -> dict[str, Any]:
    """Prints what the pick by each score gains on test patients; all arrays are `[cohorts, configurations, seeds]`."""
    by_accuracy = gain_of_pick(better["accuracy"], gains)
    cohorts = len(gains)
    print(f"\n| picked by | gain in AUROC on test patients, points | less the pick by accuracy, {cohorts} cohorts |")
    print("|---|---|---|")
    result = {"any": float(gains.mean()), "best": float(gains.mean(-1).max(1).mean())}
    print(f"| chance | {100 * result['any']:+.1f} | - |")
    for name, values in better.items():
        picked = gain_of_pick(values, gains)
        found = worth(picked, by_accuracy)
        difference = "-"
        if name != "accuracy" and found is not None:
            low, high = 100 * found.low, 100 * found.high
            difference = f"{100 * found.difference:+.1f} ({low:+.1f} to {high:+.1f}; p = {found.p:.2g})"
        print(f"| {name} | {100 * picked.mean():+.1f} | {difference} |")
        result[name] = picked.tolist()
    print(f"| the configuration that is best on test patients | {100 * result['best']:+.1f} | - |")
    return result


def gain_of_pick(values: np.ndarray, gains: np.ndarray) -> np.ndarray:
    """Gain of the other trainings of the configuration with the best value, mean over seeds `[cohorts]`."""
    others = (gains.sum(-1, keepdims=True) - gains) / (gains.shape[-1] - 1)
    picked = values.argmax(1)[:, None, :]
    gain: np.ndarray = np.take_along_axis(others, picked, axis=1)[:, 0].mean(-1)
    return gain


def patient_variance(found: Any, scenes: list[Scene], name: str, replicates: int = 200) -> float:
    """Of a configuration's distance from the mean of all, over draws of validation patients; mean over both."""
    metric = metrics_of("answers")[name].compute
    rng = np.random.default_rng(0)
    variances = []
    for cohort, scene in zip(found, scenes, strict=True):
        images = scene.reference.val
        of = numbered(images.patients)
        patients = len(set(images.patients))
        weights = rng.multinomial(patients, np.full(patients, 1 / patients), size=replicates)[:, of]
        means = []
        for row in cohort:
            said = torch.cat([training["val"] for training in row]).numpy()
            answers = Predictions(said, images.labels.numpy(), images.patients, scene.reference.positive)
            means.append(metric(answers, weights.astype(float)).mean(1))
        table = np.array(means)  # [configurations, replicates]
        variances.append(np.nanvar(table - table.mean(0), axis=1, ddof=1).mean())
    return float(np.mean(variances))


def shown(value: float, low: float, high: float) -> str:
    return f"{value:.2f} ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    main()
