"""Compares all families from noise to image at the same budget, each with its own parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gansweep.experiment import Experiment, SchedulerSettings, ScoringSettings, TrialConfig
from trainables import TRAINABLES

if TYPE_CHECKING:
    import optuna

__all__ = ["all_families"]

# The first trials are combined from these parts: shared values, a loss with its penalty, and the architecture.
_COMMON = {
    "lr_d": 2e-4,
    "lr_g": 2e-4,
    "n_critic": 1,
    "ema_half_life": 2.0,
    "width": 32,
    "latent": 128,
    "conditioning": "concat",
    "augmentation": "diffaugment",
    "policy": "flip translation",
    "synthetic_ratio": 0.5,
}
_RELATIVISTIC = _COMMON | {
    "loss": "relativistic",
    "relativistic_penalty": "r1_r2",
    "penalty_lambda": 1.0,
    "penalty_interval": 1,
}
_WASSERSTEIN = _COMMON | {
    "loss": "wasserstein",
    "wasserstein_penalty": "gradient_penalty",
    "penalty_lambda": 10.0,
    "penalty_interval": 1,
}
_R1 = _COMMON | {
    "loss": "non_saturating",
    "non_saturating_penalty": "r1",
    "penalty_lambda": 1.0,
    "penalty_interval": 8,
}
_CONVOLUTIONAL = {"residual": False, "generator_norm": "batch", "upsampling": "nearest", "attention": "none"}
_FIRST = (
    _WASSERSTEIN | {"family": "fcgan", "fcgan_layers": 3, "fcgan_norm": "batch", "width": 64},
    _WASSERSTEIN | _CONVOLUTIONAL | {"family": "dcgan", "critic_norm": "none", "n_critic": 5},
    _COMMON | _CONVOLUTIONAL | {"family": "sngan", "loss": "hinge", "hinge_penalty": "none", "residual": True},
    _RELATIVISTIC | _CONVOLUTIONAL | {"family": "lapgan", "critic_norm": "none", "lapgan_layers": 3, "coarsest": 8},
    _WASSERSTEIN | {"family": "progan", "growing": 0.6, "fading": 0.5, "attention": "none", "lr_d": 1e-3, "lr_g": 1e-3},
    _R1
    | {"family": "stylegan2", "mapping": 4, "mixing": 0.9, "path_length": 0.0, "attention": "none"}
    | {"lr_d": 2e-3, "lr_g": 2e-3},
    _RELATIVISTIC
    | _CONVOLUTIONAL
    | {"family": "vaegan", "critic_norm": "none", "reconstruction": 1.0, "prior": 1.0, "likeness_layer": 2},
    _RELATIVISTIC | {"family": "r3gan", "r3gan_blocks": 1, "expansion": 2, "attention": "none"},
)
"""Each family once, with the loss and penalty of its paper, or with the relativistic pairing loss."""


def all_families() -> Experiment:
    """Images of 64 pixels; the first trials run every family once."""
    return Experiment(
        name="all_families",
        space=_space,
        trainables=TRAINABLES,
        first_trials=_FIRST,
        reports=5,
        # A growing generator starts with small images, so no trial is stopped before its second report.
        scheduler=SchedulerSettings(kind="asha-any", grace=2),
        scoring=ScoringSettings(detector_seeds=3),
    )


def _space(trial: optuna.Trial) -> TrialConfig:
    family = trial.suggest_categorical("family", sorted(_ARCHITECTURES))
    choices: dict[str, Any] = {
        "family": family,
        # The range includes the high rates that equalised layers (progan, stylegan2) need in a short training.
        "lr_d": trial.suggest_float("lr_d", 3e-5, 1e-2, log=True),
        "lr_g": trial.suggest_float("lr_g", 3e-5, 1e-2, log=True),
        "n_critic": trial.suggest_int("n_critic", 1, 5),
        "ema_half_life": trial.suggest_categorical("ema_half_life", [0.5, 2.0, 10.0]),
        **_objective(trial),
        **_augmentation(trial),
        "architecture.width": trial.suggest_categorical("width", [16, 32, 64]),
        "architecture.latent": trial.suggest_categorical("latent", [64, 128, 256]),
        **_ARCHITECTURES[family](trial),
        "synthetic_ratio": trial.suggest_categorical("synthetic_ratio", [0.25, 0.5, 1.0]),
    }
    return TrialConfig(batch_size=32, iterations=10_000).derive(choices)


# The penalties that are searched with each loss.
_PENALTIES = {
    "wasserstein": ["gradient_penalty", "r1", "r1_r2"],  # this loss needs a Lipschitz constraint
    "hinge": ["none", "gradient_penalty", "r1", "lecam"],
    "multi_class_hinge": ["none", "gradient_penalty", "r1", "lecam"],
    "non_saturating": ["none", "r1", "r2", "r1_r2", "lecam"],
    "least_squares": ["none", "gradient_penalty", "r1"],
    "relativistic": ["r1", "r1_r2"],
}


def _objective(trial: optuna.Trial) -> dict[str, Any]:
    loss = trial.suggest_categorical("loss", sorted(_PENALTIES))
    # The parameter is named after the loss, because Optuna allows only one set of choices per name.
    penalty = trial.suggest_categorical(f"{loss}_penalty", _PENALTIES[loss])
    choices: dict[str, Any] = {"loss.kind": loss, "penalty.kind": penalty, "conditioning": "projection"}
    if loss != "multi_class_hinge":  # it is defined only for the projection critic
        choices["conditioning"] = trial.suggest_categorical("conditioning", ["concat", "projection", "auxiliary"])
    if penalty != "none":
        choices["penalty.lambda"] = trial.suggest_float("penalty_lambda", 0.05, 50.0, log=True)
        choices["penalty.interval"] = trial.suggest_categorical("penalty_interval", [1, 4, 8])
    return choices


def _augmentation(trial: optuna.Trial) -> dict[str, Any]:
    kind = trial.suggest_categorical("augmentation", ["none", "diffaugment", "ada"])
    if kind == "none":
        return {"augmentation.kind": kind}
    policy = trial.suggest_categorical("policy", ["flip translation", "flip translation cutout"])
    return {"augmentation.kind": kind, "augmentation.policy": policy.split()}


def _fcgan(trial: optuna.Trial) -> dict[str, Any]:
    return {
        "architecture.layers": trial.suggest_int("fcgan_layers", 2, 4),
        "architecture.generator_norm": trial.suggest_categorical("fcgan_norm", ["batch", "layer", "none"]),
    }


def _sngan(trial: optuna.Trial) -> dict[str, Any]:
    return {
        "architecture.residual": trial.suggest_categorical("residual", [False, True]),
        "architecture.generator_norm": trial.suggest_categorical("generator_norm", ["batch", "group", "pixel"]),
        "architecture.upsampling": trial.suggest_categorical("upsampling", ["nearest", "bilinear", "transposed"]),
        **_attention(trial),
    }


def _dcgan(trial: optuna.Trial) -> dict[str, Any]:
    """Parameters of `sngan`, and the critic's normalisation."""
    return {
        **_sngan(trial),
        "architecture.critic_norm": trial.suggest_categorical("critic_norm", ["none", "layer", "instance"]),
    }


