"""Image and mask drawn together for a U-Net to learn from: conditional WGAN-GP, with ProGAN and SPADE beside it."""

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
"""Labels beside the noise, image and mask as channels, WGAN-GP; the report gives no numbers, so they are those of the
WGAN-GP paper (Gulrajani et al. 2017, algorithm 1)."""
_TRICKS = {**_PAPER, "feature_matching": 1.0, "augmentation": "diffaugment"}
"""With the report's training tricks. Label smoothing is none of them: the Wasserstein loss has no targets to smooth."""
_PROGAN = {
    **{name: value for name, value in _PAPER.items() if name not in {"critic_norm", "generator_norm"}},
    "family": "progan",
}
_SPADE = {**{name: value for name, value in _PAPER.items() if name != "generator_norm"}, "family": "spade"}


def cwgan_gp_unet() -> Experiment:
    """For a cohort with masks. The report's 10,000 samples are `--set scoring.samples=10000`."""
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
        # Half way a progressive generator has not seen the full resolution: no trial is judged before the end.
        scheduler=SchedulerSettings(kind="none"),
        scoring=ScoringSettings(segmenter="unet", segmenter_steps=400),
    )


def _space(trial: optuna.Trial) -> TrialConfig:
    family = trial.suggest_categorical("family", ["dcgan", "progan", "spade"])
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
