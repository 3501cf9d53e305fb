"""Unpaired translation between two classes, for example from healthy images to images with lesions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gansweep.experiment import Experiment, ScoringSettings, TrialConfig
from search_spaces._translation import suggest_cyclegan, suggest_discogan, suggest_game, suggest_patch_critic
from trainables import TRAINABLES

if TYPE_CHECKING:
    import optuna

__all__ = ["class_translation"]

_COMMON = {
    "lr_d": 2e-4,
    "lr_g": 2e-4,
    "penalty": "none",
    "augmentation": "none",
    "attention": "none",
    "critic_width": 64,
    "critic_norm": "instance",
    "width": 64,
    "synthetic_ratio": 0.5,
    "sample_filter": "none",
}
_CYCLEGAN = _COMMON | {
    "family": "cyclegan",
    "loss": "least_squares",
    "flips": True,
    "generator_norm": "instance",
    "blocks": 0,
    "upsampling": "transposed",
    "cycle": 10.0,
    "identity": 0.0,
    "pool": 50,
}
_DISCOGAN = _COMMON | {
    "family": "discogan",
    "loss": "non_saturating",
    "flips": False,
    "generator_norm": "batch",
    "reconstruction": 1.0,
    "warm_up_until": 0.0,
}
_FAMILIES = {"cyclegan": suggest_cyclegan, "discogan": suggest_discogan}


def class_translation() -> Experiment:
    """For a cohort of two classes; each family first as published, but with batches of 8 images of each class."""
    return Experiment(
        name="class_translation",
        space=_space,
        trainables=TRAINABLES,
        first_trials=(_CYCLEGAN, _DISCOGAN),
        reports=5,
        scoring=ScoringSettings(detector_seeds=3, detector_steps=400),
    )


def _space(trial: optuna.Trial) -> TrialConfig:
    family = trial.suggest_categorical("family", sorted(_FAMILIES))
    base = TrialConfig(
        family=family,
        conditioning="none",
        beta1=0.5,
        beta2=0.999,
        n_critic=1,
        batch_size=16,
        iterations=10_000,
        synthetic_ratio=trial.suggest_categorical("synthetic_ratio", [0.25, 0.5, 1.0]),
        # An image that was not translated far enough has the wrong label; the filter removes it.
        sample_filter=trial.suggest_categorical("sample_filter", ["none", "detector_agrees"]),
    )
    architecture = {**suggest_patch_critic(trial), **_FAMILIES[family](trial), "domains": "classes"}
    return base.derive({**suggest_game(trial), "architecture": architecture})
