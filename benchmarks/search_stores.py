"""Small real sweeps on phantoms with every trial run to its end: what `gansweep replay` and its benchmark need.

Three searches, each on phantoms of its own: WGAN-GP, a choice of losses, and a lesion painter. Configurations are drawn
at random and none is stopped, so that any sampler and any early stopping can be tried on them afterwards.

    python benchmarks/search_stores.py STORAGE [--trials 48] [--only wgan_gp]

On one core a store of 48 trials takes about ten minutes.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gansweep.cohort.ingest.run import IngestSettings, ingest
from gansweep.cohort.phantom.scans import write_phantom
from gansweep.experiment import DataView, Experiment, SchedulerSettings, ScoringSettings, TrialConfig
from gansweep.options import SweepOptions
from gansweep.search.sweep import sweep
from trainables import TRAINABLES

if TYPE_CHECKING:
    import optuna

PIXELS = 16
REPORTS = 9  # rungs of one, three and nine reports
ITERATIONS = 180
_SCORING = ScoringSettings(samples=96, encoder_steps=150, detector_steps=60, detector_seeds=3, segmenter_steps=0)


def wgan_gp(trial: optuna.Trial) -> TrialConfig:
    """The main parameters of WGAN-GP."""
    choices: dict[str, Any] = {
        **_rates(trial),
        "n_critic": trial.suggest_int("n_critic", 1, 3),
        "penalty.lambda": trial.suggest_float("lambda", 0.5, 50.0, log=True),
        "architecture.width": trial.suggest_categorical("width", [8, 16]),
        "conditioning": trial.suggest_categorical("conditioning", ["concat", "projection"]),
        "augmentation.kind": trial.suggest_categorical("augmentation", ["none", "diffaugment"]),
        "synthetic_ratio": trial.suggest_categorical("synthetic_ratio", [0.25, 0.5, 1.0, 2.0]),
    }
    return _dcgan().derive(choices)


def losses(trial: optuna.Trial) -> TrialConfig:
    """A loss with the penalty that belongs to it."""
    loss = trial.suggest_categorical("loss", ["wasserstein", "hinge", "relativistic"])
    penalty = {"wasserstein": "gradient_penalty", "hinge": "r1", "relativistic": "r1_r2"}[loss]
    choices: dict[str, Any] = {
        **_rates(trial),
        "loss.kind": loss,
        "penalty.kind": penalty,
        "penalty.lambda": trial.suggest_float("lambda", 0.1, 20.0, log=True),
        "beta1": trial.suggest_categorical("beta1", [0.0, 0.5]),
        "architecture.width": trial.suggest_categorical("width", [8, 16]),
        "architecture.generator_norm": trial.suggest_categorical("generator_norm", ["batch", "group"]),
        "synthetic_ratio": trial.suggest_categorical("synthetic_ratio", [0.25, 0.5, 1.0, 2.0]),
    }
    return _dcgan().derive(choices)


def painter(trial: optuna.Trial) -> TrialConfig:
    """Lesions painted into scans of controls."""
    choices: dict[str, Any] = {
        **_rates(trial),
        "penalty.lambda": trial.suggest_float("lambda", 0.05, 20.0, log=True),
        "architecture.width": trial.suggest_categorical("width", [8, 16]),
        "architecture.margin": trial.suggest_float("margin", 1 / 64, 1 / 8, log=True),
        "architecture.local_weight": trial.suggest_float("local_weight", 0.1, 10.0, log=True),
        "architecture.neighbourhood": trial.suggest_categorical("neighbourhood", [0.25, 0.5, 0.75]),
        "synthetic_ratio": trial.suggest_categorical("synthetic_ratio", [0.25, 0.5, 1.0, 2.0]),
    }
    base = TrialConfig(
        family="lesion_painter",
        conditioning="none",
        n_critic=1,
        batch_size=16,
        iterations=ITERATIONS,
        data=DataView(size=PIXELS),
        ema_half_life=0.2,
        attention="none",
    )
    fixed = {
        "loss.kind": "relativistic",
        "penalty.kind": "r1_r2",
        "architecture.depth": 2,
        "architecture.generator_norm": "group",
        "architecture.critic_width": 8,
    }
    return base.derive({**fixed, **choices})


SPACES = {"wgan_gp": wgan_gp, "losses": losses, "painter": painter}


def experiment(name: str) -> Experiment:
    """The search of that name, at random and without early stopping."""
    return Experiment(
        name=name,
        space=SPACES[name],
        trainables=TRAINABLES,
        sampler="random",
        reports=REPORTS,
        scheduler=SchedulerSettings(kind="none"),
        scoring=_SCORING,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("storage", type=Path)
    parser.add_argument("--trials", type=int, default=48)
    parser.add_argument("--only", choices=SPACES, help="one of the searches; default: all")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for seed, name in enumerate(SPACES):
        if arguments.only in (None, name):
            options = SweepOptions(
                cohort=phantoms(arguments.storage / "cohorts" / name, seed),
                storage=str(arguments.storage),
                name=name,
                trials=arguments.trials,
                concurrent=1,
                seed=seed,
                resume=(arguments.storage / name).exists(),
            )
            sweep(experiment(name), options, space=name)


def phantoms(folder: Path, seed: int) -> Path:
    """A cohort with few training patients and enough others to tell detectors apart."""
    if not (folder / "cohort" / "cohort.json").exists():
        write_phantom(folder / "scans", patients=90, slices=1, size=64, seed=seed)
        settings = IngestSettings(
            size=PIXELS, labels=folder / "scans" / "labels.csv", split=(0.3, 0.6, 0.1), window="lesion"
        )
        ingest(folder / "scans", folder / "cohort", settings)
    return folder / "cohort"


def _rates(trial: optuna.Trial) -> dict[str, float]:
    return {
        "lr_d": trial.suggest_float("lr_d", 3e-5, 3e-3, log=True),
        "lr_g": trial.suggest_float("lr_g", 3e-5, 3e-3, log=True),
    }


def _dcgan() -> TrialConfig:
    return TrialConfig(
        data=DataView(size=PIXELS),
        iterations=ITERATIONS,
        batch_size=16,
        ema_half_life=0.2,
        architecture={"width": 8, "latent": 16, "generator_norm": "group"},
    )


if __name__ == "__main__":
    main()
