"""DCGAN for brain MRI with tumours (Nirkhi et al.): batch-normalised networks, feature matching, augmented images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gansweep.experiment import AugmentationSettings, Experiment, ScoringSettings, TrialConfig
from trainables import TRAINABLES

if TYPE_CHECKING:
    import optuna

__all__ = ["dcgan_brain_mri"]

_PAPER = {
    "lr_d": 2e-4,
    "lr_g": 2e-4,
    "batch_size": 64,
    "width": 64,
    "latent": 100,
    "upsampling": "transposed",
    "generator_norm": "batch",
    "critic_norm": "batch",
    "loss": "non_saturating",
    "label_smoothing": 0.0,
    "feature_matching": 1.0,
    "augmentation": "diffaugment",
    "conditioning": "concat",
    "synthetic_ratio": 1.0,
}
"""Architecture, losses and kinds of augmentation are the paper's. It gives no numbers; these are DCGAN's (Radford et
al. 2016). The paper's L1 term is left out, because noise has no target image. Both networks are conditioned on the
class, because a detector cannot learn from images without labels."""


def dcgan_brain_mri() -> Experiment:
    """Searches what the paper reports as tuned (learning rates, batch size, architecture), and the losses."""
    return Experiment(
        name="dcgan_brain_mri",
        space=_space,
        trainables=TRAINABLES,
        first_trials=(_PAPER,),
        reports=5,
        scoring=ScoringSettings(detector_seeds=3),
    )


def _space(trial: optuna.Trial) -> TrialConfig:
    # The paper's flips, rotations and colour jitter.
    augmentation = AugmentationSettings(policy=("flip", "rotation", "intensity"))
    choices: dict[str, Any] = {
        "lr_d": trial.suggest_float("lr_d", 3e-5, 1e-3, log=True),
        "lr_g": trial.suggest_float("lr_g", 3e-5, 2e-3, log=True),
        "batch_size": trial.suggest_categorical("batch_size", [32, 64, 128]),
        **_architecture(trial),
        **_losses(trial),
        "augmentation.kind": trial.suggest_categorical("augmentation", ["none", "diffaugment", "ada"]),
        "conditioning": trial.suggest_categorical("conditioning", ["concat", "projection", "auxiliary"]),
        "synthetic_ratio": trial.suggest_categorical("synthetic_ratio", [0.25, 0.5, 1.0]),
    }
    base = TrialConfig(beta1=0.5, beta2=0.999, n_critic=1, iterations=20_000, augmentation=augmentation)
    return base.derive(choices)


def _architecture(trial: optuna.Trial) -> dict[str, Any]:
    """Architecture and penalty; a critic with batch normalisation has no gradient per image, so it gets no penalty."""
    critic_norm = trial.suggest_categorical("critic_norm", ["batch", "instance", "none", "spectral"])
    choices = {
        "architecture.width": trial.suggest_categorical("width", [32, 48, 64]),
        "architecture.latent": trial.suggest_categorical("latent", [64, 100, 128]),
        "architecture.upsampling": trial.suggest_categorical("upsampling", ["transposed", "nearest"]),
        "architecture.generator_norm": trial.suggest_categorical("generator_norm", ["batch", "group"]),
        "architecture.critic_norm": critic_norm,
        "penalty.kind": "none",
    }
    if critic_norm != "batch" and trial.suggest_categorical("penalty", ["none", "r1"]) == "r1":
        choices["penalty.kind"] = "r1"
        choices["penalty.lambda"] = trial.suggest_float("r1_lambda", 0.1, 20.0, log=True)
        choices["penalty.interval"] = 4
    return choices


def _losses(trial: optuna.Trial) -> dict[str, Any]:
    """Losses; only least squares allows a critic with a sigmoid, because cross-entropy has its own."""
    choices = {
        "loss.kind": trial.suggest_categorical("loss", ["non_saturating", "minimax", "least_squares"]),
        "loss.label_smoothing": trial.suggest_categorical("label_smoothing", [0.0, 0.1]),
        "loss.feature_matching": trial.suggest_categorical("feature_matching", [0.0, 1.0, 10.0]),
    }
    if choices["loss.kind"] == "least_squares":
        choices["architecture.critic_output"] = trial.suggest_categorical("critic_output", ["linear", "sigmoid"])
    return choices
