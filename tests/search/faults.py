"""A cluster of several raylets on this machine, a sweep on it, and what can go wrong with either."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from optuna.trial import TrialState

from gansweep.search.mailbox import OUT_OF_MEMORY
from gansweep.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

ROOT = Path(__file__).parents[2]
SPACE = Path(__file__).with_name("tiny_space.py")
REPORTS = 6
OURS = re.compile(r"RayTrainWorker|ResourceTrainable|TrainController|TrialMailbox|kept_arms")
"""Titles of the processes that a sweep has on its cluster."""
RAYS = re.compile(
    r"raylet/raylet |gcs/gcs_server |/dashboard/(dashboard|agent)\.py |/runtime_env/agent/main\.py |/log_monitor\.py "
    r"|/autoscaler/\S*monitor\.py |/ray/_private/workers/|^ray::"
)
"""Command lines and titles of the processes of a Ray itself, and of all that it starts."""
MARK = "GANSWEEP_TESTED_BY"
"""Environment variable that all processes of a test have, however they were started."""


class Driver:
    """`gansweep sweep` in a process of its own, with its log in a file.

    Args:
        folder: for the log and, unless `storage` says otherwise, the store.
        cohort: of the sweep.
        words: further options.
        storage: where the store is.
        space: what is searched.
        environment: changes of the environment.
    """

    def __init__(
        self,
        folder: Path,
        cohort: Path,
        *words: str,
        storage: str = "",
        space: str = "slow",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.storage = storage or str(folder / "runs")
        self._log = folder / f"{time.monotonic_ns()}.log"
        command = [sys.executable, "-m", "gansweep.cli", "sweep", f"{SPACE}:{space}", f"--cohort={cohort}"]
        options = [f"--storage={self.storage}", "--name=s", f"--set=reports={REPORTS}", *words]
        path = os.pathsep.join([str(ROOT / "platform"), str(ROOT), os.environ.get("PYTHONPATH", "")])
        # A shell's background jobs, and so their children, ignore SIGINT until told otherwise.
        heard = partial(signal.signal, signal.SIGINT, signal.default_int_handler)
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [*command, *options],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **(environment or {})},
                stdout=subprocess.DEVNULL,
                stderr=log,
                preexec_fn=heard,
            )

    @property
    def store(self) -> Store:
        return Store.open(f"{self.storage}/s" if "?" not in self.storage else self.storage.replace("?", "/s?", 1))

    @property
    def log(self) -> str:
        """What it has said so far."""
        return self._log.read_text()

    def says(self, pattern: str, times: int = 1, timeout_s: float = 240.0) -> str:
        """Waits until the log has a line that matches, so many times; returns the last."""

        def found() -> list[str]:
            return [line for line in self.log.splitlines() if re.search(pattern, line)]

        until(lambda: len(found()) >= times or self.process.poll() is not None, timeout_s, lambda: self.log)
        lines = found()
        assert len(lines) >= times, f"ended with {self.process.poll()}, and never said {pattern!r}:\n{self.log}"
        return lines[-1]

    def ends(self, timeout_s: float = 300.0) -> int:
        """Waits for its end; returns the exit status."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"it did not end:\n{self.log}") from None


def until(true: Callable[[], Any], timeout_s: float, told: Callable[[], str] = str) -> None:
    """Waits until something is true."""
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s\n{told()}"
        time.sleep(0.2)


PATIENT = ("--set=iterations=1000", "--hang-minutes=0.5", "--hang-factor=4", "--checkpoint-minutes=0.02")
"""Options of a sweep whose trials last long enough to be disturbed, and whose hangs are noticed soon."""

os.environ[MARK] = str(os.getpid())


