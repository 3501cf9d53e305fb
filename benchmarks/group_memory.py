"""What a worker group costs while it waits for a trial: its processes and their memory, on whatever node they are.

Each group is the product's: a trial's actor, its mailbox, Ray Train's controller and the workers, which have imported
torch, loaded a cohort of phantoms and trained one small trial. Memory is proportional (PSS): pages that several
processes share are divided among them. Groups are added one after the other; the figure is what one more adds.

    python benchmarks/group_memory.py [--groups 3] [--workers 1]
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from gansweep.cohort.dataset import Cohort
from gansweep.cohort.ingest.run import IngestSettings, ingest
from gansweep.cohort.phantom.scans import write_phantom
from gansweep.config import ScoringSettings, TrialConfig
from gansweep.experiment import Experiment
from gansweep.options import SweepOptions
from gansweep.search.cluster import Footprint, memory_beside_workers, node_resources, ray_cluster
from gansweep.search.trial import WorkerGroupTrial
from gansweep.search.worker import WorkerGroupSettings
from gansweep.store.provenance import describe_sweep
from gansweep.store.schema import TrialRow
from gansweep.store.store import Store
from trainables import TRAINABLES

MEGABYTE = 2**20
_SETTLE_S = 5.0
_SCORING = ScoringSettings(samples=32, encoder_steps=5, detector_steps=5, detector_seeds=2)
_SMALL = TrialConfig(
    iterations=2, batch_size=8, n_critic=1, architecture={"width": 8, "latent": 8, "generator_norm": "group"}
)


def processes() -> dict[str, list[tuple[float, float]]]:
    """PSS and RSS in megabytes of each process of Ray on this machine, by what it is."""
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for process in psutil.Process().children(recursive=True):
        try:
            memory = process.memory_full_info()
            line = " ".join(process.cmdline())
        except psutil.NoSuchProcess:
            continue
        found[_role(line)].append((memory.pss / MEGABYTE, memory.rss / MEGABYTE))
    return found


def _role(line: str) -> str:
    """A worker process is named after what its actor does: `ray::TrialMailbox.outcome`."""
    if named := re.match(r"ray::(\w+)", line):
        return named.group(1)
    program = re.search(r"(gcs_server|raylet|log_monitor|agent|monitor|dashboard)", line)
    return program.group(1) if program else line.split()[0] if line else "other"


def total(found: dict[str, list[tuple[float, float]]]) -> tuple[int, float, float]:
    """Processes, PSS and RSS of all."""
    every = [memory for memories in found.values() for memory in memories]
    return len(every), sum(pss for pss, _ in every), sum(rss for _, rss in every)


class Groups:
    """Starts worker groups as a sweep does.

    Args:
        folder: for cohort and store.
        workers: of each group.
    """

    def __init__(self, folder: Path, workers: int) -> None:
        write_phantom(folder / "scans", patients=20, slices=2, size=32, seed=0)
        ingest(folder / "scans", folder / "cohort", IngestSettings(size=16, labels=folder / "scans" / "labels.csv"))
        experiment = Experiment(
            name="memory", space=lambda _trial: _SMALL, trainables=TRAINABLES, reports=1, scoring=_SCORING
        )
        options = SweepOptions(
            cohort=folder / "cohort", storage=str(folder), name="memory", trials=1, workers_per_trial=workers
        )
        info = describe_sweep(experiment, Cohort.open(folder / "cohort"), options, space="memory")
        self._store = Store.create(str(folder), "memory", info)
        self._settings = WorkerGroupSettings(
            self._store.uri, str(folder / "cohort"), str(folder / "cache"), TRAINABLES, _SCORING, reports=1
        )
        self._footprint = Footprint(workers)
        self._actors: list[Any] = []

    def add(self) -> None:
        """Starts a group, has it train one trial, and leaves it waiting."""
        import ray
        from ray import tune

        trial_id = f"{len(self._actors):04d}"
        now = datetime.now(UTC)
        self._store.write_trial(TrialRow(trial_id, 0, "running", _SMALL, started=now))
        trainable = tune.with_parameters(
            WorkerGroupTrial, settings=self._settings, footprint=self._footprint, objectives={"fid": "minimize"}
        )
        config = {"trial_id": trial_id, "attempt": 0, "started": now.timestamp(), "config": _SMALL.as_dict()}
        memory = memory_beside_workers(node_resources())
        actor = ray.remote(num_cpus=0, memory=memory)(trainable).remote(config)
        self._actors.append(actor)
        result = ray.get(actor.train.remote())["result"]
        assert result.status == "completed", result.reason
        time.sleep(_SETTLE_S)

    def close(self) -> None:
        """Ends all groups."""
        import ray

        ray.get([actor.stop.remote() for actor in self._actors])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1, help="Ray Train workers of each group")
    arguments = parser.parse_args()
    import ray

    with tempfile.TemporaryDirectory() as name:
        ray.init(num_cpus=arguments.groups * arguments.workers, include_dashboard=False, log_to_driver=False)
        with ray_cluster():
            groups = Groups(Path(name), arguments.workers)
            found = [processes()]
            for _ in range(arguments.groups):
                groups.add()
                found.append(processes())
                count, pss, rss = total(found[-1])
                print(f"{len(found) - 1} groups: {count} processes, PSS {pss:.0f} MB, RSS {rss:.0f} MB", flush=True)
            groups.close()
        ray.shutdown()
    first = total(found[1])
    last = total(found[-1])
    more = max(1, arguments.groups - 1)
    each = [(after - before) / more for before, after in zip(first, last, strict=True)]
    print(f"one group more: {each[0]:.1f} processes, PSS {each[1]:.0f} MB, RSS {each[2]:.0f} MB")
    for role, memories in sorted(found[-1].items()):
        pss = sum(memory for memory, _ in memories) / len(memories)
        rss = sum(memory for _, memory in memories) / len(memories)
        print(f"  {role:<28}{len(memories):3} processes, PSS {pss:5.0f} MB and RSS {rss:5.0f} MB each")
    print(
        json.dumps(
            {"benchmark": "group_memory", **vars(arguments), "processes": each[0], "pss": each[1], "rss": each[2]}
        )
    )


if __name__ == "__main__":
    main()
