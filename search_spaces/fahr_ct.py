"""Small bright lesions in few head CT scans: WGAN-GP with all its main parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gansweep.experiment import Experiment, SchedulerSettings, ScoringSettings, TrialConfig
from search_spaces._dcgan import suggest_architecture, suggest_rates
from trainables import TRAINABLES

if TYPE_CHECKING:
    import optuna

__all__ = ["fahr_ct", "suggest_wgan_gp"]

_PAPER = {
    "lr_d": 2e-4,
    "lr_g": 1e-3,
    "n_critic": 5,
    "lambda": 10.0,
    "interpolation": "uniform",
    "norm": "l2",
    "adaptive": "none",
    "interval": 1,
    "one_sided": False,
    "width": 48,
    "residual": False,
    "generator_norm": "batch",
    "critic_norm": "none",
    "upsampling": "nearest",
    "attention": "self_attention",
    "attention_size": 16,
    "conditioning": "concat",
    "augmentation": "none",
    "synthetic_ratio": 1.0,
    "sample_filter": "none",
}
"""Penalty weight, learning rates and critic steps are those of Henchiri's Fahr CT paper; other values are our own."""


def fahr_ct() -> Experiment:
    """64 pixels, and 10,000 iterations of batch size 64 as in the paper; try `--set iterations=2000` first."""
    return Experiment(
        name="fahr_ct",
        space=suggest_wgan_gp,
        trainables=TRAINABLES,
        first_trials=(_PAPER,),
        reports=5,
        scheduler=SchedulerSettings(kind="asha-any", reduction_factor=3),
        scoring=ScoringSettings(detector_seeds=3),
    )


def suggest_wgan_gp(
    trial: optuna.Trial, conditionings: tuple[str, ...] = ("concat", "projection", "auxiliary")
) -> TrialConfig:
    """The search space of WGAN-GP.

    Args:
        trial: the trial that suggests values.
        conditionings: the conditionings to choose from.
    """
    choices: dict[str, Any] = {
        **suggest_rates(trial),
        **_penalty(trial),
        **suggest_architecture(trial, critic_norms=("none", "layer", "instance", "spectral")),
        "conditioning": trial.suggest_categorical("conditioning", list(conditionings)),
        "augmentation.kind": trial.suggest_categorical("augmentation", ["none", "diffaugment"]),
        "synthetic_ratio": trial.suggest_categorical("synthetic_ratio", [0.25, 0.5, 1.0]),
        "sample_filter": trial.suggest_categorical("sample_filter", ["none", "detector_agrees", "uncertain", "dense"]),
    }
    return TrialConfig(batch_size=64, iterations=10_000).derive(choices)


def _penalty(trial: optuna.Trial) -> dict[str, Any]:
    """The gradient penalty with variants of the paper's table 1."""
    return {
        "penalty.lambda": trial.suggest_float("lambda", 0.5, 50.0, log=True),
        "penalty.interpolation": trial.suggest_categorical("interpolation", ["uniform", "convex", "local"]),
        "penalty.norm": trial.suggest_categorical("norm", ["l2", "l1"]),
        "penalty.adaptive": trial.suggest_categorical("adaptive", ["none", "norm", "progress"]),
        "penalty.interval": trial.suggest_categorical("interval", [1, 4]),
        "penalty.one_sided": trial.suggest_categorical("one_sided", [False, True]),
    }
