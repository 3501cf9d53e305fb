"""Stops a trial whose training begins to fail, by the signals in its reports."""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING

from gansweep.errors import ConfigError, unknown_name
from gansweep.progress import SIGNALS
from gansweep.store.feasibility import broken

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gansweep.constraint import Constraint
    from gansweep.search.trial import TrialResult

__all__ = ["check_prune", "failing", "why_pruned"]

_LOWEST = {"class_spread": 0.0, "imbalance": 1.0, "gradient_drift": 1.0}
"""Lowest possible value of each signal."""
_FACTORS = {"imbalance", "gradient_drift"}
"""Signals that say by what factor something has changed since the first report."""


def check_prune(prune: Sequence[Constraint]) -> None:
    """Checks the bounds on signals.

    Raises:
        ConfigError: there is no such signal, or it is always beyond the bound, or never.
    """
    for bound in prune:
        if bound.score not in SIGNALS:
            raise unknown_name("signal", bound.score, SIGNALS, where="prune")
        lowest = _LOWEST[bound.score]
        if bound.at_most is not None and bound.at_most <= lowest:
            what = f"{bound} would stop every trial: {bound.score} is {lowest:g} or more"
            raise ConfigError(what, where="prune", fix="choose a larger bound")
        if bound.at_least is not None and bound.score in _FACTORS:
            what = f"{bound} is the wrong way round: {bound.score} is 1 at the first report"
            raise ConfigError(what, where="prune", fix=f"give {bound.score}<=NUMBER")
        if bound.at_least is not None and bound.at_least <= lowest:
            what = f"{bound} would stop no trial: {bound.score} is {lowest:g} or more"
            raise ConfigError(what, where="prune", fix="choose a larger bound")
    for low, high in product(prune, prune):
        if low.score != high.score or low.at_least is None or high.at_most is None:
            continue
        if low.at_least > high.at_most:
            raise ConfigError(f"no trial keeps both {low} and {high}", where="prune", fix="leave one of them out")


def failing(signals: Mapping[str, float], prune: Sequence[Constraint]) -> str:
    """Describes the signals that are beyond their bounds, such as `class_spread = 0.01 < 0.1`; empty if none is.

    A signal that is not known stops nothing: a family without a critic has no imbalance.
    """
    known = [bound for bound in prune if math.isfinite(signals.get(bound.score, math.nan))]
    return broken(signals, known)


def why_pruned(told: TrialResult | None, prune: Sequence[Constraint]) -> str:
    """Returns why a trial ends at this result; empty if it goes on, or ends for another reason."""
    if told is None or told.report is None or told.status != "running":
        return ""
    return failing(told.report.progress.signals, prune)
