"""A user's own space file (`file.py:function`): trials of a second, a GAN of the user's own, and two that fail."""

from dataclasses import replace

import torch

from gansweep.experiment import Experiment, SchedulerSettings, ScoringSettings, TrialConfig
from trainables import GANS, TRAINABLES
from trainables.gans.dcgan import Dcgan


class Exploding(Dcgan):
    """Its loss is infinite from the fifth iteration on."""

    def loss(self, phase, batch, step):  # type: ignore[no-untyped-def]
        value, scalars = super().loss(phase, batch, step)
        return value * (float("inf") if step >= 4 else 1.0), scalars


class Hungry(Dcgan):
    """Asks for more memory than any device has, from the fifth iteration on."""

    def loss(self, phase, batch, step):  # type: ignore[no-untyped-def]
        if step >= 4:
            torch.empty(2**50)
        return super().loss(phase, batch, step)


class Faulty(Dcgan):
    """Poisons the process that trains it, as a CUDA error would."""

    def loss(self, *_):  # type: ignore[no-untyped-def]
        raise RuntimeError("CUDA error: an illegal memory access was encountered")


def tiny() -> Experiment:
    return Experiment(
        name="tiny",
        space=_space,
        trainables=replace(TRAINABLES, gans={**GANS, "exploding": Exploding, "hungry": Hungry, "faulty": Faulty}),
        reports=3,
        scheduler=SchedulerSettings(kind="none"),
        scoring=ScoringSettings(samples=32, encoder_steps=20, detector_steps=20, detector_seeds=2),
        first_trials=({"lr": 1e-3, "family": "dcgan"}, {"lr": 1e-3, "family": "exploding"}),
    )


def slow() -> Experiment:
    """Trials long enough to be killed in the middle of."""
    return (
        tiny()
        .with_settings({"family": "dcgan", "iterations": 150, "reports": 5})
        .model_copy(update={"first_trials": ()})
    )


def wrong() -> Experiment:
    return tiny().model_copy(update={"space": lambda trial: _space(trial).derive({"family": "unheard_of"})})


def not_an_experiment() -> int:
    return 3


def diverging() -> Experiment:
    """No trial ends with a generator."""
    return tiny().with_settings({"family": "exploding", "iterations": 60}).model_copy(update={"first_trials": ()})


def hungry() -> Experiment:
    """No trial has enough memory."""
    return tiny().with_settings({"family": "hungry", "iterations": 60}).model_copy(update={"first_trials": ()})


def _space(trial) -> TrialConfig:  # type: ignore[no-untyped-def]
    lr = trial.suggest_float("lr", 1e-4, 1e-2, log=True)
    return TrialConfig(
        family=trial.suggest_categorical("family", ["dcgan", "exploding"]),
        iterations=9,
        batch_size=8,
        n_critic=1,
        lr_d=lr,
        lr_g=lr,
        ema_half_life=0.05,
        architecture={"width": 8, "latent": 8, "generator_norm": "group"},
    )
