"""Early stopping by all objectives at once: which of the trials at a rung go on.

Successive halving by one objective stops good detectors for their FID. Here a trial that is good in its own way goes
on.
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
    """Decides which trials at a rung go on."""

    def __call__(self, costs: NDArray[np.float64], row: int, share: float) -> bool:
        """Whether a row goes on.

        Args:
            costs: of the trials at the rung, `[trials, objectives]`, smaller is better.
            row: which of them is asked about.
            share: of them that goes on.
        """


def keeps_by_fronts(costs: NDArray[np.float64], row: int, share: float) -> bool:
    """Whether a row is among the best `share` by non-dominated rank, and within a front by an epsilon net.

    The net (Schmucker et al. 2021) takes from a front first the best in the last objective, then again and again the
    row that is farthest from those taken. Distances are of ranks, so that one bad FID does not stretch the scale.
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
    """Whether a row is among the best `share` in at least one objective."""
    wanted = math.ceil(len(costs) * share - 1e-9)
    return bool(((costs < costs[row]).sum(axis=0) < wanted).any())


def _ranks(costs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each column's ranks, from 0 to 1; equal values share a rank."""
    columns = [np.unique(column, return_inverse=True)[1] for column in costs.T]
    return np.stack([column / max(1, column.max()) for column in columns], axis=1)


def _epsilon_net(points: NDArray[np.float64], size: int) -> list[int]:
    """The first `size` rows of a farthest-first traversal that begins at the least value of the last column."""
    chosen = [int(np.lexsort(points.T)[0])]
    distance = np.linalg.norm(points - points[chosen[0]], axis=1)
    while len(chosen) < min(size, len(points)):
        distance[chosen] = -1.0
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return chosen


class MultiObjectiveHalving(FIFOScheduler):  # type: ignore[misc]
    """Asynchronous successive halving by several objectives, for Tune.

    A trial that reaches a rung is compared with all that have reached it, those of earlier calls of the sweep included,
    and goes on or is stopped there.

    Args:
        objectives: what trials are compared by.
        rungs: counts of reports, rising.
        share: of the trials at a rung that goes on.
        keeps: which trials these are.
    """

    def __init__(self, objectives: Sequence[Objective], rungs: Sequence[int], share: float, keeps: Keeps) -> None:
        super().__init__()
        self._signs = {item.name: 1.0 if item.direction == "minimize" else -1.0 for item in objectives}
        self._share = share
        self._keeps = keeps
        self._rungs: dict[int, dict[str, list[float]]] = {rung: {} for rung in rungs}

    def fill(self, reports: Iterable[Mapping[str, Any]]) -> None:
        """Enters reports at the rungs, by the trials' own ids.

        Args:
            reports: each with `trial_id`, `index` and the objectives.
        """
        for report in reports:
            if (recorded := self._rungs.get(int(report["index"]) + 1)) is not None:
                recorded[report["trial_id"]] = self._costs(report)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:  # noqa: ARG002 (Tune's)
        """Stops a trial at a rung where it is not among those that go on."""
        recorded = self._rungs.get(result.get("reported", 0))
        name = trial.config["trial_id"]
        if recorded is None or name in recorded or not self._signs.keys() <= result.keys():
            return str(TrialScheduler.CONTINUE)
        recorded[name] = self._costs(result)
        goes_on = self._keeps(np.array(list(recorded.values())), len(recorded) - 1, self._share)
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)

    def _costs(self, scores: Mapping[str, Any]) -> list[float]:
        return [sign * float(scores[name]) for name, sign in self._signs.items()]
