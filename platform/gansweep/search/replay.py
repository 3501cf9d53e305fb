"""`replay`: simulates samplers and early stopping on the trials of finished sweeps, and compares their results."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import optuna

from gansweep.config import SchedulerSettings
from gansweep.constraint import Constraint
from gansweep.errors import ConfigError
from gansweep.search.pruning import check_prune
from gansweep.search.recorded import check_same_objectives, recorded_sweep
from gansweep.search.samplers import check_sampler, make_sampler
from gansweep.search.schedulers import Compared, check_scheduler
from gansweep.search.simulation import Method, simulate
from gansweep.seeds import seed_from

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gansweep.options import ReplayOptions
    from gansweep.search.recorded import RecordedSweep
    from gansweep.search.simulation import MakeSampler, Run
    from gansweep.store.store import Store

__all__ = ["RANDOM", "Estimate", "MethodResult", "Replay", "median_of", "methods_of", "replay", "replay_stores"]

_STARTUP_TRIALS = 10  # as in a sweep

RANDOM = Method("random, none", None, SchedulerSettings(kind="none"))
"""Random search without early stopping, with which the other methods are compared."""


@dataclass(frozen=True)
class Estimate:
    """A median over seeds with its 95 % interval; infinite if too few seeds reached the target."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class MethodResult:
    """Results of a method over the seeds.

    Args:
        method: sampler, scheduler, and bound on a signal, if there is one.
        hypervolume: hypervolume of the front when the budget is spent, 0 to 1; see `RecordedSweep.quality`.
        best: quality of the best detector at that time: the fraction of the trials that are worse.
        front_cost: cost of reaching the final hypervolume of random search, as a fraction of the budget.
        best_cost: cost of reaching the final best detector of random search, as a fraction of the budget.
        reached: numbers of seeds that reached these two targets.
        good_stopped: fraction of the best tenth of the detectors that was stopped early, among those that were begun.
    """

    method: str
    hypervolume: Estimate
    best: Estimate
    front_cost: Estimate
    best_cost: Estimate
    reached: tuple[int, int]
    good_stopped: float


@dataclass(frozen=True)
class Replay:
    """Results of all methods on one store.

    Args:
        store: location of the store.
        trials: number of simulated trials.
        left_out: numbers of trials that cannot be simulated, by reason.
        seeds: number of simulations of each method.
        budget_seconds: worker group seconds after which the methods are compared.
        methods: results of each method. Random search without early stopping is the first.
    """

    store: str
    trials: int
    left_out: Mapping[str, int]
    seeds: int
    budget_seconds: float
    methods: tuple[MethodResult, ...]


def methods_of(options: ReplayOptions, sweep: RecordedSweep) -> list[Method]:
    """Returns every pair of the requested samplers and schedulers, alone and with each bound on a signal.

    Raises:
        ConfigError: a sampler or scheduler does not support the sweep, or its trials do not have a signal.
    """
    names = [objective.name for objective in sweep.objectives]
    bounds = list(dict.fromkeys(map(Constraint.parse_signal, options.prune)))
    check_prune(bounds)
    for bound in bounds:
        if not any(bound.score in trial.signals for trial in sweep.trials):
            what = f"the reports of {sweep.name} have no {bound.score}"
            raise ConfigError(what, where="--prune", fix="replay a sweep of this version")
    made = []
    for sampler, stopping in product(options.samplers, options.schedulers):
        check_sampler(sampler, names, sweep)
        settings = SchedulerSettings(kind=stopping, metric=options.metric or names[0])
        check_scheduler(Compared(settings, sweep.objectives, sweep.reports))
        name = f"{sampler}, {stopping}"
        made.append(Method(name, _sampler(sampler), settings))
        made += [Method(f"{name}, {bound}", _sampler(sampler), settings, (bound,)) for bound in bounds]
    return made


