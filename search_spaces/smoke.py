"""A search with seconds per trial on a CPU, to check that everything works. It does not find a good GAN."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gansweep.experiment import DataView, Experiment, SchedulerSettings, ScoringSettings, TrialConfig
from trainables import TRAINABLES

if TYPE_CHECKING:
    import optuna

__all__ = ["smoke"]


def smoke() -> Experiment:
    """WGAN-GP at 32 pixels with a few dozen iterations."""
    return Experiment(
        name="smoke",
        space=_space,
        trainables=TRAINABLES,
        reports=2,
        scheduler=SchedulerSettings(reduction_factor=2),
        # Few updates: the scores only have to be computed, not to be meaningful.
        scoring=ScoringSettings(samples=128, encoder_steps=60, detector_steps=60, detector_seeds=2),
    )


def _space(trial: optuna.Trial) -> TrialConfig:
    base = TrialConfig(
        data=DataView(size=32),
        iterations=60,
        batch_size=32,
        n_critic=trial.suggest_int("n_critic", 1, 3),
        lr_d=trial.suggest_float("lr_d", 1e-4, 2e-3, log=True),
        lr_g=trial.suggest_float("lr_g", 1e-4, 2e-3, log=True),
        ema_half_life=0.1,
        architecture={"width": trial.suggest_categorical("width", [8, 16]), "latent": 32, "generator_norm": "group"},
    )
    return base.derive({"penalty.lambda": trial.suggest_float("lambda", 1.0, 20.0, log=True)})
