"""Reads a sweep's results with pandas and with DuckDB: `python examples/read_results.py runs/fahr`.

Both read the Parquet files of the store, without gansweep. DuckDB is not a dependency: `pip install duckdb`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["best_trials", "mean_by_family"]


def best_trials(store: str | Path, count: int = 5) -> pd.DataFrame:
    """Returns the trials with the lowest FID, one row each, with parts of their configuration (`config.*`)."""
    trials = pd.read_parquet(f"{store}/trials")
    completed = trials[trials["status"] == "completed"]
    columns = ["trial_id", "fid", "fid_floor", "accuracy", "accuracy_difference", "config.family", "config.lr_d"]
    return completed.sort_values("fid")[columns].head(count)


def mean_by_family(store: str | Path) -> pd.DataFrame:
    """Returns how much synthetic images changed the detector's accuracy: the mean of each family, in SQL."""
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
