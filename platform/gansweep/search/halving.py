"""Early stopping by all objectives together.

Successive halving by FID alone stops trials with good detectors. Here a trial continues if it is good in another
objective.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from gansweep.store.ranking import non_dominated_fronts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from gansweep.config import Objective

__all__ = ["Keeps", "MultiObjectiveHalving", "keeps_by_any", "keeps_by_fronts"]


class Keeps(Protocol):
    """Decides which trials at a rung continue."""

    def __call__(self, costs: NDArray[np.float64], row: int, share: float) -> bool:
        """Returns whether a trial continues.

        Args:
            costs: costs of the trials at the rung, `[trials, objectives]`; lower is better.
            row: row of the trial in question.
            share: fraction of the trials that continues.
        """


def keeps_by_fronts(costs: NDArray[np.float64], row: int, share: float) -> bool:
    """Returns whether a row is among the best `share`, by non-dominated rank and, within a front, by an epsilon net.

    The net (Schmucker et al. 2021) starts with the row that is best in the last objective, and then always adds the row
    that is farthest from those in the net. Distances are between ranks, so that one bad FID does not distort the scale.
    """
    wanted = math.ceil(len(costs) * share - 1e-9)
    fronts = non_dominated_fronts(costs)
    better = int((fronts < fronts[row]).sum())
    if better >= wanted:
        return False
    members = np.flatnonzero(fronts == fronts[row])
    net = _epsilon_net(_ranks(costs)[members], wanted - better)
    return row in members[net]


def keeps_by_any(costs: NDArray[np.float64], row: int, share: float) -> bool:
    """Returns whether a row is among the best `share` in at least one objective."""
    wanted = math.ceil(len(costs) * share - 1e-9)
    return bool(((costs < costs[row]).sum(axis=0) < wanted).any())


def _ranks(costs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the ranks in each column, scaled to [0, 1]. Equal values have the same rank."""
    scaled = []
    for column in costs.T:
        _, ranks = np.unique(column, return_inverse=True)
        scaled.append(ranks / max(1, ranks.max()))
    return np.stack(scaled, axis=1)


def _epsilon_net(points: NDArray[np.float64], size: int) -> list[int]:
    """Returns the first `size` rows of a farthest-first traversal from the lowest value in the last column."""
    chosen = [int(np.lexsort(points.T)[0])]
    distance = np.linalg.norm(points - points[chosen[0]], axis=1)
    while len(chosen) < min(size, len(points)):
        distance[chosen] = -1.0
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return chosen


class MultiObjectiveHalving(FIFOScheduler):  # type: ignore[misc]
    """Asynchronous successive halving by several objectives, for Tune.

    A trial that reaches a rung is compared with all trials that have reached it, including those of earlier calls of
    the sweep. It then continues or is stopped.

    Args:
        objectives: objectives by which trials are compared.
        rungs: numbers of reports at which trials are compared, in ascending order.
        share: fraction of the trials at a rung that continues.
        keeps: decides which trials continue.
    """

    def __init__(self, objectives: Sequence[Objective], rungs: Sequence[int], share: float, keeps: Keeps) -> None:
        super().__init__()
        # Costs are scores multiplied by these signs, so that lower is better.
        self._signs: dict[str, float] = {}
        for objective in objectives:
            self._signs[objective.name] = 1.0 if objective.direction == "minimize" else -1.0
        self._share = share
        self._keeps = keeps
        self._rungs: dict[int, dict[str, list[float]]] = {rung: {} for rung in rungs}

    def fill(self, reports: Iterable[Mapping[str, Any]]) -> None:
        """Adds reports to the rungs.

        Args:
            reports: reports with `trial_id`, `index` and the objectives.
        """
        for report in reports:
            recorded = self._rungs.get(int(report["index"]) + 1)
            if recorded is not None:
                recorded[report["trial_id"]] = self._costs(report)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:  # noqa: ARG002 (Tune's)
        """Stops a trial that is not among the best at its rung."""
        recorded = self._rungs.get(result.get("reported", 0))
        name = trial.config["trial_id"]
        at_new_rung = recorded is not None and name not in recorded
        has_objectives = self._signs.keys() <= result.keys()
        if recorded is None or not at_new_rung or not has_objectives:
            return str(TrialScheduler.CONTINUE)
        recorded[name] = self._costs(result)
        costs = np.array(list(recorded.values()))
        keep = self._keeps(costs, len(costs) - 1, self._share)
        return str(TrialScheduler.CONTINUE if keep else TrialScheduler.STOP)

    def _costs(self, scores: Mapping[str, Any]) -> list[float]:
        return [sign * float(scores[name]) for name, sign in self._signs.items()]
