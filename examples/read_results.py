"""Reading a sweep's results with pandas and with DuckDB: `python examples/read_results.py runs/fahr`.

Both read the Parquet files of the store; neither needs gansweep. DuckDB is no dependency: `pip install duckdb`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["best_trials", "mean_by_family"]


def best_trials(store: str | Path, count: int = 5) -> pd.DataFrame:
    """The trials with the smallest distance, one row each, with what was chosen (`config.*`)."""
    trials = pd.read_parquet(f"{store}/trials")
    completed = trials[trials["status"] == "completed"]
    columns = ["trial_id", "fid", "fid_floor", "accuracy", "accuracy_difference", "config.family", "config.lr_d"]
    return completed.sort_values("fid")[columns].head(count)


def mean_by_family(store: str | Path) -> pd.DataFrame:
    """What synthetic images changed in the detector's accuracy, averaged by family, in SQL."""
    import duckdb

    query = f"""
        SELECT "config.family" AS family, count(*) AS trials, avg(accuracy_difference) AS mean_difference
        FROM read_parquet('{store}/trials/*.parquet', union_by_name = true)
        WHERE status = 'completed'
        GROUP BY family
        ORDER BY mean_difference DESC
    """
    return duckdb.sql(query).df()


if __name__ == "__main__":
    print(best_trials(sys.argv[1]).to_string(index=False))
    print(mean_by_family(sys.argv[1]).to_string(index=False))
