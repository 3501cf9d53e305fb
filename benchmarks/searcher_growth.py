"""How the driver grows with a sweep: memory and processor seconds of the searcher and the store, without Ray.

Each trial is proposed, reported and ended as in a sweep, in this process: sampler, study, rows, reports, compaction.
What Tune itself keeps of each trial is not in it (`search_overhead.py` has that).

    python benchmarks/searcher_growth.py [--trials 1000] [--sampler random] [--s3]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
import psutil

from gansweep.config import TrialConfig
from gansweep.progress import Progress, Report
from gansweep.search.cluster import Footprint
from gansweep.search.samplers import make_sampler
from gansweep.search.searcher import StudySearcher
from gansweep.search.spaces import load_space
from gansweep.search.sweep import STARTUP_TRIALS
from gansweep.search.trial import TrialResult
from gansweep.store.columns import config_columns
from gansweep.store.compaction import Upkeep
from gansweep.store.driver_storage import driven
from gansweep.store.schema import ReportRow
from gansweep.store.store import Store
from gansweep.store.sweep_info import CohortReference, SweepInfo

sys.path.insert(0, str(Path(__file__).parent))
from counted_s3 import CountedS3, show_traffic, traffic

if TYPE_CHECKING:
    from gansweep.experiment import Experiment

MEGABYTE = 2**20


def info_of(experiment: Experiment, trials: int) -> SweepInfo:
    """The record of a sweep that has no cohort."""
    return SweepInfo(
        name="growth",
        experiment={"reports": experiment.reports},
        space="growth",
        cohort=CohortReference(path="", content_hash="0" * 64, classes=("control", "lesion")),
        objectives=experiment.objectives,
        created=datetime.now(UTC),
        trials=trials,
        config_columns=config_columns(experiment.trainables),
    )


def run(experiment: Experiment, sampler: str, trials: int, storage: str, server: CountedS3) -> list[dict[str, Any]]:
    """Memory, processor seconds and bytes at the begin and at each quarter."""
    store = Store.create(storage, "growth", info_of(experiment, trials))
    trial_store = Store.open(store.uri)  # reports are written by the trial's own process
    study = driven(store.create_study(make_sampler(sampler, 0, 0, STARTUP_TRIALS)), store.study_storage())
    notes: list[dict[str, Any]] = []
    with Upkeep(store, 0) as upkeep:
        searcher = StudySearcher(experiment, study, store, lambda _config: None, upkeep=upkeep)
        for number in range(trials + 1):
            if number in {quarter * trials // 4 for quarter in range(5)} | {1}:
                notes.append(note(number, store, server))
                show(notes)
            if number < trials:
                end_one(searcher, trial_store, experiment, str(number))
    return notes


def end_one(searcher: StudySearcher, store: Store, experiment: Experiment, name: str) -> None:
    """One trial from its proposal to its end, with all its reports."""
    told = searcher.suggest(name)
    assert isinstance(told, dict), searcher.mistake
    config = TrialConfig.model_validate(told["config"])
    scores = {"fid": abs(config.lr_d - 1e-3) * 1e4, "accuracy": 0.5 + config.lr_g % 0.5}
    result: dict[str, Any] = {}
    for index in range(experiment.reports):
        final = index == experiment.reports - 1
        report = Report(Progress(index, final, 100 * (index + 1), 6400, {"critic": 0.5}, scores, 1.0, 1.0), "encoder")
        store.write_report(ReportRow(told["trial_id"], 0, report))
        status = "completed" if final else "running"
        result = {"result": TrialResult(status, "", report, scores, index + 1, 2.0, Footprint())}  # type: ignore[arg-type]
        searcher.on_trial_result(name, result)
    searcher.on_trial_complete(name, result)


def note(ended: int, store: Store, server: CountedS3) -> dict[str, Any]:
    """Where the driver is after so many trials."""
    own = psutil.Process()
    spent = own.cpu_times()
    folder = store.local
    sizes = {}
    for name in ("trials", "reports") if folder is not None else ():
        assert folder is not None
        sizes[f"{name}/"] = sum(entry.stat().st_size for entry in os.scandir(folder / name))
        compacted = folder / f"{name}.parquet"
        sizes[compacted.name] = compacted.stat().st_size if compacted.exists() else 0
    return {
        "ended": ended,
        "clock_s": time.perf_counter(),
        "processor_s": spent.user + spent.system,
        "rss_mb": own.memory_info().rss / MEGABYTE,
        "sizes": {**sizes, "studies.db": store.study_path.stat().st_size},
        "sent": server.counts() if server.storage else {},
    }


def show(notes: list[dict[str, Any]]) -> None:
    """Prints what a trial of the last quarter cost."""
    if len(notes) < 3:
        return
    before, after = notes[-2:]
    trials = after["ended"] - before["ended"]
    processor = (after["processor_s"] - before["processor_s"]) / trials
    clock = (after["clock_s"] - before["clock_s"]) / trials
    print(
        f"{after['ended']:6} trials: {processor:.3f} s of processor and {clock:.3f} s of clock per trial"
        f" since {before['ended']}, {after['rss_mb']:.0f} MB",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--space", default="fahr_ct")
    parser.add_argument("--sampler", default="random")
    parser.add_argument("--s3", action="store_true", help="the store on an S3 server on this machine, which counts")
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory() as folder, CountedS3(arguments.s3) as server:
        os.environ["XDG_CACHE_HOME"] = folder
        experiment = load_space(arguments.space)
        notes = run(experiment, arguments.sampler, arguments.trials, server.storage or folder, server)
    sizes = {name: size / arguments.trials for name, size in notes[-1]["sizes"].items()}
    print("bytes kept per trial: " + ", ".join(f"{name} {size:.0f}" for name, size in sizes.items()))
    if arguments.s3:
        show_traffic(traffic(notes[1:]))
    print(json.dumps({"benchmark": "searcher_growth", **vars(arguments), "notes": notes}))


if __name__ == "__main__":
    main()
