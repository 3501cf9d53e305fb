"""What does each way to search cost on a published surrogate, compared with random search?

The surrogate is LCBench (Zimmer et al. 2021) as YAHPO Gym has it (Pfisterer et al. 2022, arXiv 2109.03670): a network
that predicts what training a classifier with some hyperparameters gives after some epochs, and how long that takes.
Its folder `lcbench` has the files `config_space.json`, `encoding.json` and `model.onnx`, and is part of the Git
repository slds-lmu/yahpo_data on GitHub, which YAHPO Gym's own instructions name. Nothing is downloaded here.

A search minimises `val_cross_entropy` and maximises `val_accuracy`, the pair of YAHPO Gym's multi-objective suite, and
like FID and a detector's accuracy in that one is a loss and the other is what a user wants. The tasks are those of its
two suites. A training has 52 epochs and 9 reports. Each proposal is evaluated as it is: none is replaced by a stored
one, as `gansweep replay` does. Samplers, schedulers and what the sampler is told of a stopped trial are a sweep's, with
one worker group. What a training costs is the surrogate's `time`.

Random search without early stopping has a budget of 50 mean trainings. The targets are the medians over seeds of what
it then has: the hypervolume of its front, and its best accuracy. Each objective is measured as the fraction of 5,000
random configurations that are worse. Every search goes on until it has reached both targets, or has spent one and a
half budgets. The cost of a target is the time until a training that ran to its end reached it, as a fraction of the
budget.

    pip install 'gansweep[onnx]'
    python benchmarks/surrogate_search.py --model yahpo_data/lcbench [--seeds 20] [--trainings 50]
"""

from __future__ import annotations

import argparse
import json
import math
import time
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import optuna
import pandas as pd
from optuna.distributions import FloatDistribution, IntDistribution
from ray.tune.schedulers import TrialScheduler

from gansweep.config import Objective, SchedulerSettings
from gansweep.search.replay import median_of
from gansweep.search.samplers import make_sampler
from gansweep.search.schedulers import Compared, make_scheduler
from gansweep.search.simulation import Method, Run, TuneTrial, hypervolume
from gansweep.search.sweep import STARTUP_TRIALS
from gansweep.seeds import seed_from

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from optuna.distributions import BaseDistribution

    from gansweep.search.replay import Estimate
    from gansweep.search.simulation import MakeSampler

TASKS = ("167152", "167168", "167185", "189873", "189906")
OBJECTIVES = (
    Objective(name="val_cross_entropy", direction="minimize"),
    Objective(name="val_accuracy", direction="maximize"),
)
REPORTS = 9  # rungs of one, three and nine reports
RANDOM = "random, none"
_EPOCHS = tuple(round(52 * (report + 1) / REPORTS) for report in range(REPORTS))
_INPUTS = (
    "epoch",
    "batch_size",
    "learning_rate",
    "momentum",
    "weight_decay",
    "num_layers",
    "max_units",
    "max_dropout",
)
_SECONDS, _ACCURACY, _CROSS_ENTROPY = 0, 1, 2  # columns of the model's output
_TASK = "OpenML_task_id"
_REFERENCES = 5000
_BUDGETS = 1.5  # budgets after which a search is given up


class Session(Protocol):
    """The part of ONNX Runtime's session that is used."""

    def run(self, output_names: Sequence[str] | None, input_feed: dict[str, Any]) -> Sequence[Any]:
        """Returns the outputs."""


@dataclass(frozen=True)
class Curve:
    """What one training reports.

    Args:
        scores: objectives at each report, `[reports, objectives]`.
        seconds: seconds from the start to each report, `[reports]`.
    """

    scores: NDArray[np.float64]
    seconds: NDArray[np.float64]


