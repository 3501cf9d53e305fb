"""WGAN-GP for CT of Fahr disease (Henchiri): the paper's training, and all variants of its table 1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gansweep.experiment import Experiment, ScoringSettings, TrialConfig
from search_spaces._dcgan import suggest_architecture, suggest_rates
from trainables import TRAINABLES

if TYPE_CHECKING:
    import optuna

__all__ = ["fahr_wgan_gp"]

_PAPER = {
    "lr_d": 2e-4,
    "lr_g": 1e-3,
    "n_critic": 5,
    "lambda": 10.0,
    "interpolation": "uniform",
    "norm": "l2",
    "one_sided": False,
    "adaptive": "none",
    "interval": 1,
    "width": 48,
    "residual": False,
    "generator_norm": "batch",
    "critic_norm": "none",
    "upsampling": "nearest",
    "attention": "self_attention",
    "attention_size": 16,
    "conditioning": "concat",
    "synthetic_ratio": 1.0,
}
"""The paper gives learning rates, critic steps, batch size, budget and lambda, and mentions attention and conditioning.
Widths and normalisation are our own; Adam's decay rates are WGAN-GP's, 0 and 0.9."""


def fahr_wgan_gp() -> Experiment:
    """Batch size 64 and 10,000 generator iterations, as in the paper, with five reports."""
    return Experiment(
        name="fahr_wgan_gp",
        space=_space,
        trainables=TRAINABLES,
        first_trials=(_PAPER,),
        reports=5,
        scoring=ScoringSettings(detector_seeds=3),
    )


def _space(trial: optuna.Trial) -> TrialConfig:
    choices: dict[str, Any] = {
        **suggest_rates(trial),
        **_penalty(trial),
        **suggest_architecture(trial, critic_norms=("none", "layer", "instance", "spectral")),
        "conditioning": trial.suggest_categorical("conditioning", ["concat", "projection", "auxiliary"]),
        "synthetic_ratio": trial.suggest_categorical("synthetic_ratio", [0.25, 0.5, 1.0]),
    }
    if choices["architecture.critic_norm"] == "spectral":
        # A penalty at layer k does not constrain the blocks before it; spectral normalisation makes them Lipschitz.
        choices["penalty.layer"] = trial.suggest_int("layer", 0, 2)
    return TrialConfig(batch_size=64, iterations=10_000).derive(choices)


def _penalty(trial: optuna.Trial) -> dict[str, Any]:
    """The rows of table 1, except for the layer. Higher-order gradients are always exact here."""
    return {
        "penalty.lambda": trial.suggest_float("lambda", 0.5, 50.0, log=True),
        "penalty.interpolation": trial.suggest_categorical(
            "interpolation", ["uniform", "convex", "real_real", "local"]
        ),
        "penalty.adaptive": trial.suggest_categorical("adaptive", ["none", "norm", "progress"]),
        "penalty.norm": trial.suggest_categorical("norm", ["l2", "l1", "linf"]),
        "penalty.one_sided": trial.suggest_categorical("one_sided", [False, True]),
        "penalty.interval": trial.suggest_categorical("interval", [1, 4]),
    }
