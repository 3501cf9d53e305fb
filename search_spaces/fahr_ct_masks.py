"""`fahr_ct` for a cohort with masks: beside the class, both networks are told the lesion's size, or where it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from search_spaces.fahr_ct import fahr_ct, suggest_wgan_gp

if TYPE_CHECKING:
    import optuna

    from gansweep.experiment import Experiment, TrialConfig

__all__ = ["fahr_ct_masks"]

_TOLD = ("lesion_burden", "lesion_mask")


def fahr_ct_masks() -> Experiment:
    """The paper's training first, with either conditioning: it names a lesion-specific one and does not say which."""
    plain = fahr_ct()
    first = tuple({**paper, "conditioning": told} for told in _TOLD for paper in plain.first_trials)
    return plain.model_copy(update={"name": "fahr_ct_masks", "space": _space, "first_trials": first})


def _space(trial: optuna.Trial) -> TrialConfig:
    return suggest_wgan_gp(trial, _TOLD)
