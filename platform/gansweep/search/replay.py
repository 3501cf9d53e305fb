"""`replay`: what samplers and early stopping would have reached on the trials of finished sweeps, and at what cost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import optuna

from gansweep.config import SchedulerSettings
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
"""What the others are compared with."""


@dataclass(frozen=True)
class Estimate:
    """A median over seeds with its 95 % interval; infinite where too few seeds got there."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class MethodResult:
    """What a method reaches, over the seeds.

    Args:
        method: sampler and scheduler.
        hypervolume: of the front when the budget is spent, 0 to 1; see `RecordedSweep.quality`.
        best: the best detector then, as the fraction of the trials that are worse.
        front_cost: until the hypervolume that random search has when the budget is spent, as a fraction of the budget.
        best_cost: until the best detector that random search has then, likewise.
        reached: how many seeds got to each of the two.
        good_stopped: of the best tenth of the detectors that it began, the fraction that it stopped early.
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
    """Methods on one store.

    Args:
        store: where it is.
        trials: how many were simulated.
        left_out: how many were not, by the reason.
        seeds: simulations of each method.
        budget_seconds: worker group seconds at which the methods are compared.
        methods: what each reaches, random search without early stopping first.
    """

    store: str
    trials: int
    left_out: Mapping[str, int]
    seeds: int
    budget_seconds: float
    methods: tuple[MethodResult, ...]


def methods_of(options: ReplayOptions, sweep: RecordedSweep) -> list[Method]:
    """Every pair of the samplers and schedulers that were asked for.

    Raises:
        ConfigError: a sampler or a scheduler that does not fit the sweep.
    """
    names = [objective.name for objective in sweep.objectives]
    made = []
    for sampler, stopping in product(options.samplers, options.schedulers):
        check_sampler(sampler, names, sweep)
        settings = SchedulerSettings(kind=stopping, metric=options.metric or names[0])
        check_scheduler(Compared(settings, sweep.objectives, sweep.reports))
        made.append(Method(f"{sampler}, {stopping}", _sampler(sampler), settings))
    return made


def replay_stores(
    stores: Sequence[Store],
    options: ReplayOptions,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> list[Replay]:
    """Simulates the same methods on each store.

    Args:
        stores: of finished sweeps with the same objectives.
        options: which methods, and how they are compared.
        progress: told what is simulated, how many methods are done, and of how many.

    Raises:
        StoreError: a store with too few trials that ran to their end, or with other objectives than the first.
        ConfigError: a sampler or a scheduler that does not fit a sweep.
    """
    sweeps = [recorded_sweep(store) for store in stores]
    check_same_objectives(sweeps)
    asked = [methods_of(options, sweep) for sweep in sweeps]
    return [replay(sweep, methods, options, progress) for sweep, methods in zip(sweeps, asked, strict=True)]


def replay(
    sweep: RecordedSweep,
    methods: Sequence[Method],
    options: ReplayOptions,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> Replay:
    """Simulates methods, and random search without early stopping, and tells what each needs to get as far.

    Args:
        sweep: whose trials.
        methods: what is compared.
        options: with how many seeds, and at which budget.
        progress: told what is simulated, how many methods are done, and of how many.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    budget = options.budget * sum(float(trial.seconds[-1]) for trial in sweep.trials if len(trial.seconds))
    seeds = [seed_from(options.seed, "replay", number) % 2**32 for number in range(options.seeds)]  # as NumPy takes it
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
    """The median, with the interval between two order statistics that holds it with at least 95 %; any distribution."""
    ordered = sorted(values)
    n = len(ordered)
    tails = np.cumsum([math.comb(n, k) for k in range(n + 1)]) / 2.0**n
    outer = max(0, int((tails <= 0.025).sum()) - 1)  # of few values the extremes, whatever they hold
    left = ordered[(n - 1) // 2]
    right = ordered[n // 2]
    middle = left if left == right else (left + right) / 2
    return Estimate(middle, ordered[outer], ordered[n - 1 - outer])


def _sampler(kind: str) -> MakeSampler | None:
    # Drawing without replacement is what random search does on a table; the nearest to a random point would prefer
    # configurations that have no neighbours.
    return None if kind == "random" else partial(make_sampler, kind, proposed=0, startup_trials=_STARTUP_TRIALS)


def _result(name: str, runs: Sequence[Run], budget: float, targets: Sequence[float]) -> MethodResult:
    ends = [run.at(budget) for run in runs]
    fronts = [run.cost(targets[0], run.hypervolume) / budget for run in runs]
    bests = [run.cost(targets[1], run.best) / budget for run in runs]
    stopped = [run.good_stopped for run in runs if math.isfinite(run.good_stopped)]
    return MethodResult(
        name,
        median_of([volume for volume, _ in ends]),
        median_of([best for _, best in ends]),
        median_of(fronts),
        median_of(bests),
        (sum(map(math.isfinite, fronts)), sum(map(math.isfinite, bests))),
        float(np.mean(stopped)) if stopped else math.nan,
    )