def replay_stores(
    stores: Sequence[Store],
    options: ReplayOptions,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> list[Replay]:
    """Simulates the same methods on each store.

    Args:
        stores: stores of finished sweeps with the same objectives.
        options: samplers, schedulers, seeds and budget.
        progress: called with (store, methods done, total methods).

    Raises:
        StoreError: a store has too few completed trials, or other objectives than the first.
        ConfigError: there is no store, or a sampler or scheduler does not support a sweep.
    """
    if not stores:
        raise ConfigError("no store to replay", fix="give the store of at least one finished sweep")
    sweeps = [recorded_sweep(store) for store in stores]
    check_same_objectives(sweeps)
    # All methods are checked before the first simulation.
    methods = [methods_of(options, sweep) for sweep in sweeps]
    return [replay(sweep, own, options, progress) for sweep, own in zip(sweeps, methods, strict=True)]


def replay(
    sweep: RecordedSweep,
    methods: Sequence[Method],
    options: ReplayOptions,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> Replay:
    """Simulates methods on one sweep, and compares them with random search without early stopping.

    Args:
        sweep: the recorded sweep.
        methods: methods to compare.
        options: number of seeds, and the budget.
        progress: called with (store, methods done, total methods).
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    duration = sum(float(trial.seconds[-1]) for trial in sweep.trials if len(trial.seconds))
    budget = options.budget * duration
    # NumPy's seeds have 32 bits.
    seeds = [seed_from(options.seed, "replay", number) % 2**32 for number in range(options.seeds)]
    others = [method for method in methods if method.name != RANDOM.name]
    at_random = [simulate(sweep, RANDOM, seed, options.concurrent) for seed in seeds]
    targets = np.median([run.at(budget) for run in at_random], axis=0).tolist()
    results = [_result(RANDOM.name, at_random, budget, targets)]
    for number, method in enumerate(others, start=1):
        runs = [simulate(sweep, method, seed, options.concurrent) for seed in seeds]
        results.append(_result(method.name, runs, budget, targets))
        progress(sweep.name, number, len(others))
    return Replay(sweep.name, len(sweep.trials), sweep.left_out, len(seeds), budget, tuple(results))


def median_of(values: Sequence[float]) -> Estimate:
    """Returns the median with its 95 % interval between two order statistics, which holds for any distribution.

    With few values, the interval is from the lowest to the highest, and its coverage is lower.
    """
    ordered = sorted(values)
    n = len(ordered)
    tails = np.cumsum([math.comb(n, k) for k in range(n + 1)]) / 2.0**n
    outer = max(0, int((tails <= 0.025).sum()) - 1)
    left = ordered[(n - 1) // 2]
    right = ordered[n // 2]
    middle = left if left == right else (left + right) / 2
    return Estimate(middle, ordered[outer], ordered[n - 1 - outer])


def _sampler(kind: str) -> MakeSampler | None:
    if kind == "random":
        # The simulation draws stored configurations at random. The nearest one to a random point would be more likely
        # to be a configuration without neighbours.
        return None
    return partial(make_sampler, kind, proposed=0, startup_trials=_STARTUP_TRIALS)


def _result(name: str, runs: Sequence[Run], budget: float, targets: Sequence[float]) -> MethodResult:
    target_volume, target_best = targets
    volumes = []
    bests = []
    front_costs = []
    best_costs = []
    for run in runs:
        volume, best = run.at(budget)
        volumes.append(volume)
        bests.append(best)
        front_costs.append(run.cost(target_volume, run.hypervolume) / budget)
        best_costs.append(run.cost(target_best, run.best) / budget)
    stopped = [run.good_stopped for run in runs if math.isfinite(run.good_stopped)]
    return MethodResult(
        method=name,
        hypervolume=median_of(volumes),
        best=median_of(bests),
        front_cost=median_of(front_costs),
        best_cost=median_of(best_costs),
        reached=(_count_finite(front_costs), _count_finite(best_costs)),
        good_stopped=float(np.mean(stopped)) if stopped else math.nan,
    )


def _count_finite(values: Sequence[float]) -> int:
    return sum(math.isfinite(value) for value in values)
