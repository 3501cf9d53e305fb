"""One simulated search on the trials of a finished sweep.

A sampler proposes as in a sweep. The nearest stored configuration that was not trained yet replaces the proposal, with
its own parameters, so that the sampler learns only measured values. Schedulers are those of a sweep. They receive the
reports in the order in which `concurrent` worker groups would send them.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import optuna
import pandas as pd
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState
from ray.tune.schedulers import TrialScheduler

from gansweep.search.pruning import failing
from gansweep.search.schedulers import Compared, make_scheduler

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from optuna.distributions import BaseDistribution

    from gansweep.config import SchedulerSettings
    from gansweep.constraint import Constraint
    from gansweep.search.recorded import RecordedSweep, RecordedTrial

__all__ = ["MakeSampler", "Method", "Run", "TuneTrial", "hypervolume", "simulate"]

_GOOD = 0.1  # fraction of the trials that count as the best detectors

MakeSampler = Callable[[int], optuna.samplers.BaseSampler]
"""Makes a sampler from a seed."""


@dataclass(frozen=True)
class Method:
    """A way to search.

    Args:
        name: name for users.
        sampler: makes the sampler; None: stored configurations are drawn at random.
        scheduler: settings of the scheduler.
        prune: bounds on signals of a failing training.
    """

    name: str
    sampler: MakeSampler | None
    scheduler: SchedulerSettings
    prune: tuple[Constraint, ...] = ()


@dataclass(frozen=True)
class Run:
    """Result of a simulated search at the completion of each trial, `[completed]` each.

    Args:
        spent: worker group seconds until then.
        hypervolume: hypervolume of the front of the completed trials; see `RecordedSweep.quality`.
        best: quality of the best detector.
        good_stopped: fraction of the best tenth of the detectors that was stopped early, among those that were begun.
            NaN if none was begun.
    """

    spent: NDArray[np.float64]
    hypervolume: NDArray[np.float64]
    best: NDArray[np.float64]
    good_stopped: float

    def at(self, budget: float) -> tuple[float, float]:
        """Returns hypervolume and best detector after `budget` seconds; 0 before any trial completed."""
        place = int(np.searchsorted(self.spent, budget, side="right")) - 1
        return (float(self.hypervolume[place]), float(self.best[place])) if place >= 0 else (0.0, 0.0)

    def cost(self, target: float, values: NDArray[np.float64]) -> float:
        """Returns the seconds until `values`, one of the columns, reached the target; infinite if it never did."""
        reached = np.flatnonzero(values >= target - 1e-12)
        return float(self.spent[reached[0]]) if len(reached) else math.inf


def simulate(sweep: RecordedSweep, method: Method, seed: int, concurrent: int = 1) -> Run:
    """Simulates a search until every stored configuration was trained once.

    Args:
        sweep: the recorded trials.
        method: sampler and scheduler.
        seed: seed of the sampler and of random draws.
        concurrent: number of worker groups. Each trains one trial at a time.
    """
    return _Simulation(sweep, method, seed).run(concurrent)


def hypervolume(quality: NDArray[np.float64]) -> float:
    """Returns the volume that the rows of `[trials, objectives]`, in 0 to 1, dominate. Larger is better."""
    from optuna._hypervolume import compute_hypervolume

    return float(compute_hypervolume(-quality, np.zeros(quality.shape[1]))) if len(quality) else 0.0


class _Event(NamedTuple):
    """A worker group is about to report. Events are ordered by time, then by the order in which they were made.

    Args:
        time: seconds since the search began.
        order: number of events made before.
        trial: index of the stored trial.
        reports: number of its reports, this one included.
        asked: the study's trial, if there is a study.
    """

    time: float
    order: int
    trial: int
    reports: int
    asked: Any


class _Simulation:
    """The state of one simulated search."""

    def __init__(self, sweep: RecordedSweep, method: Method, seed: int) -> None:
        self._sweep = sweep
        self._prune = method.prune
        self._names = [objective.name for objective in sweep.objectives]
        self._draws = np.random.default_rng(seed)
        self._free = list(range(len(sweep.trials)))
        self._places = _Places(sweep)
        compared = Compared(method.scheduler, sweep.objectives, sweep.reports)
        self._scheduler = make_scheduler(compared, pd.DataFrame(columns=["trial_id", "index"]), seed)
        self._study: optuna.Study | None = None
        if method.sampler is not None:
            directions = [objective.direction for objective in sweep.objectives]
            self._study = optuna.create_study(directions=directions, sampler=method.sampler(seed))
        self._stopped: set[int] = set()
        self._begun: set[int] = set()

    def run(self, concurrent: int) -> Run:
        spent = 0.0
        found: list[tuple[float, int]] = []  # seconds and trial, as they complete
        events: list[_Event] = []  # a heap
        order = count()

        def begin(now: float) -> None:
            if self._free:
                trial, asked = self._next()
                self._begun.add(trial)
                self._scheduler.on_trial_add(None, self._as_tune(trial))
                heapq.heappush(events, _Event(now + self._segment(trial, 0), next(order), trial, 1, asked))

        for _ in range(concurrent):
            begin(0.0)
        while events:
            event = heapq.heappop(events)
            spent += self._segment(event.trial, event.reports - 1)
            if self._goes_on(event.trial, event.reports):
                later = event.time + self._segment(event.trial, event.reports)
                following = event._replace(time=later, order=next(order), reports=event.reports + 1)
                heapq.heappush(events, following)
                continue
            self._tell(event.trial, event.reports, event.asked)
            if event.reports == self._sweep.reports:
                found.append((spent, event.trial))
            begin(event.time)
        return self._summary(found)

    def _segment(self, trial: int, reports: int) -> float:
        """Returns the seconds from one report to the next. A diverged trial costs nothing after its last report."""
        seconds = self._sweep.trials[trial].seconds
        if reports >= len(seconds):
            return 0.0
        before = seconds[reports - 1] if reports else 0.0
        return float(seconds[reports] - before)

    def _goes_on(self, trial: int, reports: int) -> bool:
        recorded = self._sweep.trials[trial]
        if reports >= self._sweep.reports or reports > len(recorded.scores):
            return False
        if self._fails(recorded, reports):
            self._stopped.add(trial)
            return False
        scores = dict(zip(self._names, recorded.scores[reports - 1].tolist(), strict=True))
        verdict = self._scheduler.on_trial_result(None, self._as_tune(trial), {"reported": reports, **scores})
        if verdict == TrialScheduler.STOP:
            self._stopped.add(trial)
            return False
        return True

    def _fails(self, trial: RecordedTrial, reports: int) -> bool:
        signals = {name: float(values[reports - 1]) for name, values in trial.signals.items()}
        return bool(failing(signals, self._prune))

    def _as_tune(self, trial: int) -> Any:
        return TuneTrial(self._sweep.trials[trial].trial_id)

    def _next(self) -> tuple[int, Any]:
        """Returns the index of the next trial, and the study's trial if there is a study."""
        if self._study is None:
            return self._free.pop(int(self._draws.integers(len(self._free)))), None
        asked = self._study.ask()
        proposed = dict(asked.relative_params or {})
        frozen = self._study._storage.get_trial(asked._trial_id)  # noqa: SLF001 (as Optuna's own Trial does)
        for name, distribution in self._sweep.distributions.items():
            if name not in proposed:
                proposed[name] = self._study.sampler.sample_independent(self._study, frozen, name, distribution)
        distance = self._places.distance(proposed, self._free)
        nearest = np.flatnonzero(distance == distance.min())
        trial = self._free.pop(int(self._draws.choice(nearest)))
        for name, value in self._sweep.trials[trial].params.items():
            distribution = self._sweep.distributions[name]
            internal = distribution.to_internal_repr(value)
            self._study._storage.set_trial_param(asked._trial_id, name, internal, distribution)  # noqa: SLF001
        return trial, asked

    def _tell(self, trial: int, reports: int, asked: Any) -> None:
        if self._study is None:
            return
        recorded = self._sweep.trials[trial]
        if recorded.diverged and trial not in self._stopped:
            self._study.tell(asked, state=TrialState.PRUNED)  # the state that a sweep uses too
        else:
            self._study.tell(asked, recorded.scores[reports - 1].tolist())

    def _summary(self, found: list[tuple[float, int]]) -> Run:
        quality = self._sweep.quality
        useful = quality[:, self._sweep.useful]
        order = [trial for _, trial in found]
        volumes = np.array([hypervolume(quality[order[: number + 1]]) for number in range(len(order))])
        best_so_far = np.maximum.accumulate(useful[order]) if order else np.zeros(0)
        tenth = max(1, round(_GOOD * len(quality)))
        good = set(np.argsort(-useful, kind="stable")[:tenth].tolist()) & self._begun
        good_stopped = len(good & self._stopped) / len(good) if good else math.nan
        spent = np.array([seconds for seconds, _ in found])
        return Run(spent, volumes, best_so_far, good_stopped)


