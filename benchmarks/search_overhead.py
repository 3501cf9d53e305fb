"""What the search itself costs: a sweep whose trials only report, beside stock Ray Tune with Optuna and ASHA.

A trial sleeps before each report and reports two scores, a function of its parameters. The sweep runs through all of
the product that is not training: driver, sampler, trial actors, warm groups of Ray Train workers, mailboxes, store. The
rival is what Ray documents: a function trainable, OptunaSearch with the same sampler and space, ASHAScheduler. Its
actors are reused, which favours it: by default each trial starts a process. Both run in one Ray cluster with the same
number of trials at a time, one after the other.

    python benchmarks/search_overhead.py [--trials 50] [--concurrent 4] [--pause 0.5] [--only product] [--s3]

With `--s3` the store is on an S3 server on this machine (moto), which counts requests and bytes. The ideal time is the
sum of what the trials slept over the number of trials at a time.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import psutil
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from gansweep.cohort.ingest.run import IngestSettings, ingest
from gansweep.cohort.phantom.scans import write_phantom
from gansweep.config import SchedulerSettings, TrialConfig, validated
from gansweep.experiment import Experiment
from gansweep.options import SweepOptions
from gansweep.progress import Progress
from gansweep.search import worker, worker_group
from gansweep.search.samplers import make_sampler
from gansweep.search.sweep import STARTUP_TRIALS, sweep
from gansweep.search.trial import WorkerGroupTrial
from trainables import TRAINABLES

if TYPE_CHECKING:
    import optuna

    from gansweep.search.mailbox import Job

sys.path.insert(0, str(Path(__file__).parent))
from counted_s3 import CountedS3, show_traffic, traffic

REPORTS = 4
PAUSE = "GANSWEEP_BENCHMARK_PAUSE"
"""Environment variable with the seconds before each report: Ray's processes inherit it."""
MEGABYTE = 2**20


def space(trial: optuna.Trial) -> TrialConfig:
    """As many parameters as a small search has, one of them conditional."""
    choices: dict[str, Any] = {
        "lr_d": trial.suggest_float("lr_d", 1e-5, 1e-2, log=True),
        "lr_g": trial.suggest_float("lr_g", 1e-5, 1e-2, log=True),
        "n_critic": trial.suggest_int("n_critic", 1, 5),
        "batch_size": trial.suggest_categorical("batch_size", [8, 16, 32]),
        "augmentation.kind": trial.suggest_categorical("augmentation", ["none", "diffaugment"]),
        "synthetic_ratio": trial.suggest_float("synthetic_ratio", 0.1, 2.0),
    }
    return TrialConfig(iterations=REPORTS * 100).derive(choices)


def searched(trial: optuna.Trial) -> None:
    """The same for OptunaSearch, which takes the parameters themselves. Tune pickles it, so it is no lambda."""
    space(trial)


def scores(lr_d: float, lr_g: float, index: int) -> dict[str, float]:
    """What a report says: better near 1e-3, and with every report."""
    distance = abs(math.log10(lr_d) + 3) + abs(math.log10(lr_g) + 3)
    noise = random.Random(f"{lr_d} {lr_g} {index}").random()
    return {"fid": 10 * distance + 5 / (index + 1) + noise, "accuracy": min(1.0, 1 / (1 + distance) + 0.01 * noise)}


class Reporting(worker._Worker):  # noqa: SLF001 (everything of a worker but its training)
    """A worker whose trials sleep and report."""

    def _train(self, job: Job) -> None:
        config = validated(TrialConfig, job.config, where=f"trial {job.trial_id}")
        reporter = worker._MailboxReporter(self, job, config)  # noqa: SLF001
        if not reporter.wanted():
            return
        for index in range(reporter.reported(), REPORTS):
            time.sleep(float(os.environ[PAUSE]))
            told = scores(config.lr_d, config.lr_g, index)
            final = index == REPORTS - 1
            if not reporter.report(Progress(index, final, 100 * (index + 1), 0, {"critic": 0.5}, told, 0.0, 0.0)):
                return


def work(loop_config: dict[str, Any]) -> None:
    """The training function of the worker group, with workers that only report."""
    worker._Worker = Reporting  # type: ignore[misc]  # noqa: SLF001 (this process is the worker's own)
    worker.work(loop_config)


class ReportingTrial(WorkerGroupTrial):
    """The product's trial, on groups of workers that only report."""

    def setup(self, config: dict[str, Any], settings: worker.WorkerGroupSettings, **more: Any) -> None:
        """Starts the worker group."""
        worker_group.work = work
        super().setup(config, replace(settings, scored=False), **more)


