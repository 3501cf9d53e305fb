"""A search space of your own: `gansweep sweep examples/my_space.py:my_space --cohort cohort ...`.

To submit it to a cluster, put the GAN into this file, because only the file of the space is uploaded.

A space is a function that returns an `Experiment`. The space itself is Optuna define-by-run code: a parameter that
exists only for some choices is a plain `if`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from my_gan import MyGan  # in the same folder, where `gansweep sweep` finds it; the workers get it by value

from gansweep.experiment import DataView, Experiment, LossSettings, PenaltySettings, ScoringSettings, TrialConfig
from trainables import TRAINABLES

if TYPE_CHECKING:
    import optuna

__all__ = ["my_space"]


def my_space() -> Experiment:
    """Compares the shipped DCGAN with your own GAN, at 32 pixels. A trial takes seconds."""
    return Experiment(
        name="my_space",
        space=_space,
        trainables=replace(TRAINABLES, gans={**TRAINABLES.gans, "my_gan": MyGan}),
        reports=2,
        scoring=ScoringSettings(samples=64, encoder_steps=30, detector_steps=30, detector_seeds=2),
    )


def _space(trial: optuna.Trial) -> TrialConfig:
    family = trial.suggest_categorical("family", ["dcgan", "my_gan"])
    mine = family == "my_gan"
    width = trial.suggest_categorical("width", [8, 16])
    config = TrialConfig(
        data=DataView(size=32),
        family=family,
        architecture={"width": width, "latent": 16},
        loss=LossSettings(kind="hinge" if mine else "wasserstein"),
        penalty=PenaltySettings(kind="none" if mine else "gradient_penalty"),
        lr_d=trial.suggest_float("lr_d", 1e-4, 1e-3, log=True),
        lr_g=trial.suggest_float("lr_g", 1e-4, 1e-3, log=True),
        iterations=20,
        batch_size=16,
        n_critic=1,
    )
    if mine:
        return config
    # Only one of the families has a penalty, and so its weight.
    return config.derive({"penalty.lambda": trial.suggest_float("lambda", 1.0, 20.0, log=True)})
