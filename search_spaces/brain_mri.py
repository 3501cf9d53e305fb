"""Brain MRI with and without tumours: the loss is a parameter too, and determines the penalty."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gansweep.experiment import Experiment, ScoringSettings, TrialConfig
from search_spaces._dcgan import suggest_architecture, suggest_rates
from trainables import TRAINABLES

if TYPE_CHECKING:
    import optuna

__all__ = ["brain_mri"]


def brain_mri() -> Experiment:
    """Images of 64 pixels; Wasserstein (with penalty or clipping), hinge or relativistic loss with its penalty."""
    return Experiment(
        name="brain_mri",
        space=_space,
        trainables=TRAINABLES,
        reports=5,
        scoring=ScoringSettings(detector_seeds=3),
    )


def _space(trial: optuna.Trial) -> TrialConfig:
    choices: dict[str, Any] = {
        **suggest_rates(trial),
        **_objective(trial),
        **suggest_architecture(trial, critic_norms=("none", "layer", "instance")),
        "conditioning": trial.suggest_categorical("conditioning", ["concat", "projection"]),
        "augmentation.kind": trial.suggest_categorical("augmentation", ["none", "diffaugment", "ada"]),
        "synthetic_ratio": trial.suggest_categorical("synthetic_ratio", [0.25, 0.5, 1.0]),
    }
    return TrialConfig(batch_size=64, iterations=10_000).derive(choices)


def _objective(trial: optuna.Trial) -> dict[str, Any]:
    loss = trial.suggest_categorical("loss", ["wasserstein", "hinge", "relativistic"])
    if loss == "wasserstein":
        if trial.suggest_categorical("lipschitz", ["gradient_penalty", "clipping"]) == "clipping":
            clip = trial.suggest_float("clip", 3e-3, 0.1, log=True)
            return {"loss.kind": loss, "loss.clip": clip, "penalty.kind": "none"}
        return {
            "loss.kind": loss,
            "penalty.kind": "gradient_penalty",
            "penalty.lambda": trial.suggest_float("gp_lambda", 1.0, 50.0, log=True),
        }
    if loss == "hinge":
        return {
            "loss.kind": loss,
            "penalty.kind": "r1",
            "penalty.lambda": trial.suggest_float("r1_lambda", 0.1, 50.0, log=True),
            "penalty.interval": trial.suggest_categorical("r1_interval", [1, 8]),
        }
    return {
        "loss.kind": loss,
        "penalty.kind": "r1_r2",
        "penalty.lambda": trial.suggest_float("r1_r2_lambda", 0.1, 50.0, log=True),
    }
