"""Does TPE search worse if it leaves out a part of the earlier trials? Two objectives, six parameters, simulated.

The product's sampler leaves out trials beyond 2,000, too many to simulate with many seeds. So it gets a limit of 200
here, and each search has 1,000 trials. A search is scored by the hypervolume of its front (Zitzler & Thiele 1999), and
by its best second objective. Differences are paired by seed.

    python benchmarks/bounded_tpe.py [--seeds 20] [--trials 1000] [--most 200]
"""

from __future__ import annotations

import argparse
import json
import math
import time
import warnings
from typing import TYPE_CHECKING

import numpy as np
import optuna
from scipy import stats

from gansweep.search.bounded_tpe import BoundedTPESampler
from gansweep.search.sweep import STARTUP_TRIALS

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SHARES = {"none": 0.0, "diffaugment": 0.4, "ada": 0.1}


def objectives(trial: optuna.Trial) -> tuple[float, float]:
    """A distance to minimise and an accuracy to maximise, which are best at different places."""
    lr_d = math.log10(trial.suggest_float("lr_d", 1e-5, 1e-2, log=True))
    lr_g = math.log10(trial.suggest_float("lr_g", 1e-5, 1e-2, log=True))
    penalty = math.log10(trial.suggest_float("penalty", 0.1, 100, log=True))
    critic = trial.suggest_int("n_critic", 1, 8)
    augmentation = _SHARES[trial.suggest_categorical("augmentation", list(_SHARES))]
    ratio = trial.suggest_float("ratio", 0.0, 2.0)
    balance = (lr_d + 3.2) ** 2 + (lr_g + 3.6) ** 2 + (lr_d - lr_g - 0.4) ** 2 + (penalty - 1) ** 2 + 0.05 * critic
    useful = (lr_d + 3.6) ** 2 + (ratio - 1.2) ** 2 + (critic - 4) ** 2 / 16 + (augmentation - 0.4) ** 2 * 4
    ripple = 0.1 * math.sin(7 * lr_g) * math.cos(9 * penalty)
    return balance + ripple, 1 / (1 + useful + 0.3 * balance)


def searched(sampler: optuna.samplers.BaseSampler, trials: int, late: int) -> tuple[NDArray[np.float64], float]:
    """Runs a search.

    Returns:
        (values of all trials `[trials, 2]`, mean processor seconds of the last `late` proposals).
    """
    study = optuna.create_study(directions=["minimize", "maximize"], sampler=sampler)
    spent = 0.0
    for number in range(trials):
        began = time.process_time()
        trial = study.ask()
        values = objectives(trial)
        if number >= trials - late:
            spent += time.process_time() - began
        study.tell(trial, values)
    return np.array([trial.values for trial in study.get_trials(deepcopy=False)]), spent / late


def hypervolume(values: NDArray[np.float64]) -> float:
    """The area that is worse than a front, up to a distance of 4 and an accuracy of 0."""
    area = 0.0
    best = 0.0
    for distance, accuracy in values[np.argsort(-values[:, 1])]:
        # From the best accuracy on: each trial adds what is better in distance than all before it.
        reach = max(0.0, 4.0 - distance)
        if reach > best:
            area += (reach - best) * accuracy
            best = reach
    return area


def interval(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """The mean with its 95 % t interval."""
    mean = float(values.mean())
    half = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    return mean, mean - half, mean + half


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--most", type=int, default=200)
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    options = {"multivariate": True, "group": True, "constant_liar": True, "n_startup_trials": STARTUP_TRIALS}
    scores: dict[str, list[tuple[float, float, float]]] = {"bounded": [], "tpe": [], "random": []}
    for seed in range(arguments.seeds):
        samplers = {
            "bounded": BoundedTPESampler(seed=seed, most=arguments.most, **options),
            "tpe": optuna.samplers.TPESampler(seed=seed, **options),
            "random": optuna.samplers.RandomSampler(seed=seed),
        }
        for name, sampler in samplers.items():
            values, seconds = searched(sampler, arguments.trials, 50)
            scores[name].append((hypervolume(values), float(values[:, 1].max()), seconds))
    found = {name: np.array(rows) for name, rows in scores.items()}
    for name, rows in found.items():
        volume = interval(rows[:, 0])
        best = interval(rows[:, 1])
        print(
            f"{name:8} hypervolume {volume[0]:.4f} ({volume[1]:.4f} to {volume[2]:.4f}), best accuracy {best[0]:.4f}"
            f" ({best[1]:.4f} to {best[2]:.4f}), {1000 * np.median(rows[:, 2]):.1f} ms for a late proposal"
        )
    for column, label in enumerate(("hypervolume", "best accuracy")):
        mean, low, high = interval(found["bounded"][:, column] - found["tpe"][:, column])
        print(f"bounded less tpe, {label}: {mean:+.5f} ({low:+.5f} to {high:+.5f})")
    print(
        json.dumps(
            {"benchmark": "bounded_tpe", **vars(arguments), **{name: rows.tolist() for name, rows in found.items()}}
        )
    )


if __name__ == "__main__":
    main()
