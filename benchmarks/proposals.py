"""What the sampler and its study cost as a sweep grows: seconds of processor per proposal, and bytes per trial.

The study is the driver's, in memory with a copy in a SQLite file. Trials before the measured ones are drawn at random
and told random values. One figure is the median of some proposals, each with its space, its beginning and its end
written.

    python benchmarks/proposals.py [--space fahr_ct] [--sizes 100 1000 3000] [--sampler tpe]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import optuna

from gansweep.errors import GansweepError
from gansweep.search.samplers import make_sampler
from gansweep.search.spaces import load_space
from gansweep.search.study_rows import ATTEMPTS
from gansweep.search.sweep import STARTUP_TRIALS
from gansweep.store.driver_storage import driven
from gansweep.store.filesystem import Files
from gansweep.store.study import StudyFile

if TYPE_CHECKING:
    from gansweep.experiment import Experiment

_PROPOSALS = 7


def drawn(experiment: Experiment, trials: int, seed: int) -> list[optuna.trial.FrozenTrial]:
    """Trials that ended, with parameters and values drawn at random."""
    source = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    numbers = random.Random(seed)
    found = []
    for _ in range(trials):
        trial = source.ask()
        with contextlib.suppress(GansweepError):  # it may contradict itself; its parameters count all the same
            experiment.space(trial)
        values = [numbers.random() for _ in experiment.objectives]
        found.append(optuna.trial.create_trial(params=trial.params, distributions=trial.distributions, values=values))
    return found


def measured(experiment: Experiment, study: optuna.Study) -> tuple[float, float]:
    """Seconds of processor and of clock for one proposal and its end."""
    numbers = random.Random(0)
    processor = []
    clock = []
    for _ in range(_PROPOSALS):
        spent = time.process_time()
        began = time.perf_counter()
        trial = study.ask()
        with contextlib.suppress(GansweepError):
            experiment.space(trial)
        trial.set_user_attr(ATTEMPTS, 1)
        study.tell(trial.number, [numbers.random() for _ in experiment.objectives])
        processor.append(time.process_time() - spent)
        clock.append(time.perf_counter() - began)
    return statistics.median(processor), statistics.median(clock)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="fahr_ct")
    parser.add_argument("--sampler", default="tpe")
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 3000])
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    experiment = load_space(arguments.space)
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        file = StudyFile(Files(folder), "proposals")
        study = file.create(experiment.objectives)
        for size in arguments.sizes:
            missing = size - len(study.get_trials(deepcopy=False))
            study.add_trials(drawn(experiment, missing, size))
            # As a driver that resumes: the first proposal reads all trials, and is not counted.
            driver = driven(file.load(make_sampler(arguments.sampler, 0, size, STARTUP_TRIALS)), file.storage())
            measured(experiment, driver)
            processor, clock = measured(experiment, driver)
            kept = Path(file.path).stat().st_size / len(study.get_trials(deepcopy=False))
            figures.append({"trials": size, "processor_s": processor, "clock_s": clock, "bytes_per_trial": kept})
            print(
                f"{size:6} trials: {processor:.3f} s of processor per proposal, {clock:.3f} s of clock,"
                f" {kept:.0f} bytes of the study per trial",
                flush=True,
            )
    print(json.dumps({"benchmark": "proposals", **vars(arguments), "figures": figures}))


if __name__ == "__main__":
    main()
