"""The study's file: commits do not wait for the disk, and a killed driver loses none of them."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from optuna.trial import TrialState
from sqlalchemy import text

from gansweep.errors import StoreError

if TYPE_CHECKING:
    from gansweep.store.store import Store

DRIVER = """
import sys
import optuna
from gansweep.store.store import Store
study = Store.open(sys.argv[1]).create_study(optuna.samplers.RandomSampler(seed=0))
while True:
    trial = study.ask()
    value = trial.suggest_float("lr", 0.0, 1.0)
    study.tell(trial, [value, value])
    print(trial.number, flush=True)
"""


def test_no_connection_waits_for_the_disk(store: Store) -> None:
    store.create_study()
    storage = store.study_storage()
    for _ in range(2):
        with storage.engine.connect() as connection:
            assert connection.execute(text("PRAGMA synchronous")).scalar() == 0
    # The one that a study writes with, too: it is another object of the same settings.
    study = store.load_study()
    with study._storage._backend.engine.connect() as connection:
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 0


def test_a_driver_that_is_killed_loses_nothing_that_it_told(store: Store) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for _ in range(2):
        begun = len(store.create_study().trials)
        driver = subprocess.Popen(
            [sys.executable, "-c", DRIVER, store.uri], stdout=subprocess.PIPE, text=True, env=environment
        )
        assert driver.stdout is not None
        told = [int(driver.stdout.readline()) for _ in range(10)]
        driver.send_signal(signal.SIGKILL)
        told += [int(line) for line in driver.communicate()[0].split()]
        assert told == list(range(told[0], told[0] + len(told)))
        assert store.study_damage() == ""
        trials = store.load_study().get_trials(deepcopy=False)
        assert len(trials) > begun
        assert [trials[number].state for number in told] == [TrialState.COMPLETE] * len(told)
        assert all(trials[number].values == [trials[number].params["lr"]] * 2 for number in told)


@pytest.mark.parametrize("schema", ["v99.0.0.a", "v0.9.0.a"])
def test_a_study_of_another_version_of_optuna_is_told_in_one_line(store: Store, schema: str) -> None:
    store.create_study()
    with closing(sqlite3.connect(store.study_path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", [schema])
        connection.commit()
    with pytest.raises(
        StoreError, match=r"studies.db is from another version of Optuna; install that version, or move"
    ):
        store.load_study()
