"""Super-resolution from a quarter of the resolution: SRGAN with all its main parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gansweep.experiment import Experiment, Objective, SchedulerSettings, ScoringSettings, TrialConfig
from search_spaces._translation import suggest_game, suggest_generator
from trainables import TRAINABLES

if TYPE_CHECKING:
    import optuna

__all__ = ["super_resolution"]

_PAPER = {
    "lr_d": 1e-4,
    "lr_g": 1e-4,
    "loss": "non_saturating",
    "penalty": "none",
    "augmentation": "none",
    "attention": "none",
    "flips": True,
    "width": 64,
    "blocks": 16,
    "generator_norm": "batch",
    "critic_width": 64,
    "critic_norm": "instance",
    "content_until": 0.8,
    "adversarial": 1e-3,
    "perceptual": 0.0,
}
"""SRGAN-MSE (Ledig et al. 2017, section 3.2), except for the critic's normalisation; the content loss comes first."""


def super_resolution() -> Experiment:
    """Four times the resolution; use `--set architecture.scale=2` for twice.

    At 512 pixels add `--set architecture.critic_width=32`: the critic's first fully connected layer grows with the
    number of pixels and with the square of its width, and a width of 64 is refused there.
    """
    return Experiment(
        name="super_resolution",
        space=_space,
        trainables=TRAINABLES,
        first_trials=(_PAPER,),
        objectives=(Objective(name="ssim", direction="maximize"), Objective(name="fid", direction="minimize")),
        reports=5,
        # Adversarial training starts late, and its effect shows even later, so no trial is stopped early.
        scheduler=SchedulerSettings(kind="none", metric="ssim"),
        scoring=ScoringSettings(samples=256),
    )


def _space(trial: optuna.Trial) -> TrialConfig:
    base = TrialConfig(
        family="srgan",
        conditioning="none",
        # The paper's Adam.
        beta1=0.9,
        beta2=0.999,
        n_critic=1,
        batch_size=16,
        iterations=10_000,
    )
    return base.derive({**suggest_game(trial), "architecture": _architecture(trial)})


def _architecture(trial: optuna.Trial) -> dict[str, Any]:
    return {
        "scale": 4,
        **suggest_generator(trial),
        "blocks": trial.suggest_categorical("blocks", [4, 8, 16]),
        "critic_width": trial.suggest_categorical("critic_width", [16, 32, 64]),
        "critic_norm": trial.suggest_categorical("critic_norm", ["instance", "layer", "group", "spectral", "none"]),
        "content_until": trial.suggest_float("content_until", 0.1, 0.9),
        "adversarial": trial.suggest_float("adversarial", 1e-4, 1e-1, log=True),
        "perceptual": trial.suggest_categorical("perceptual", [0.0, 0.01, 0.1, 1.0]),
    }
