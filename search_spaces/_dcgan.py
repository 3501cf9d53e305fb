"""Parameters of the convolutional family, shared by several search spaces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import optuna

__all__ = ["suggest_architecture", "suggest_rates"]


def suggest_rates(trial: optuna.Trial) -> dict[str, Any]:
    """Learning rates of critic and generator, and critic steps per generator step."""
    return {
        "lr_d": trial.suggest_float("lr_d", 3e-5, 1e-3, log=True),
        "lr_g": trial.suggest_float("lr_g", 3e-5, 2e-3, log=True),
        "n_critic": trial.suggest_int("n_critic", 1, 5),
    }


def suggest_architecture(trial: optuna.Trial, *, critic_norms: tuple[str, ...]) -> dict[str, Any]:
    """Width, blocks, normalisation, upsampling and attention.

    Args:
        trial: the trial that suggests values.
        critic_norms: normalisations of the critic that are allowed with the penalty in use.

    Returns:
        Values by the dotted keys of a trial configuration.
    """
    choices: dict[str, Any] = {
        "architecture.width": trial.suggest_categorical("width", [16, 32, 48]),
        "architecture.residual": trial.suggest_categorical("residual", [False, True]),
        "architecture.generator_norm": trial.suggest_categorical("generator_norm", ["batch", "group", "pixel"]),
        "architecture.critic_norm": trial.suggest_categorical("critic_norm", list(critic_norms)),
        "architecture.upsampling": trial.suggest_categorical("upsampling", ["nearest", "bilinear", "transposed"]),
        "attention": trial.suggest_categorical("attention", ["none", "self_attention", "cbam"]),
    }
    if choices["attention"] != "none":
        choices["architecture.attention_size"] = trial.suggest_categorical("attention_size", [8, 16])
    return choices
