"""Images with masks for training a U-Net: conditional WGAN-GP over image and mask, with ProGAN and SPADE as rivals."""

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

__all__ = ["cwgan_gp_unet"]

_PAPER = {
    "family": "dcgan",
    "conditioning": "concat",
    "lr_d": 1e-4,
    "lr_g": 1e-4,
    "n_critic": 5,
    "lambda": 10.0,
    "feature_matching": 0.0,
    "augmentation": "none",
    "width": 32,
    "critic_norm": "none",
    "generator_norm": "batch",
    "synthetic_ratio": 1.0,
}
"""Conditional WGAN-GP with image and mask as channels. The report gives no numbers; these are those of the WGAN-GP
paper (Gulrajani et al. 2017, algorithm 1)."""
_TRICKS = {**_PAPER, "feature_matching": 1.0, "augmentation": "diffaugment"}
"""With the report's training tricks, except label smoothing: the Wasserstein loss has no targets to smooth."""
_PROGAN = {
    **{name: value for name, value in _PAPER.items() if name not in {"critic_norm", "generator_norm"}},
    "family": "progan",
}
_SPADE = {**{name: value for name, value in _PAPER.items() if name != "generator_norm"}, "family": "spade"}


def cwgan_gp_unet() -> Experiment:
    """For a cohort with masks. Use `--set scoring.samples=10000` for the report's 10,000 samples."""
    return Experiment(
        name="cwgan_gp_unet",
        space=_space,
        trainables=TRAINABLES,
        first_trials=(_PAPER, _TRICKS, _PROGAN, _SPADE),
        objectives=(
            Objective(name="fid", direction="minimize"),
            Objective(name="dice", direction="maximize"),
        ),
        reports=5,
        # Half-way, a growing generator has not reached the full resolution, so no trial is stopped early.
        scheduler=SchedulerSettings(kind="none"),
        scoring=ScoringSettings(segmenter="unet", segmenter_steps=400),
    )


def _space(trial: optuna.Trial) -> TrialConfig:
    family = trial.suggest_categorical("family", ["dcgan", "progan", "spade"])
    # SPADE takes the mask as input. The other two generate it: they are bases of the family `joint`.
    base = TrialConfig(
        family="spade" if family == "spade" else "joint",
        conditioning=trial.suggest_categorical("conditioning", ["concat", "projection", "auxiliary"]),
        loss=LossSettings(feature_matching=trial.suggest_categorical("feature_matching", [0.0, 0.1, 1.0])),
        penalty=PenaltySettings(lambda_=trial.suggest_float("lambda", 1.0, 50.0, log=True)),
        augmentation=AugmentationSettings(kind=trial.suggest_categorical("augmentation", ["none", "diffaugment"])),
        lr_d=trial.suggest_float("lr_d", 3e-5, 1e-3, log=True),
        lr_g=trial.suggest_float("lr_g", 3e-5, 1e-3, log=True),
        n_critic=trial.suggest_int("n_critic", 1, 5),
        batch_size=64,
        iterations=10_000,
        synthetic_ratio=trial.suggest_categorical("synthetic_ratio", [0.5, 1.0, 4.0]),
    )
    return base.derive({"architecture": _networks(trial, family)})


def _networks(trial: optuna.Trial, family: str) -> dict[str, Any]:
    shape: dict[str, Any] = {"width": trial.suggest_categorical("width", [16, 32, 48])}
    if family != "progan":
        shape["critic_norm"] = trial.suggest_categorical("critic_norm", ["none", "layer", "instance"])
    if family == "dcgan":
        shape["generator_norm"] = trial.suggest_categorical("generator_norm", ["batch", "group"])
    return shape if family == "spade" else {**shape, "base": family}