def _lapgan(trial: optuna.Trial) -> dict[str, Any]:
    return {
        **_dcgan(trial),
        "architecture.layers": trial.suggest_int("lapgan_layers", 2, 4),
        "architecture.coarsest": trial.suggest_categorical("coarsest", [8, 16]),
    }


def _progan(trial: optuna.Trial) -> dict[str, Any]:
    return {
        "architecture.growing": trial.suggest_float("growing", 0.2, 0.8),
        "architecture.fading": trial.suggest_float("fading", 0.2, 1.0),
        **_attention(trial),
    }


def _stylegan2(trial: optuna.Trial) -> dict[str, Any]:
    return {
        "architecture.mapping": trial.suggest_int("mapping", 2, 8),
        "architecture.mixing": trial.suggest_categorical("mixing", [0.0, 0.5, 0.9]),
        "architecture.path_length": trial.suggest_categorical("path_length", [0.0, 2.0]),
        **_attention(trial),
    }


def _vaegan(trial: optuna.Trial) -> dict[str, Any]:
    return {
        **_dcgan(trial),
        "architecture.reconstruction": trial.suggest_float("reconstruction", 0.1, 10.0, log=True),
        "architecture.prior": trial.suggest_float("prior", 0.1, 10.0, log=True),
        "architecture.likeness_layer": trial.suggest_int("likeness_layer", 1, 3),
    }


def _r3gan(trial: optuna.Trial) -> dict[str, Any]:
    return {
        "architecture.blocks": trial.suggest_int("r3gan_blocks", 1, 2),
        "architecture.expansion": trial.suggest_int("expansion", 1, 3),
        **_attention(trial),
    }


def _attention(trial: optuna.Trial) -> dict[str, Any]:
    attention = trial.suggest_categorical("attention", ["none", "self_attention", "cbam"])
    if attention == "none":
        return {}
    size = trial.suggest_categorical("attention_size", [8, 16])
    return {"attention": attention, "architecture.attention_size": size}


_ARCHITECTURES = {
    "fcgan": _fcgan,
    "dcgan": _dcgan,
    "sngan": _sngan,
    "lapgan": _lapgan,
    "progan": _progan,
    "stylegan2": _stylegan2,
    "vaegan": _vaegan,
    "r3gan": _r3gan,
}
