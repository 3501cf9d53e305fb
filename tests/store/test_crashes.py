"""Writers that are killed and writers that run at once: real processes, real signals."""

import os
import random
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from gansweep.store.store import Store

# Two rows and two reports per trial; says of each trial when it is done. Every writer has a column of its own.
WRITER = """
import sys
from gansweep.config import TrialConfig
from gansweep.progress import Progress, Report
from gansweep.store.schema import ReportRow, TrialRow
from gansweep.store.store import Store
uri, first, count, column = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
store = Store.open(uri)
for number in range(first, first + count):
    trial, scores = f"{number:04d}", {"fid": 1.0, column: float(number)}
    store.write_trial(TrialRow(trial, 0, "running", TrialConfig()))
    for index in range(2):
        progress = Progress(index, index == 1, index, 0, {f"loss_{column}": 1.0}, scores, 0.0, 0.0)
        store.write_report(ReportRow(trial, 0, Report(progress)))
    store.write_trial(TrialRow(trial, 0, "completed", TrialConfig(), scores=scores))
    print(number, flush=True)
"""


def _start(store, first, count, column):
    arguments = [sys.executable, "-c", WRITER, store.uri, str(first), str(count), column]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment)


@pytest.mark.slow
def test_a_writer_killed_at_any_instant_leaves_every_row_once(store):
    moments, done = random.Random(0), -1
    for _ in range(5):
        writer = _start(store, done + 1, 10_000, "kid")
        acknowledged = int(writer.stdout.readline())  # it is at work now
        time.sleep(moments.uniform(0.0, 0.15))
        writer.send_signal(signal.SIGKILL)
        done = max([acknowledged, *map(int, writer.communicate()[0].split())])

        again = Store.open(store.uri)
        trials, reports = again.trials(), again.reports()
        assert len(pd.read_parquet(store.local / "trials")) == len(trials)
        assert len(pd.read_parquet(store.local / "reports")) == len(reports)
        assert not trials.duplicated(["trial_id", "attempt"]).any()
        assert not reports.duplicated(["trial_id", "attempt", "index"]).any()
        finished = trials[trials["status"] == "completed"]
        assert set(map(int, finished["trial_id"])) >= set(range(done + 1))
        assert len(trials) - len(finished) <= 1
        assert finished["kid"].notna().all()
        assert (reports[reports["trial_id"].astype(int) <= done].groupby("trial_id").size() == 2).all()
    assert done > 5


def test_writers_at_work_at_once_lose_neither_rows_nor_columns(store):
    writers = [_start(store, 100 * number, 15, f"score_{number}") for number in range(3)]
    while any(writer.poll() is None for writer in writers):
        store.trials()  # readable all along
        time.sleep(0.05)
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    rows = pd.read_parquet(store.local / "trials")
    assert len(rows) == 45
    assert [rows[f"score_{number}"].notna().sum() for number in range(3)] == [15, 15, 15]
    reports = pd.read_parquet(store.local / "reports")
    assert [reports[f"loss.loss_score_{number}"].notna().sum() for number in range(3)] == [30, 30, 30]
