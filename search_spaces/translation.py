"""Compares all paired translation families (from MR to CT, for example) at the same budget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gansweep.experiment import Experiment, Objective, SchedulerSettings, ScoringSettings, TrialConfig
from search_spaces._translation import (
    suggest_cyclegan,
    suggest_discogan,
    suggest_game,
    suggest_generator,
    suggest_patch_critic,
    suggest_resnet,
)
from trainables import TRAINABLES

if TYPE_CHECKING:
    import optuna

__all__ = ["translation"]

# The first trials are built from these parts.
_COMMON = {
    "lr_d": 2e-4,
    "lr_g": 2e-4,
    "penalty": "none",
    "augmentation": "none",
    "attention": "none",
    "critic_width": 64,
    "critic_norm": "instance",
}
_RESNET = _COMMON | {
    "loss": "least_squares",
    "flips": True,
    "width": 64,
    "generator_norm": "instance",
    "blocks": 0,
    "upsampling": "transposed",
    "cycle": 10.0,
}
_LIKELIHOOD = _COMMON | {"loss": "non_saturating", "flips": False, "generator_norm": "batch"}
_FIRST = (
    _RESNET | {"family": "cyclegan", "identity": 0.0, "pool": 50},
    _RESNET | {"family": "csgan", "synthesized": 30.0},
    _RESNET
    | {"family": "dc2anet", "loss": "non_saturating"}
    | {"voxel": 100.0, "gradient": 100.0, "perceptual": 1.0, "structural": 0.05},
    _LIKELIHOOD | {"family": "discogan", "width": 64, "reconstruction": 1.0, "warm_up_until": 0.0},
    _LIKELIHOOD
    | {"family": "auto_context", "width": 32, "stages": 2, "adversarial_weight": 0.5, "gradient_weight": 1.0},
)
"""Each family once, with the generators, loss and weights of its paper (DC2Anet: of its authors' published code). All
use CycleGAN's critics and learning rates."""


def translation() -> Experiment:
    """For a cohort with paired images; the first trials run every family once.

    Batches have 8 images, which can be divided among workers; most of the papers train with single images.
    """
    return Experiment(
        name="translation",
        space=_space,
        trainables=TRAINABLES,
        first_trials=_FIRST,
        objectives=(Objective(name="ssim", direction="maximize"), Objective(name="fid", direction="minimize")),
        reports=5,
        # The later stages of a cascade start late, so no trial is stopped before its second report.
        scheduler=SchedulerSettings(metric="ssim", grace=2),
        scoring=ScoringSettings(samples=256),
    )


def _space(trial: optuna.Trial) -> TrialConfig:
    family = trial.suggest_categorical("family", sorted(_FAMILIES))
    base = TrialConfig(
        family=family, conditioning="none", beta1=0.5, beta2=0.999, n_critic=1, batch_size=8, iterations=10_000
    )
    architecture = {**suggest_patch_critic(trial), **_FAMILIES[family](trial), "domains": "pairs"}
    return base.derive({**suggest_game(trial), "architecture": architecture})


def _csgan(trial: optuna.Trial) -> dict[str, Any]:
    return {**suggest_resnet(trial), "synthesized": trial.suggest_float("synthesized", 1.0, 100.0, log=True)}


def _dc2anet(trial: optuna.Trial) -> dict[str, Any]:
    return {
        **suggest_resnet(trial),
        "voxel": trial.suggest_float("voxel", 1.0, 200.0, log=True),
        "gradient": trial.suggest_float("gradient", 0.1, 200.0, log=True),
        "perceptual": trial.suggest_float("perceptual", 0.1, 10.0, log=True),
        "structural": trial.suggest_float("structural", 0.01, 10.0, log=True),
    }


def _auto_context(trial: optuna.Trial) -> dict[str, Any]:
    """Parameters of `auto_context`; the weight of the squared distance stays at 1."""
    return {
        **suggest_generator(trial),
        "stages": trial.suggest_int("stages", 1, 3),
        "adversarial": trial.suggest_float("adversarial_weight", 0.01, 1.0, log=True),
        "gradient": trial.suggest_float("gradient_weight", 0.1, 10.0, log=True),
    }


_FAMILIES = {
    "cyclegan": suggest_cyclegan,
    "csgan": _csgan,
    "dc2anet": _dc2anet,
    "discogan": suggest_discogan,
    "auto_context": _auto_context,
}