@contextmanager
def three_raylets(folder: Path) -> Iterator[Any]:
    """A head that only holds what waits, and two nodes of one CPU; drivers that this process starts find it.

    Args:
        folder: for the cache of the sweeps.
    """
    import ray
    from ray.cluster_utils import Cluster

    before = {name: os.environ.get(name) for name in ("RAY_ADDRESS", "XDG_CACHE_HOME", "PYTHONPATH")}
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT / "platform"), str(ROOT), before["PYTHONPATH"] or ""])
    size = {"object_store_memory": 100 * 2**20}
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **size})
    made.workers = [made.add_node(num_cpus=1, **size) for _ in range(2)]
    made.size = size
    made.wait_for_nodes()
    os.environ |= {"RAY_ADDRESS": made.address, "XDG_CACHE_HOME": str(folder / "cache")}
    ray.init(address=made.address, log_to_driver=False)
    try:
        yield made
    finally:
        ray.shutdown()
        made.shutdown()
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def processes(kind: str | re.Pattern[str]) -> list[psutil.Process]:
    """This test's own processes whose title matches; the machine may run others.

    Those of a driver that was killed are nobody's children.
    """
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if re.search(kind, " ".join(process.cmdline())) and _is_ours(process):
                found.append(process)
    return found


def zombies() -> list[psutil.Process]:
    """Ended processes for whose exit status their parent, one of this test's own processes, has not asked.

    They have neither a title nor an environment any more. Those whose parent has ended, too, are the system's.
    """
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.status() == psutil.STATUS_ZOMBIE and (parent := process.parent()) and _is_ours(parent):
                found.append(process)
    return found


def _is_ours(process: psutil.Process) -> bool:
    """Whether this process is the test's. The system shows of itself the environment that it began with."""
    return process.pid == os.getpid() or process.environ().get(MARK) == os.environ[MARK]


def assert_accounted_for(
    store: Store, trials: int, statuses: set[str] | None = None, *, lost: Collection[int] = ()
) -> None:
    """Every trial has its rows, reports and study entry, each once.

    Args:
        store: of the sweep.
        trials: how many were asked for.
        statuses: how they may have ended; None: completed.
        lost: numbers of trials whose rows and entries were both damaged. Others are trained in their place.
    """
    rows = store.trials()
    numbers = range(trials + len(lost))
    assert list(store.latest_trials()["trial_id"]) == [f"{number:04d}" for number in numbers if number not in lost]
    assert set(store.latest_trials()["status"]) <= (statuses or {"completed"})
    assert not rows.duplicated(["trial_id", "attempt"]).any()
    for trial_id, attempts in rows.groupby("trial_id"):
        assert list(attempts["attempt"]) == list(range(len(attempts))), trial_id
        assert set(attempts["status"][:-1]) <= {"interrupted"}, trial_id
    reports = store.reports()
    assert not reports.duplicated(["trial_id", "index"]).any(), "a report was made twice"
    for row in store.latest_trials().itertuples():
        made = reports.loc[reports["trial_id"] == row.trial_id, "index"]
        expected = REPORTS if row.status == "completed" else row.reports
        assert list(made) == list(range(expected)), row.trial_id
    study = store.load_study()
    told = {trial.number: trial.state for trial in study.trials}
    assert list(told) == list(numbers)
    assert {told[number] for number in lost} <= {TrialState.FAIL}
    for row in store.latest_trials().itertuples():
        state = {"completed": TrialState.COMPLETE, "diverged": TrialState.PRUNED, "failed": TrialState.FAIL}
        # TPE takes parameters that need too much memory for bad ones.
        full = isinstance(row.reason, str) and row.reason.startswith(OUT_OF_MEMORY)
        assert told[int(row.trial_id)] == (TrialState.PRUNED if full else state[row.status])


def assert_nothing_left(timeout_s: float = 60.0, *, own_ray: bool = False) -> None:
    """No process of the sweep is left on its cluster, and none that its parent has forgotten.

    Args:
        timeout_s: how long they may take to end.
        own_ray: whether the drivers of the test start a Ray each, which has to end with them.
    """

    def left() -> list[str]:
        running = processes(OURS) + (processes(RAYS) if own_ray else [])
        told = [str(process) for process in zombies()]
        for process in running:
            with suppress(psutil.Error):  # it has just ended
                told.append(" ".join(process.cmdline()))
        return told

    until(lambda: not left(), timeout_s, lambda: "\n".join(left()))


def assert_nothing_reserved(timeout_s: float = 60.0) -> None:
    """The cluster that this process is connected to has all of its CPUs and memory free."""
    import ray

    free = ["CPU", "memory"]
    until(
        lambda: [ray.available_resources().get(k) for k in free] == [ray.cluster_resources().get(k) for k in free],
        timeout_s,
        lambda: f"{ray.available_resources()} of {ray.cluster_resources()}",
    )
