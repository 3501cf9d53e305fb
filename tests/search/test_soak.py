"""Half an hour in which something of a sweep is killed or stopped every 20 to 60 s: the table of docs/reliability.md.

GANSWEEP_SOAK_MINUTES chooses another time, and GANSWEEP_SOAK_SEED other victims.
"""

from __future__ import annotations

import collections
import os
import random
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.search.faults import (
    PATIENT,
    Driver,
    assert_accounted_for,
    assert_nothing_left,
    assert_nothing_reserved,
    processes,
    three_raylets,
)

if TYPE_CHECKING:
    from pathlib import Path

MINUTES = float(os.environ.get("GANSWEEP_SOAK_MINUTES", "30"))
SEED = int(os.environ.get("GANSWEEP_SOAK_SEED", "0"))
VICTIMS = {"worker": "RayTrainWorker", "trial actor": "ResourceTrainable", "controller": "TrainController"}
ENDINGS = {"driver killed": signal.SIGKILL, "driver told to end": signal.SIGTERM, "terminal closed": signal.SIGHUP}
MANY = 10_000
"""Trials that the soak does not reach."""

pytestmark = [pytest.mark.ray, pytest.mark.acceptance, pytest.mark.timeout(60 * MINUTES + 900)]


def _disturb(what: str, cluster: Any, chance: random.Random) -> bool:
    """Kills or stops a process, or replaces a node. Returns whether there was a victim."""
    if what == "node":
        cluster.remove_node(cluster.workers.pop(chance.randrange(2)), allow_graceful=False)
        time.sleep(10.0)
        cluster.workers.append(cluster.add_node(num_cpus=1, **cluster.size))
        return True
    found = processes(VICTIMS["worker" if what == "worker stopped" else what])
    if not found:
        return False
    victim = chance.choice(found)
    if what == "worker stopped":
        victim.suspend()
    else:
        victim.kill()
    return True


def test_every_trial_is_accounted_for_after_a_soak(tmp_path: Path, cohort_path: Path) -> None:
    chance = random.Random(SEED)
    done: collections.Counter[str] = collections.Counter()
    with three_raylets(tmp_path) as cluster:
        driver = Driver(tmp_path, cohort_path, f"--trials={MANY}", *PATIENT)
        driver.says(r"report \d/6")
        until = time.monotonic() + 60 * MINUTES
        while time.monotonic() < until:
            time.sleep(chance.uniform(20, 60))
            assert driver.process.poll() is None, f"after {dict(done)}:\n{driver.log}"
            what = chance.choice([*VICTIMS, *ENDINGS, "worker stopped", "node"])
            if what in ENDINGS:
                driver.process.send_signal(ENDINGS[what])
                status = driver.ends(120)
                assert status == (-signal.SIGKILL if ENDINGS[what] == signal.SIGKILL else 130), driver.log
                assert_nothing_left()
                driver = Driver(tmp_path, cohort_path, f"--trials={MANY}", *PATIENT, "--resume")
                driver.says(r"report \d/6")
                done[what] += 1
            else:
                done[what] += _disturb(what, cluster, chance)
        driver.process.send_signal(signal.SIGTERM)
        driver.ends(120)
        assert_nothing_left()
        trials = driver.store.trials_begun()
        last = Driver(tmp_path, cohort_path, f"--trials={trials}", *PATIENT, "--resume")
        assert last.ends(600) == 0, last.log
        assert_accounted_for(last.store, trials)
        assert_nothing_left()
        assert_nothing_reserved()
    print(f"{MINUTES:g} minutes, seed {SEED}: {trials} trials; {dict(done)}")  # noqa: T201
