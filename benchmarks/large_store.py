"""How long `status` and `leaderboard` take on a large sweep that is still growing, and how much memory.

The store has 10,000 trials with 100 reports each unless told otherwise. As in a sweep that runs, the last hundredth of
the trials came after the last compaction, and four trials are under way. Each command runs in a process of its own;
processor seconds and the largest memory are the operating system's, start of Python and imports included.

    python benchmarks/large_store.py [--trials 10000] [--reports 100] [--folder KEPT]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gansweep.config import Objective, TrialConfig
from gansweep.contracts import Progress, Report
from gansweep.store.columns import config_columns
from gansweep.store.schema import ReportRow, TrialRow
from gansweep.store.store import Store
from gansweep.store.sweep_info import CohortReference, SweepInfo
from trainables import TRAINABLES

_SCORES = ("fid", "kid", "accuracy", "sensitivity", "specificity", "auroc")
_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
_RUNNING = 4

_AS_THE_STORE = {"store_schema": False, "write_statistics": False, "use_dictionary": False, "compression": "none"}

_MEASURED = """
import atexit, os, sys
def tell():
    times = os.times()
    peak = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")][0]
    print(times.user + times.system, peak, file=sys.stderr)
atexit.register(tell)
from gansweep.cli.app import main
sys.exit(main())
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--reports", type=int, default=100)
    parser.add_argument("--folder", help="where the store is made and kept; made only once. Default: a temporary one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(arguments.folder or temporary)
        uri = str(folder / "large")
        if not (folder / "large").exists():
            uri = make(folder, arguments.trials, arguments.reports).uri
        figures = {command: measure(command, uri) for command in ("--version", "status", "leaderboard")}
    for command, found in figures.items():
        print(
            f"{command:<12} {found['processor']:6.2f} s of processor, {found['wall']:6.2f} s, {found['memory']:5.0f} MB"
        )
    print(json.dumps({"trials": arguments.trials, "reports": arguments.reports, **figures}))


def make(folder: Path, trials: int, reports: int) -> Store:
    """A sweep under way: all but a hundredth of its trials are compacted."""
    store = Store.create(str(folder), "large", _info(trials + _RUNNING, reports))
    assert store.local is not None
    ended, running = _templates(store, reports)
    draws = np.random.default_rng(0)
    compacted = trials - trials // 100
    for number in range(trials + _RUNNING):
        tables = ended if number < trials else running
        for name, table in tables.items():
            path = store.local / name / f"trial-{number:04d}.0.parquet"
            pq.write_table(_changed(table, number, draws), path, **_AS_THE_STORE)
        if number == compacted:
            store.compact()
    return store


def measure(command: str, uri: str) -> dict[str, float]:
    """Runs `gansweep COMMAND STORE` and returns seconds and megabytes."""
    words = [command] if command.startswith("-") else [command, uri]
    began = time.perf_counter()
    process = subprocess.run([sys.executable, "-c", _MEASURED, *words], capture_output=True, text=True, check=True)
    wall = time.perf_counter() - began
    processor, kilobytes = process.stderr.splitlines()[-1].split()
    return {"processor": float(processor), "wall": wall, "memory": int(kilobytes) / 1024}


def _templates(store: Store, reports: int) -> tuple[dict[str, pa.Table], dict[str, pa.Table]]:
    """The tables of a trial that ended and of one under way, as the store itself writes them."""
    row = TrialRow("0000", 0, "running", TrialConfig(), started=_BEGAN)
    scores = dict.fromkeys(_SCORES, 0.5)
    report = Report(Progress(reports - 1, True, 100 * reports, 0, {"critic": 0.5}, scores, 50.0, 10.0), "encoder")
    store.write_report(ReportRow("0000", 0, report, _BEGAN))
    store.write_trial(row)
    running = _written(store)
    ended = _BEGAN + timedelta(seconds=reports)
    store.write_trial(row.finished("completed", report=report, reports=reports, seconds=float(reports), ended=ended))
    over = _written(store)
    over["reports"] = _repeated(over["reports"], reports, ends=True)
    running["reports"] = _repeated(running["reports"], reports // 2, ends=False)
    return over, running


def _written(store: Store) -> dict[str, pa.Table]:
    return {name: pq.ParquetFile(store.local / name / "trial-0000.0.parquet").read() for name in ("trials", "reports")}


def _repeated(table: pa.Table, reports: int, *, ends: bool) -> pa.Table:
    index = np.arange(reports)
    values = {"index": index, "iteration": 100 * (index + 1), "final": (index == reports - 1) & ends}
    return _with(pa.concat_tables([table] * reports), values)


def _changed(table: pa.Table, number: int, draws: np.random.Generator) -> pa.Table:
    """A trial's table as that of another trial: its name, times, scores and configuration."""
    rows = len(table)
    began = np.datetime64(_BEGAN.replace(tzinfo=None), "us") + np.timedelta64(number, "m")
    values: dict[str, Any] = {"trial_id": [f"{number:04d}"] * rows}
    values |= {
        name: draws.random(rows) for name in _SCORES if name in table.column_names and table[name].null_count == 0
    }
    if "time" in table.column_names:
        values["time"] = began + np.arange(rows) * np.timedelta64(1, "s")
    else:
        config = TrialConfig(lr_d=10 ** draws.uniform(-5, -3), lr_g=10 ** draws.uniform(-5, -3), seed=number)
        values |= {"config.lr_d": [config.lr_d], "config.lr_g": [config.lr_g], "config.seed": [number]}
        values |= {"config_json": [json.dumps(config.as_dict(), sort_keys=True)], "started": [began]}
        if table["ended"].null_count == 0:
            values["ended"] = [began + np.timedelta64(1, "m")]
    return _with(table, values)


def _with(table: pa.Table, values: dict[str, Any]) -> pa.Table:
    for name, column in values.items():
        place = table.schema.get_field_index(name)
        table = table.set_column(place, table.schema.field(name), pa.array(column).cast(table.schema.field(name).type))
    return table


def _info(trials: int, reports: int) -> SweepInfo:
    return SweepInfo(
        name="large",
        experiment={"reports": reports},
        space="benchmark",
        cohort=CohortReference(path="", content_hash="0" * 64, classes=("control", "lesion"), patients={"val": 40}),
        objectives=(Objective(name="fid", direction="minimize"), Objective(name="accuracy", direction="maximize")),
        trials=trials,
        created=_BEGAN,
        config_columns=config_columns(TRAINABLES),
    )


if __name__ == "__main__":
    main()
