"""Parameters of image-to-image families, shared by several search spaces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import optuna

__all__ = [
    "suggest_cyclegan",
    "suggest_discogan",
    "suggest_game",
    "suggest_generator",
    "suggest_patch_critic",
    "suggest_resnet",
]


def suggest_game(trial: optuna.Trial) -> dict[str, Any]:
    """Learning rates, loss, penalty, augmentation and attention, by the dotted keys of a trial configuration."""
    choices: dict[str, Any] = {
        "lr_d": trial.suggest_float("lr_d", 3e-5, 1e-3, log=True),
        "lr_g": trial.suggest_float("lr_g", 3e-5, 2e-3, log=True),
        "loss.kind": trial.suggest_categorical("loss", ["non_saturating", "least_squares", "hinge", "relativistic"]),
        "penalty.kind": trial.suggest_categorical("penalty", ["none", "r1"]),
        "augmentation.kind": trial.suggest_categorical("augmentation", ["none", "diffaugment"]),
        # Not self-attention, which is rejected for large images.
        "attention": trial.suggest_categorical("attention", ["none", "cbam"]),
    }
    if choices["penalty.kind"] != "none":
        choices["penalty.lambda"] = trial.suggest_float("penalty_lambda", 0.01, 10.0, log=True)
        choices["penalty.interval"] = 4
    return choices


def suggest_patch_critic(trial: optuna.Trial) -> dict[str, Any]:
    """Width and normalisation of patch critics, by keys of `architecture`."""
    return {
        "critic_width": trial.suggest_categorical("critic_width", [16, 32, 64]),
        "critic_norm": trial.suggest_categorical("critic_norm", ["instance", "group", "spectral", "none"]),
    }


def suggest_generator(trial: optuna.Trial) -> dict[str, Any]:
    """Width and normalisation of generators, and whether images are flipped, by keys of `architecture`."""
    return {
        "flips": trial.suggest_categorical("flips", [False, True]),
        "width": trial.suggest_categorical("width", [16, 32, 64]),
        "generator_norm": trial.suggest_categorical("generator_norm", ["instance", "batch", "group"]),
    }


def suggest_resnet(trial: optuna.Trial) -> dict[str, Any]:
    """Residual generators, by keys of `architecture`; 0 blocks stands for CycleGAN's number at the images' size."""
    return {
        **suggest_generator(trial),
        "blocks": trial.suggest_categorical("blocks", [0, 3, 6, 9]),
        "upsampling": trial.suggest_categorical("upsampling", ["transposed", "nearest", "bilinear", "pixel_shuffle"]),
        "cycle": trial.suggest_float("cycle", 1.0, 50.0, log=True),
    }


def suggest_cyclegan(trial: optuna.Trial) -> dict[str, Any]:
    """Parameters of `cyclegan`, by keys of `architecture`."""
    return {
        **suggest_resnet(trial),
        "identity": trial.suggest_categorical("identity", [0.0, 0.5]),
        "pool": trial.suggest_categorical("pool", [0, 50]),
    }


def suggest_discogan(trial: optuna.Trial) -> dict[str, Any]:
    """Parameters of `discogan`, by keys of `architecture`."""
    choices = {
        **suggest_generator(trial),
        "reconstruction": trial.suggest_float("reconstruction", 0.1, 100.0, log=True),
        "warm_up_until": trial.suggest_categorical("warm_up_until", [0.0, 0.2]),
    }
    if choices["warm_up_until"]:
        choices["warm_up"] = trial.suggest_float("warm_up", 0.01, 1.0, log=True)
    return choices
