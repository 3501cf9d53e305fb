"""Lesions painted into real images without one: data-efficient, for cohorts with masks and two classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gansweep.experiment import (
    AugmentationSettings,
    Experiment,
    Objective,
    SchedulerSettings,
    ScoringSettings,
    TrialConfig,
)
from trainables import TRAINABLES

if TYPE_CHECKING:
    import optuna

__all__ = ["lesion_painter"]

_FIRST = {
    "lr_d": 2e-4,
    "lr_g": 2e-4,
    "loss": "relativistic",
    "r1_r2_lambda": 1.0,
    "width": 32,
    "depth": 3,
    "generator_norm": "group",
    "attention": "none",
    "margin": 1 / 32,
    "neighbourhood": 0.5,
    "local_weight": 1.0,
    "critic_width": 32,
    "augmentation": "diffaugment",
    "synthetic_ratio": 0.5,
    "sample_filter": "none",
}
"""The painter has no paper. This is R3GAN's loss and penalty, with equal weights of both critics."""


def lesion_painter() -> Experiment:
    """Images of 64 pixels; few iterations, because only the lesion has to be learned."""
    return Experiment(
        name="lesion_painter",
        space=_space,
        trainables=TRAINABLES,
        first_trials=(_FIRST,),
        objectives=(
            Objective(name="fid", direction="minimize"),
            Objective(name="accuracy", direction="maximize"),
        ),
        reports=5,
        # In a replay of a painters' search every early stopping lost most of the best (docs/log.md).
        scheduler=SchedulerSettings(kind="none"),
        scoring=ScoringSettings(detector_seeds=3),
    )


def _space(trial: optuna.Trial) -> TrialConfig:
    base = TrialConfig(
        family="lesion_painter",
        conditioning="none",
        augmentation=AugmentationSettings(kind=trial.suggest_categorical("augmentation", ["none", "diffaugment"])),
        lr_d=trial.suggest_float("lr_d", 3e-5, 1e-3, log=True),
        lr_g=trial.suggest_float("lr_g", 3e-5, 1e-3, log=True),
        beta2=0.99,
        n_critic=1,
        batch_size=32,
        iterations=4_000,
        synthetic_ratio=trial.suggest_categorical("synthetic_ratio", [0.25, 0.5, 1.0]),
        attention=trial.suggest_categorical("attention", ["none", "self_attention", "cbam"]),
        sample_filter=trial.suggest_categorical("sample_filter", ["none", "detector_agrees", "uncertain", "dense"]),
    )
    return base.derive({**_objective(trial), "architecture": _networks(trial)})


def _objective(trial: optuna.Trial) -> dict[str, Any]:
    """A loss, and the penalty that fits it."""
    loss = trial.suggest_categorical("loss", ["relativistic", "hinge", "wasserstein"])
    penalty = {"relativistic": "r1_r2", "hinge": "r1", "wasserstein": "gradient_penalty"}[loss]
    # A gradient penalty works with larger weights than R1. The parameter is named after the penalty, because Optuna
    # allows only one range per name.
    low, high = (1.0, 50.0) if penalty == "gradient_penalty" else (0.05, 20.0)
    weight = trial.suggest_float(f"{penalty}_lambda", low, high, log=True)
    return {"loss.kind": loss, "penalty.kind": penalty, "penalty.lambda": weight}


def _networks(trial: optuna.Trial) -> dict[str, Any]:
    return {
        "width": trial.suggest_categorical("width", [16, 32, 48]),
        "depth": trial.suggest_int("depth", 2, 4),
        "generator_norm": trial.suggest_categorical("generator_norm", ["group", "instance", "none"]),
        "margin": trial.suggest_float("margin", 1 / 64, 1 / 8, log=True),
        "neighbourhood": trial.suggest_categorical("neighbourhood", [0.25, 0.5, 0.75]),
        "local_weight": trial.suggest_float("local_weight", 0.1, 10.0, log=True),
        "critic_width": trial.suggest_categorical("critic_width", [16, 32, 48]),
    }