class Quarters(logging.Handler):
    """Notes time, memory and traffic at each quarter of a sweep, from the log's line about each trial that ended."""

    def __init__(self, trials: int, server: CountedS3 | None) -> None:
        super().__init__(logging.INFO)
        self._at = {math.ceil(trials * quarter / 4) for quarter in range(1, 5)} | {1}
        self._server = server
        self.notes: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Called for each line of the log."""
        if record.msg.startswith("trial %s %s, %d of %d") and isinstance(record.args, tuple):
            self.ended(int(str(record.args[2])))

    def ended(self, count: int) -> None:
        """Notes where the driver is, if this is the end of a quarter."""
        if count not in self._at:
            return
        own = psutil.Process()
        spent = own.cpu_times()
        print(f"{count} trials have ended: {own.memory_info().rss / MEGABYTE:.0f} MB", file=sys.stderr, flush=True)
        self.notes.append(
            {
                "ended": count,
                "time": time.time(),
                "rss_mb": own.memory_info().rss / MEGABYTE,
                "processor_s": spent.user + spent.system,
                "sent": self._server.counts() if self._server else {},
            }
        )


class Ends(tune.Callback):  # type: ignore[misc]
    """Counts the trials of stock Tune that have ended."""

    def __init__(self, quarters: Quarters) -> None:
        self._quarters = quarters
        self._count = 0

    def on_trial_complete(self, **_: Any) -> None:
        """Called by Tune for each."""
        self._count += 1
        self._quarters.ended(self._count)

    def __getstate__(self) -> dict[str, Any]:
        """Returns nothing: Tune pickles its callbacks, and a log handler cannot be."""
        return {}


def product(options: SweepOptions, server: CountedS3 | None) -> dict[str, Any]:
    """Runs the sweep."""
    experiment = Experiment(
        name="overhead",
        space=space,
        trainables=TRAINABLES,
        reports=REPORTS,
        scheduler=SchedulerSettings(kind="asha", metric="fid"),
    )
    trials = options.trials
    quarters = Quarters(trials, server)
    logger = logging.getLogger("gansweep")
    logger.setLevel(logging.INFO)
    logger.addHandler(quarters)
    began = time.time()
    with mock.patch("gansweep.search.trial.WorkerGroupTrial", ReportingTrial):
        store = sweep(experiment, options)
    over = time.time()
    logger.removeHandler(quarters)
    rows = store.ended_trials()
    assert len(rows) == trials, f"{len(rows)} of {trials}"
    reports = sorted(store.reports()["time"])
    first = reports[0].timestamp() - float(os.environ[PAUSE])
    return {
        **summary([row.reports for row in rows], options.concurrent or 1, (began, first, over), quarters.notes),
        **({"traffic": traffic(quarters.notes)} if server else {}),
    }


def stock(folder: Path, trials: int, concurrent: int) -> dict[str, Any]:
    """Runs the same search as Ray documents it."""
    quarters = Quarters(trials, None)

    def trainable(config: dict[str, Any]) -> None:
        for index in range(REPORTS):
            time.sleep(float(os.environ[PAUSE]))
            tune.report({**scores(config["lr_d"], config["lr_g"], index), "told": time.time()})

    began = time.time()
    results = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=OptunaSearch(
                space=searched,
                metric=["fid", "accuracy"],
                mode=["min", "max"],
                sampler=make_sampler("tpe", 0, 0, STARTUP_TRIALS),
            ),
            scheduler=ASHAScheduler(metric="fid", mode="min", max_t=REPORTS, grace_period=1, reduction_factor=3),
            num_samples=trials,
            max_concurrent_trials=concurrent,
            reuse_actors=True,  # not the default, which starts a process for each trial
        ),
        run_config=tune.RunConfig(storage_path=str(folder), name="stock", verbose=0, callbacks=[Ends(quarters)]),
    ).fit()
    over = time.time()
    assert not results.errors, results.errors[0]
    counts = [int(result.metrics["training_iteration"]) for result in results]
    assert len(counts) == trials, f"{len(counts)} of {trials}"
    first = min(result.metrics_dataframe["told"].min() for result in results) - float(os.environ[PAUSE])
    return summary(counts, concurrent, (began, first, over), quarters.notes)


def summary(
    reports: list[int], concurrent: int, times: tuple[float, float, float], notes: list[dict[str, Any]]
) -> dict[str, Any]:
    """The figures of one search.

    Args:
        reports: of each trial.
        concurrent: trials at a time.
        times: when the search began, its first trial began and it ended, in seconds since the epoch.
        notes: of the first trial and of each quarter.
    """
    began, first, over = times
    trials = len(reports)
    slept = sum(reports) * float(os.environ[PAUSE])
    ideal = slept / concurrent
    parts = [
        (after["time"] - before["time"]) / (after["ended"] - before["ended"])
        for before, after in itertools.pairwise(notes)
    ]
    return {
        "trials": trials,
        "reports": sum(reports),
        "wall_s": over - began,
        "start_s": first - began,
        "ideal_s": ideal,
        "ratio": (over - began) / ideal,
        "ratio_started": (over - first) / ideal,
        "seconds_per_trial": (over - first) / trials,
        "ideal_per_trial": ideal / trials,
        "quarters_s_per_trial": parts,
        "rss_mb": [note["rss_mb"] for note in notes],
        "processor_s_per_trial": (notes[-1]["processor_s"] - notes[0]["processor_s"]) / (trials - 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--concurrent", type=int, default=4)
    parser.add_argument("--pause", type=float, default=0.5, help="seconds before each report")
    parser.add_argument("--only", choices=["product", "stock"], help="one of both, in this process")
    parser.add_argument("--s3", action="store_true", help="the product's store on an S3 server on this machine")
    arguments = parser.parse_args()
    # Before Ray starts: its processes inherit them.
    os.environ[PAUSE] = str(arguments.pause)
    # On a busy machine the first workers take long, and would be given up and started anew.
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "600")
    if arguments.only:
        found = alone(arguments)
        show(arguments.only, found)
        print(json.dumps(found))
        return
    import ray

    context = ray.init(num_cpus=arguments.concurrent, include_dashboard=False, log_to_driver=False)
    found = {}
    for only in ("product", "stock"):
        # Each has a process of its own, so that the memory of one is not that of the other.
        words = [sys.executable, __file__, *sys.argv[1:], "--only", only]
        os.environ["RAY_ADDRESS"] = context.address_info["address"]
        printed = subprocess.run(words, check=True, text=True, stdout=subprocess.PIPE).stdout
        lines = printed.splitlines()
        print("\n".join(lines[:-1]), flush=True)
        found[only] = json.loads(lines[-1])
    ray.shutdown()
    print(json.dumps({"benchmark": "search_overhead", **vars(arguments), **found}))


def alone(arguments: argparse.Namespace) -> dict[str, Any]:
    """Runs one of both, on the cluster in RAY_ADDRESS or on one of its own."""
    import ray

    if "RAY_ADDRESS" not in os.environ:
        ray.init(num_cpus=arguments.concurrent, include_dashboard=False, log_to_driver=False)
    with tempfile.TemporaryDirectory() as name, CountedS3(arguments.s3) as server:
        folder = Path(name)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        if arguments.only == "stock":
            ray.init(ignore_reinit_error=True, log_to_driver=False)
            return stock(folder / "stock", arguments.trials, arguments.concurrent)
        write_phantom(folder / "scans", patients=20, slices=1, size=32, seed=0)
        ingest(folder / "scans", folder / "cohort", IngestSettings(size=16, labels=folder / "scans" / "labels.csv"))
        options = SweepOptions(
            cohort=folder / "cohort",
            storage=server.storage or str(folder / "runs"),
            name="overhead",
            trials=arguments.trials,
            concurrent=arguments.concurrent,
        )
        return product(options, server if server.storage else None)


def show(label: str, found: dict[str, Any]) -> None:
    """Prints the figures of one search."""
    print(
        f"{label}: {found['trials']} trials, {found['reports']} reports, {found['wall_s']:.0f} s of which"
        f" {found['start_s']:.0f} s until the first trial; {found['seconds_per_trial']:.3f} s per trial after that,"
        f" ideal {found['ideal_per_trial']:.3f}; {found['ratio_started']:.2f} times the ideal time"
        f" ({found['ratio']:.2f} with the start)"
    )
    quarters = ", ".join(f"{seconds:.3f}" for seconds in found["quarters_s_per_trial"])
    print(f"  seconds per trial by quarters: {quarters}")
    print(
        f"  driver: {', '.join(f'{size:.0f}' for size in found['rss_mb'])} MB at the first trial and each quarter's"
        f" end; {found['processor_s_per_trial']:.3f} s of processor per trial"
    )
    if "traffic" in found:
        show_traffic(found["traffic"])


if __name__ == "__main__":
    main()
