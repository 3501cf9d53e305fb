"""MedGAN (Ashraf et al.): a spectrally normalised GAN at 128 pixels, for about a hundred images of skin or chest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gansweep.experiment import DataView, Experiment, LossSettings, PenaltySettings, ScoringSettings, TrialConfig
from trainables import TRAINABLES

if TYPE_CHECKING:
    import optuna

__all__ = ["medgan_sngan"]

_PAPER = {
    "lr_d": 2e-4,
    "lr_g": 2e-4,
    "beta1": 0.5,
    "n_critic": 1,
    "batch_size": 32,
    "crop": 1.0,
    "width": 64,
    "latent": 100,
    "residual": False,
    "upsampling": "transposed",
    "critic_norm": "spectral_batch",
    "loss": "non_saturating",
    "augmentation": "none",
    "conditioning": "none",
}
"""Image size, networks and the critic's sigmoid (here part of the loss) are the paper's. It gives no numbers; these are
DCGAN's. The paper crops images to 128 pixels after resizing them to 128, so nothing is cut off (crop 1.0)."""


def medgan_sngan() -> Experiment:
    """The first trial is unconditional, as in the paper; for a cohort of one class use `fid` as the only objective.

    Samples of an unconditional generator have no labels, so no detector can learn from them. In a cohort of several
    classes, the accuracy of such a trial is that of real images alone; judge it by its distances.
    """
    return Experiment(
        name="medgan_sngan",
        space=_space,
        trainables=TRAINABLES,
        first_trials=(_PAPER,),
        reports=5,
        scoring=ScoringSettings(samples=256, detector_seeds=3),
    )


def _space(trial: optuna.Trial) -> TrialConfig:
    base = TrialConfig(
        family="sngan",
        data=DataView(size=128, crop=trial.suggest_categorical("crop", [1.0, 0.875])),
        loss=LossSettings(kind=trial.suggest_categorical("loss", ["non_saturating", "hinge", "least_squares"])),
        penalty=PenaltySettings(kind="none"),
        conditioning=trial.suggest_categorical("conditioning", ["none", "concat"]),
        beta2=0.999,
        iterations=10_000,
    )
    choices: dict[str, Any] = {
        "lr_d": trial.suggest_float("lr_d", 3e-5, 1e-3, log=True),
        "lr_g": trial.suggest_float("lr_g", 3e-5, 2e-3, log=True),
        "beta1": trial.suggest_categorical("beta1", [0.0, 0.5]),
        "n_critic": trial.suggest_int("n_critic", 1, 5),
        "batch_size": trial.suggest_categorical("batch_size", [16, 32, 64]),
        "architecture.width": trial.suggest_categorical("width", [16, 32, 64]),
        "architecture.latent": trial.suggest_categorical("latent", [64, 100, 128]),
        "architecture.residual": trial.suggest_categorical("residual", [False, True]),
        "architecture.upsampling": trial.suggest_categorical("upsampling", ["transposed", "nearest", "bilinear"]),
        "architecture.critic_norm": trial.suggest_categorical("critic_norm", ["spectral_batch", "spectral"]),
        "augmentation.kind": trial.suggest_categorical("augmentation", ["none", "diffaugment", "ada"]),
    }
    return base.derive(choices)
