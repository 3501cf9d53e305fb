"""`fahr_ct` for a cohort with masks: conditioned on the class and on the lesion's size or mask."""

from __future__ import annotations

from typing import TYPE_CHECKING

from search_spaces.fahr_ct import fahr_ct, suggest_wgan_gp

if TYPE_CHECKING:
    import optuna

    from gansweep.experiment import Experiment, TrialConfig

__all__ = ["fahr_ct_masks"]

_CONDITIONINGS = ("lesion_burden", "lesion_mask")


def fahr_ct_masks() -> Experiment:
    """The first trials are the paper's with both conditionings: it mentions lesion conditioning without details."""
    plain = fahr_ct()
    first = tuple(
        {**paper, "conditioning": conditioning} for conditioning in _CONDITIONINGS for paper in plain.first_trials
    )
    return plain.model_copy(update={"name": "fahr_ct_masks", "space": _space, "first_trials": first})


def _space(trial: optuna.Trial) -> TrialConfig:
    return suggest_wgan_gp(trial, _CONDITIONINGS)
