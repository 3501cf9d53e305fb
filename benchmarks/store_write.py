"""Measures the cost of storing a sweep's rows: writing trials, and reading 10,000 of them back.

Run: `python benchmarks/store_write.py [--trials 10000] [--folder /tmp]`. Rows have the columns of a search over every
family in `trainables`. The alternatives are the usual ways to store results: one JSON line per trial appended to a file
(no crash safety, no types), and one Parquet file that is rewritten whenever a trial ends.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pandas as pd
import pyarrow.parquet as pq

from gansweep.config import Objective, TrialConfig
from gansweep.progress import Progress, Report
from gansweep.store.columns import config_columns
from gansweep.store.schema import ReportRow, TrialRow
from gansweep.store.store import Store
from gansweep.store.sweep_info import CohortReference, SweepInfo
from trainables import TRAINABLES

if TYPE_CHECKING:
    from collections.abc import Callable

_SCORES = ("fid", "kid", "accuracy", "sensitivity", "specificity", "auroc")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--folder", default=None, help="where to put the store; a temporary folder by default")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        figures = measure(Path(folder), arguments.trials)
    width = max(map(len, figures))
    for name, value in figures.items():
        print(f"{name:<{width}}  {value:>12,.3f}")
    print(json.dumps(figures))


def measure(folder: Path, trials: int) -> dict[str, float]:
    store = Store.create(str(folder), "benchmark", _info())
    rows = [_row(number) for number in range(trials)]
    figures: dict[str, float] = {"trials": trials, "columns": len(store.trials().columns)}
    figures["write a trial, ms"] = _timed(lambda: [store.write_trial(row) for row in rows]) / trials * 1e3
    few = [_report(row.trial_id, index) for row in rows[:200] for index in range(4)]
    figures["write a report, ms"] = _timed(lambda: [store.write_report(row) for row in few]) / len(few) * 1e3
    figures["append a JSON line, ms"] = _timed(lambda: _append_lines(folder / "rows.jsonl", rows)) / trials * 1e3
    figures["rewrite one Parquet file at the last trial, ms"] = (
        _timed(lambda: _rewrite(folder / "all.parquet", rows)) * 1e3
    )
    figures["file of a trial, bytes"] = (store.study_path.parent / "trials" / "trial-0000.0.parquet").stat().st_size
    pattern = f"{store.local}/trials/*.parquet"
    figures["read all, pandas, s"] = _timed(lambda: pd.read_parquet(f"{store.local}/trials"))
    figures["read all, DuckDB, s"] = _timed(
        lambda: duckdb.read_parquet(pattern, union_by_name=True).count("fid").fetchall()
    )
    figures["read all, Store, s"] = _timed(store.trials)
    figures["compact, s"] = _timed(store.compact)
    figures["compact again, s"] = _timed(store.compact)
    figures["read all, Store, compacted, s"] = _timed(store.trials)
    figures["read all, pandas, compacted, s"] = _timed(lambda: pd.read_parquet(f"{store.local}/trials.parquet"))
    assert len(store.trials()) == trials
    return figures


def _timed(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def _info() -> SweepInfo:
    return SweepInfo(
        name="benchmark",
        experiment={},
        space="benchmark",
        cohort=CohortReference(path="", content_hash="0" * 64, classes=("control", "lesion")),
        objectives=(Objective(name="fid", direction="minimize"), Objective(name="accuracy", direction="maximize")),
        created=datetime.now(UTC),
        config_columns=config_columns(TRAINABLES),
    )


def _row(number: int) -> TrialRow:
    scores = {name: number / (place + 7) for place, name in enumerate(_SCORES)}
    config = TrialConfig(seed=number)
    now = datetime.now(UTC)
    return TrialRow(f"{number:04d}", 0, "completed", config, scores=scores, best=scores, started=now, ended=now)


def _report(trial_id: str, index: int) -> ReportRow:
    scores = dict.fromkeys(_SCORES, 0.5)
    progress = Progress(index, index == 3, index * 100, 0, {"critic": 0.5}, scores, 0.0, 0.0)
    return ReportRow(trial_id, 0, Report(progress))


def _append_lines(path: Path, rows: list[TrialRow]) -> None:
    with path.open("a") as stream:
        for row in rows:
            stream.write(json.dumps(row.record(), default=str) + "\n")
            stream.flush()


def _rewrite(path: Path, rows: list[TrialRow]) -> None:
    import pyarrow as pa

    pq.write_table(pa.Table.from_pylist([row.record() for row in rows]), path)


if __name__ == "__main__":
    main()
