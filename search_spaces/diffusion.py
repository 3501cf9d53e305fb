"""A small diffusion model as a baseline: it is searched like a GAN, to show what a GAN adds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gansweep.experiment import Experiment, ScoringSettings, TrialConfig
from trainables import TRAINABLES

if TYPE_CHECKING:
    import optuna

__all__ = ["diffusion"]

_FIRST = {
    "lr_g": 3e-4,
    "width": 32,
    "levels": 3,
    "blocks": 1,
    "schedule": "cosine",
    "prediction": "v_prediction",
    "sampling_steps": 50,
    "ema_half_life": 2.0,
    "synthetic_ratio": 0.5,
}
"""Schedule and prediction of Nichol & Dhariwal 2021 and of Salimans & Ho 2022; the small network is our own choice."""


def diffusion() -> Experiment:
    """Images of 64 pixels; an iteration costs about as much as one of `dcgan` with one critic step."""
    return Experiment(
        name="diffusion",
        space=_space,
        trainables=TRAINABLES,
        first_trials=(_FIRST,),
        reports=5,
        scoring=ScoringSettings(detector_seeds=3),
    )


def _space(trial: optuna.Trial) -> TrialConfig:
    return TrialConfig(
        family="diffusion",
        conditioning="concat",
        lr_g=trial.suggest_float("lr_g", 5e-5, 2e-3, log=True),
        beta1=0.9,
        beta2=0.999,
        n_critic=1,
        batch_size=32,
        iterations=4_000,
        ema_half_life=trial.suggest_float("ema_half_life", 0.5, 8.0, log=True),
        synthetic_ratio=trial.suggest_categorical("synthetic_ratio", [0.25, 0.5, 1.0]),
        architecture={
            "width": trial.suggest_categorical("width", [16, 32, 48]),
            "levels": trial.suggest_categorical("levels", [3, 4]),
            "blocks": trial.suggest_categorical("blocks", [1, 2]),
            "schedule": trial.suggest_categorical("schedule", ["cosine", "scaled_linear_beta", "linear_beta"]),
            "prediction": trial.suggest_categorical("prediction", ["epsilon", "v_prediction"]),
            "sampling_steps": trial.suggest_categorical("sampling_steps", [25, 50]),
        },
    )
