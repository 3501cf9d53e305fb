"""Fusion of CT and MR by a distilled GAN, compared with CycleGAN and CSGAN as in the KGAN paper."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gansweep.experiment import (
    AugmentationSettings,
    Experiment,
    LossSettings,
    Objective,
    PenaltySettings,
    SchedulerSettings,
    ScoringSettings,
    TrialConfig,
)
from trainables import TRAINABLES

if TYPE_CHECKING:
    import optuna

__all__ = ["kgan_fusion"]

_COMMON = {
    "lr_d": 2e-4,
    "lr_g": 2e-4,
    "critic_width": 64,
    "critic_norm": "instance",
    "augmentation": "none",
    "loss": "non_saturating",
}
_PAPER = {
    **_COMMON,
    "family": "kgan",
    "teacher_width": 64,
    "teacher_blocks": 9,
    "student_width": 16,
    "student_blocks": 3,
    "teacher_until": 0.5,
    "temperature": 4.0,
    "soft": 0.5,
    "hard": 0.5,
    "adversarial": 0.01,
}
"""From the paper: the losses of equations 7 to 9, a smaller student, and random flips. The rest is our own."""
_CYCLEGAN = {**_COMMON, "loss": "least_squares", "family": "cyclegan", "width": 64, "cycle": 10.0, "pool": 50}
_CSGAN = {**_COMMON, "loss": "least_squares", "family": "csgan", "width": 64, "cycle": 10.0, "synthesized": 30.0}


def kgan_fusion() -> Experiment:
    """For a cohort with paired images; use `gansweep ingest --size 256` for the paper's size."""
    return Experiment(
        name="kgan_fusion",
        space=_space,
        trainables=TRAINABLES,
        first_trials=(_PAPER, _CYCLEGAN, _CSGAN),
        objectives=(Objective(name="scd", direction="maximize"), Objective(name="ssim", direction="maximize")),
        reports=5,
        # Half-way, samples come from the teacher and the student has only started, so no trial is stopped early.
        scheduler=SchedulerSettings(kind="none", metric="scd"),
        scoring=ScoringSettings(samples=256),
    )


def _space(trial: optuna.Trial) -> TrialConfig:
    family = trial.suggest_categorical("family", ["kgan", "cyclegan", "csgan"])
    base = TrialConfig(
        family=family,
        conditioning="none",
        loss=LossSettings(kind=trial.suggest_categorical("loss", ["non_saturating", "least_squares", "hinge"])),
        penalty=PenaltySettings(kind="none"),
        augmentation=AugmentationSettings(kind=trial.suggest_categorical("augmentation", ["none", "diffaugment"])),
        lr_d=trial.suggest_float("lr_d", 3e-5, 1e-3, log=True),
        lr_g=trial.suggest_float("lr_g", 3e-5, 2e-3, log=True),
        beta1=0.5,
        beta2=0.999,
        n_critic=1,
        batch_size=8,
        iterations=10_000,
    )
    return base.derive({"architecture": {**_critic(trial), **_GENERATORS[family](trial), "domains": "fusion"}})


def _critic(trial: optuna.Trial) -> dict[str, Any]:
    return {
        "critic_width": trial.suggest_categorical("critic_width", [16, 32, 64]),
        "critic_norm": trial.suggest_categorical("critic_norm", ["instance", "spectral", "none"]),
    }


def _distilled(trial: optuna.Trial) -> dict[str, Any]:
    return {
        "teacher_width": trial.suggest_categorical("teacher_width", [32, 64]),
        "teacher_blocks": trial.suggest_categorical("teacher_blocks", [6, 9]),
        "student_width": trial.suggest_categorical("student_width", [8, 16, 32]),
        "student_blocks": trial.suggest_categorical("student_blocks", [1, 3, 6]),
        "teacher_until": trial.suggest_float("teacher_until", 0.2, 0.8),
        "temperature": trial.suggest_float("temperature", 1.0, 20.0, log=True),
        "soft": trial.suggest_float("soft", 0.05, 5.0, log=True),
        "hard": trial.suggest_float("hard", 0.05, 5.0, log=True),
        "adversarial": trial.suggest_float("adversarial", 1e-3, 1.0, log=True),
    }


def _cyclic(trial: optuna.Trial) -> dict[str, Any]:
    return {
        "width": trial.suggest_categorical("width", [16, 32, 64]),
        "cycle": trial.suggest_float("cycle", 1.0, 50.0, log=True),
    }


def _cyclegan(trial: optuna.Trial) -> dict[str, Any]:
    return {**_cyclic(trial), "pool": trial.suggest_categorical("pool", [0, 50])}


def _csgan(trial: optuna.Trial) -> dict[str, Any]:
    return {**_cyclic(trial), "synthesized": trial.suggest_float("synthesized", 1.0, 100.0, log=True)}


_GENERATORS = {"kgan": _distilled, "cyclegan": _cyclegan, "csgan": _csgan}
