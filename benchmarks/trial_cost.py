"""Measures the cost of an additional two-worker trial.

A warm worker group against Ray's documented TorchTrainer per trial.

Both run the same body (the same training loop, the same scoring, one report) in the same Ray cluster. The marginal cost
is the time from one trial's end to the next one's, when everything is warm.

    python benchmarks/trial_cost.py
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
from ray import train, tune
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from gansweep.cohort.dataset import Cohort
from gansweep.cohort.ingest.run import IngestSettings, ingest
from gansweep.cohort.phantom.scans import write_phantom
from gansweep.config import SchedulerSettings, ScoringSettings, TrialConfig
from gansweep.experiment import Experiment
from gansweep.options import SweepOptions
from gansweep.scoring.trial import TrialScorer
from gansweep.search.cluster import ray_cluster
from gansweep.search.sweep import sweep
from gansweep.training.build import build_gan
from gansweep.training.loop import train as train_gan
from gansweep.training.reporters import MemoryReporter
from trainables import TRAINABLES

SCORING = ScoringSettings(samples=32, encoder_steps=5, detector_steps=5, detector_seeds=2)
WORKERS = 2


def configuration(lr: float) -> TrialConfig:
    return TrialConfig(
        iterations=4,
        batch_size=8,
        n_critic=1,
        lr_d=lr,
        lr_g=lr,
        architecture={"width": 8, "latent": 8, "generator_norm": "group"},
    )


def space(trial) -> TrialConfig:  # type: ignore[no-untyped-def]
    return configuration(trial.suggest_float("lr", 1e-4, 1e-3, log=True))


def body(settings: dict[str, object]) -> None:
    """Runs one worker of one trial in the documented way: everything is created anew for each trial."""
    cohort = Cohort.open(str(settings["cohort"]))
    config = configuration(float(settings["lr"]))  # type: ignore[arg-type]
    scorer = TrialScorer(cohort, SCORING, TRAINABLES, Path(str(settings["cache"])), torch.device("cpu"))
    reporter = MemoryReporter()
    gan = build_gan(config, cohort.spec(config.data), TRAINABLES)
    train_gan(
        config,
        gan,
        cohort.load("train", config.data),
        reporter,
        lambda sampler, iteration: scorer.score(sampler, config, iteration),
        reports=1,
        device=torch.device("cpu"),
    )
    train.report(dict(reporter.reports[-1].scores))


def documented(cohort: Path, folder: Path, trials: int) -> list[float]:
    """Returns the end times of `trials` consecutive trials, each with its own TorchTrainer."""

    def driver(config: dict[str, float]) -> None:
        trainer = TorchTrainer(
            body,
            train_loop_config={"cohort": str(cohort), "cache": str(folder / "cache"), "lr": config["lr"]},
            scaling_config=ScalingConfig(num_workers=WORKERS),
            run_config=RunConfig(name=f"trial-{time.time_ns()}", storage_path=str(folder / "train")),
        )
        trainer.fit()
        # Passing the scores to Tune (TuneReportCallback) is left out, which favours the alternative.
        tune.report({"ended": time.time()})

    resources = tune.PlacementGroupFactory([{"CPU": 0, "memory": 2**28}])
    results = tune.Tuner(
        tune.with_resources(driver, resources),
        param_space={"lr": tune.loguniform(1e-4, 1e-3)},
        tune_config=tune.TuneConfig(num_samples=trials, max_concurrent_trials=1),
        run_config=tune.RunConfig(storage_path=str(folder / "tune"), verbose=0),
    ).fit()
    if results.errors:
        raise results.errors[0]
    return sorted(result.metrics["ended"] for result in results)


def warm(cohort: Path, folder: Path, trials: int) -> list[float]:
    """Returns the end times of `trials` trials of a sweep."""
    experiment = Experiment(
        name="cost",
        space=space,
        trainables=TRAINABLES,
        reports=1,
        scoring=SCORING,
        scheduler=SchedulerSettings(kind="none"),
    )
    store = sweep(
        experiment,
        SweepOptions(cohort=cohort, storage=str(folder), name="warm", trials=trials, workers_per_trial=WORKERS),
    )
    return [ended.timestamp() for ended in store.trials()["ended"]]


def gaps(ends: list[float]) -> list[float]:
    return [after - before for before, after in itertools.pairwise(ends)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--warm", type=int, default=9, help="trials on the warm worker group")
    parser.add_argument("--documented", type=int, default=4, help="trials with a TorchTrainer each")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ray_cluster():
        folder = Path(name)
        write_phantom(folder / "scans", patients=20, slices=2, size=64, seed=0)
        ingest(folder / "scans", folder / "cohort", IngestSettings(size=16, labels=folder / "scans" / "labels.csv"))
        # The warm run comes first, because it fills the cache that both then read.
        ours = gaps(warm(folder / "cohort", folder, arguments.warm))
        theirs = gaps(documented(folder / "cohort", folder, arguments.documented))
    mine, rival = statistics.median(ours), statistics.median(theirs)
    print(f"{'':24}{'median s':>10}{'min':>8}{'max':>8}{'n':>4}")
    for label, values in (("warm worker group", ours), ("TorchTrainer per trial", theirs)):
        print(f"{label:24}{statistics.median(values):10.2f}{min(values):8.2f}{max(values):8.2f}{len(values):4}")
    print(f"ratio {mine / rival:.3f} (goal: at most 0.05)")
    print(json.dumps({"benchmark": "trial_cost", "warm_s": mine, "documented_s": rival, "ratio": mine / rival}))


if __name__ == "__main__":
    main()