class _Places:
    """Positions of the stored configurations in the space: numbers scaled to their range, choices 1 apart."""

    def __init__(self, sweep: RecordedSweep) -> None:
        self._distributions = sweep.distributions
        self._columns: dict[str, NDArray[np.float64]] = {}
        for name, distribution in sweep.distributions.items():
            places = [_place(distribution, trial.params, name) for trial in sweep.trials]
            self._columns[name] = np.array(places)

    def distance(self, proposed: Mapping[str, Any], free: list[int]) -> NDArray[np.float64]:
        """Returns squared distances from a proposal to the `free` trials. Parameters that a trial lacks are ignored."""
        total = np.zeros(len(free))
        for name, distribution in self._distributions.items():
            column = self._columns[name][free]
            place = _place(distribution, proposed, name)
            if isinstance(distribution, CategoricalDistribution):
                apart = (column != place).astype(float)
            else:
                apart = (column - place) ** 2
            total += np.where(np.isnan(column), 0.0, apart)
        return total


@dataclass(frozen=True)
class TuneTrial:
    """The part of a trial that Tune's schedulers use."""

    trial_id: str

    @property
    def config(self) -> dict[str, str]:
        """The part of the configuration that they use."""
        return {"trial_id": self.trial_id}


def _place(distribution: BaseDistribution, params: Mapping[str, Any], name: str) -> float:
    """Returns the position of a value in its range, or the index of a choice; NaN if it is missing."""
    if name not in params:
        return math.nan
    value = params[name]
    if isinstance(distribution, CategoricalDistribution):
        return float(distribution.to_internal_repr(value))
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    if distribution.high == distribution.low:
        return 0.0
    if distribution.log:
        return math.log(value / distribution.low) / math.log(distribution.high / distribution.low)
    return float((value - distribution.low) / (distribution.high - distribution.low))
