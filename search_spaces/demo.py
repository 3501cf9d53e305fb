"""The search of `gansweep demo`: whole images against painted lesions, in seconds per trial on a CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gansweep.experiment import DataView, Experiment, SchedulerSettings, ScoringSettings, TrialConfig
from trainables import TRAINABLES

if TYPE_CHECKING:
    import optuna

__all__ = ["demo"]

_WHOLE = {"family": "dcgan", "lr_d": 1e-3, "lr_g": 1e-3, "n_critic": 2, "width": 16, "gradient_penalty_lambda": 10.0}
_PAINTED = {"family": "lesion_painter", "lr_d": 1e-3, "lr_g": 1e-3, "n_critic": 1, "width": 16, "r1_r2_lambda": 1.0}


def demo() -> Experiment:
    """Images of 32 pixels with masks; each family is tried once before the sampler chooses."""
    return Experiment(
        name="demo",
        space=_space,
        trainables=TRAINABLES,
        first_trials=(_WHOLE, _PAINTED),
        reports=2,
        # A painter and a whole-image GAN learn at different speeds: none is stopped at its first report.
        scheduler=SchedulerSettings(kind="none"),
        # An eighth of the usual updates: the detector of real images is then clearly above chance, if not at its best.
        scoring=ScoringSettings(samples=128, encoder_steps=60, detector_steps=150, detector_seeds=2, segmenter_steps=0),
    )


def _space(trial: optuna.Trial) -> TrialConfig:
    family = trial.suggest_categorical("family", ["dcgan", "lesion_painter"])
    base = TrialConfig(
        family=family,
        data=DataView(size=32),
        # Painting is slower, and only the lesion has to be learned.
        iterations=50 if family == "lesion_painter" else 150,
        batch_size=32,
        n_critic=trial.suggest_int("n_critic", 1, 2),
        lr_d=trial.suggest_float("lr_d", 3e-4, 2e-3, log=True),
        lr_g=trial.suggest_float("lr_g", 3e-4, 2e-3, log=True),
        ema_half_life=0.1,
        synthetic_ratio=0.5,
    )
    width = trial.suggest_categorical("width", [8, 16])
    return base.derive(_painted(trial, width) if family == "lesion_painter" else _whole(trial, width))


def _whole(trial: optuna.Trial, width: int) -> dict[str, Any]:
    """WGAN-GP."""
    return {
        "penalty.lambda": trial.suggest_float("gradient_penalty_lambda", 1.0, 20.0, log=True),
        "architecture": {"width": width, "latent": 32, "generator_norm": "group"},
    }


def _painted(trial: optuna.Trial, width: int) -> dict[str, Any]:
    """A small lesion painter with R3GAN's loss and penalty."""
    return {
        "conditioning": "none",
        "loss.kind": "relativistic",
        "penalty.kind": "r1_r2",
        "penalty.lambda": trial.suggest_float("r1_r2_lambda", 0.3, 3.0, log=True),
        "architecture": {"width": width, "depth": 2, "critic_width": 16},
    }