@dataclass(frozen=True)
class Surrogate:
    """The surrogate of one task.

    Args:
        session: the model.
        code: the task's number for the model.
        distributions: hyperparameters without the epoch.
    """

    session: Session
    code: int
    distributions: Mapping[str, BaseDistribution]

    def curve(self, params: Mapping[str, Any]) -> Curve:
        """Returns the reports of one configuration."""
        found = self._predicted([{**params, "epoch": epoch} for epoch in _EPOCHS])
        # In about one of a hundred configurations the predicted time falls from one report to the next.
        seconds = np.maximum.accumulate(np.maximum(found[:, _SECONDS], 0.0))
        return Curve(found[:, [_CROSS_ENTROPY, _ACCURACY]], seconds)

    def drawn(self, count: int, seed: int) -> tuple[NDArray[np.float64], float]:
        """Returns final scores of random configurations, `[count, objectives]`, and their mean time."""
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
        rows = [{**study.ask(dict(self.distributions)).params, "epoch": _EPOCHS[-1]} for _ in range(count)]
        found = self._predicted(rows)
        return found[:, [_CROSS_ENTROPY, _ACCURACY]], float(found[:, _SECONDS].mean())

    def _predicted(self, rows: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
        numbers = np.array([[row[name] for name in _INPUTS] for row in rows], dtype=np.float32)
        task = np.full((len(rows), 1), self.code, dtype=np.int32)
        return np.asarray(self.session.run(None, {"x_cat": task, "x_cont": numbers})[0], dtype=np.float64)


@dataclass(frozen=True)
class Quality:
    """How good scores are: the fraction of random configurations that are worse, for each objective.

    Args:
        ordered: scores of the random configurations, each column ascending, with higher scores better.
    """

    ordered: NDArray[np.float64]

    @classmethod
    def of(cls, scores: NDArray[np.float64]) -> Quality:
        """Measures against these configurations."""
        return cls(np.sort(scores * _signs(), axis=0))

    def __call__(self, scores: NDArray[np.float64]) -> list[float]:
        """Returns the quality of one configuration in each objective."""
        columns = zip(self.ordered.T, scores * _signs(), strict=True)
        return [float(np.searchsorted(column, value)) / len(column) for column, value in columns]


def opened(folder: Path) -> dict[str, Surrogate]:
    """Reads the surrogate's folder and returns the surrogate of each task. Ends the program if that is not possible."""
    missing = [name for name in ("model.onnx", "config_space.json", "encoding.json") if not (folder / name).is_file()]
    if missing:
        raise SystemExit(f"{folder} has no {', '.join(missing)}; give the folder lcbench of YAHPO Gym's data")
    try:
        import onnxruntime
    except ImportError:
        raise SystemExit("the surrogate needs the package onnxruntime; pip install 'gansweep[onnx]'") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
    listed = json.loads((folder / "config_space.json").read_text())["hyperparameters"]
    codes = json.loads((folder / "encoding.json").read_text())[_TASK]
    distributions = distributions_of(listed)
    return {task: Surrogate(session, code, distributions) for task, code in codes.items()}


def distributions_of(listed: Sequence[Mapping[str, Any]]) -> dict[str, BaseDistribution]:
    """Returns the distributions of the hyperparameters that a search chooses, from those of the JSON file."""
    found: dict[str, BaseDistribution] = {}
    for item in listed:
        if item["name"] in (_TASK, "epoch"):
            continue
        kind = IntDistribution if item["type"] == "uniform_int" else FloatDistribution
        found[item["name"]] = kind(item["lower"], item["upper"], log=item["log"])
    return found


def methods() -> dict[str, Method]:
    """The ways to search, by name. Random search without early stopping is the first."""
    pairs = {
        "random": ("none", "asha", "asha-any", "mo-asha"),
        "plain TPE": ("none",),
        "tpe": ("none", "asha", "asha-any", "mo-asha"),
        "nsga-ii": ("none", "asha-any"),
        "gp": ("none", "asha-any"),
    }
    made = {}
    for sampler, stoppings in pairs.items():
        for stopping in stoppings:
            name = f"{sampler}, {stopping}"
            settings = SchedulerSettings(kind=stopping, metric=OBJECTIVES[0].name)
            made[name] = Method(name, _sampler(sampler), settings)
    return made


def search(surrogate: Surrogate, quality: Quality, method: Method, seed: int, end: End) -> Run:
    """Runs one search. A training that does not end in time does not count."""
    assert method.sampler is not None
    directions = [objective.direction for objective in OBJECTIVES]
    study = optuna.create_study(directions=directions, sampler=method.sampler(seed))
    compared = Compared(method.scheduler, OBJECTIVES, REPORTS)
    scheduler = make_scheduler(compared, pd.DataFrame(columns=["trial_id", "index"]), seed)
    spent = 0.0
    best = 0.0
    volume = 0.0
    completed: list[list[float]] = []
    rows: list[tuple[float, float, float]] = []
    while spent < end.seconds and not (volume >= end.volume and best >= end.best):
        asked = study.ask(dict(surrogate.distributions))
        curve = surrogate.curve(asked.params)
        reports = reports_until_stopped(scheduler, f"{asked.number:04d}", curve)
        study.tell(asked, curve.scores[reports - 1].tolist())
        spent += float(curve.seconds[reports - 1])
        if reports == REPORTS and spent <= end.seconds:
            completed.append(quality(curve.scores[-1]))
            volume = hypervolume(np.array(completed))
            best = max(best, completed[-1][1])
            rows.append((spent, volume, best))
    columns = np.array(rows).reshape(-1, 3)
    return Run(columns[:, 0], columns[:, 1], columns[:, 2], good_stopped=math.nan)


def reports_until_stopped(scheduler: TrialScheduler, name: str, curve: Curve) -> int:
    """Returns the number of reports of a trial: all, or those until the scheduler stops it."""
    trial = TuneTrial(name)
    scheduler.on_trial_add(None, trial)
    for report in range(1, REPORTS):
        scores = {objective.name: value for objective, value in zip(OBJECTIVES, curve.scores[report - 1], strict=True)}
        if scheduler.on_trial_result(None, trial, {"reported": report, **scores}) == TrialScheduler.STOP:
            return report
    return REPORTS


@dataclass(frozen=True)
class End:
    """When a search ends: when it has spent this much, or reached both targets.

    Args:
        seconds: of training.
        volume: hypervolume of the front.
        best: quality of the best accuracy.
    """

    seconds: float
    volume: float = math.inf
    best: float = math.inf


@dataclass(frozen=True)
class Costs:
    """Costs of the two targets for each seed, as fractions of the budget; infinite if a search was given up."""

    front: list[float]
    best: list[float]


def compared_on(surrogate: Surrogate, chosen: Sequence[Method], seeds: int, trainings: int) -> dict[str, Costs]:
    """Compares methods on one task with random search, which is always the first."""
    scores, seconds = surrogate.drawn(_REFERENCES, seed_from(0, "references") % 2**32)
    quality = Quality.of(scores)
    budget = trainings * seconds
    numbers = [seed_from(0, "search", seed) % 2**32 for seed in range(seeds)]
    at_random = [search(surrogate, quality, methods()[RANDOM], seed, End(_BUDGETS * budget)) for seed in numbers]
    volume, best = np.median([run.at(budget) for run in at_random], axis=0).tolist()
    end = End(_BUDGETS * budget, volume, best)
    found = {RANDOM: costs(at_random, end, budget)}
    for method in chosen:
        if method.name != RANDOM:
            began = time.perf_counter()
            runs = [search(surrogate, quality, method, seed, end) for seed in numbers]
            found[method.name] = costs(runs, end, budget)
            print(f"  {method.name}: simulated in {time.perf_counter() - began:.0f} s", flush=True)
    return found


def costs(runs: Sequence[Run], end: End, budget: float) -> Costs:
    front = [run.cost(end.volume, run.hypervolume) / budget for run in runs]
    best = [run.cost(end.best, run.best) / budget for run in runs]
    return Costs(front, best)


def pooled(by_task: Sequence[dict[str, Costs]], name: str) -> list[str]:
    """A method's cells of the table over all tasks: medians with intervals, the tasks' medians, and who got there."""
    cells = [name]
    for target in ("front", "best"):
        columns = [getattr(found[name], target) for found in by_task]
        values = [value for column in columns for value in column]
        middle = [median_of(column).value for column in columns]
        reached = sum(math.isfinite(value) for value in values)
        cells += [text(median_of(values)), f"{_number(min(middle))} to {_number(max(middle))}"]
        cells += [f"{reached} of {len(values)}"]
    return cells


def text(estimate: Estimate) -> str:
    return f"{_number(estimate.value)} ({_number(estimate.low)} to {_number(estimate.high)})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder of the surrogate")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trainings", type=int, default=50, help="budget, in mean trainings")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--methods", nargs="+", choices=list(methods()), default=list(methods()))
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    surrogates = opened(arguments.model)
    unknown = [task for task in arguments.tasks if task not in surrogates]
    if unknown:
        raise SystemExit(f"no such task: {', '.join(unknown)}; there are {', '.join(surrogates)}")
    chosen = [methods()[name] for name in arguments.methods]
    by_task = []
    for task in arguments.tasks:
        print(f"task {task}", flush=True)
        found = compared_on(surrogates[task], chosen, arguments.seeds, arguments.trainings)
        by_task.append(found)
        for name, one in found.items():
            print(f"  {name:18} front {text(median_of(one.front))}, best {text(median_of(one.best))}", flush=True)
    print("| method | cost of the front | by task | reached | cost of the best | by task | reached |")
    print("|---|---|---|---|---|---|---|")
    for name in by_task[0]:
        print(f"| {' | '.join(pooled(by_task, name))} |")
    figures = [{name: vars(one) for name, one in found.items()} for found in by_task]
    told = {**vars(arguments), "model": str(arguments.model)}
    print(json.dumps({"benchmark": "surrogate_search", **told, "figures": figures}))


def _signs() -> NDArray[np.float64]:
    """Signs that make higher scores better."""
    return np.array([-1.0 if objective.direction == "minimize" else 1.0 for objective in OBJECTIVES])


def _sampler(kind: str) -> MakeSampler:
    if kind == "plain TPE":
        return lambda seed: optuna.samplers.TPESampler(seed=seed)
    return partial(make_sampler, kind, proposed=0, startup_trials=STARTUP_TRIALS)


def _number(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "never"


if __name__ == "__main__":
    main()
