"""Finds rows that are readable but unusable: damage on disk does not always make a Parquet file unreadable."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, get_args

from gansweep.config import TrialConfig, validated
from gansweep.errors import ConfigError
from gansweep.store.schema import Status

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

__all__ = ["report_faults", "trial_faults"]

_STATUSES = frozenset(get_args(Status))


def trial_faults(rows: pa.Table) -> Mapping[int, str]:
    """Returns what is wrong with each unusable row of a table of trials, by row index.

    Args:
        rows: table with at least the columns of `TRIAL_COLUMNS`.
    """
    faults = _missing(rows, ("trial_id", "attempt"))
    statuses = rows["status"].to_pylist()
    configs = rows["config_json"].to_pylist()
    for place, (status, config) in enumerate(zip(statuses, configs, strict=True)):
        if status not in _STATUSES:
            faults.setdefault(place, f"unknown status {status!r}")
        elif fault := _config_fault(config):
            faults.setdefault(place, fault)
    return faults


def report_faults(rows: pa.Table) -> Mapping[int, str]:
    """Returns what is wrong with each unusable row of a table of reports, by row index.

    Args:
        rows: table with at least the columns of `REPORT_COLUMNS`.
    """
    return _missing(rows, ("trial_id", "attempt", "index", "iteration"))


def _missing(rows: pa.Table, names: tuple[str, ...]) -> dict[int, str]:
    lacking = [name for name in names if rows[name].null_count]
    return {
        place: f"no {name}" for name in lacking for place, value in enumerate(rows[name].to_pylist()) if value is None
    }


def _config_fault(text: str | None) -> str:
    try:
        validated(TrialConfig, json.loads(text or ""), where="its configuration")
    except ConfigError as error:
        return str(error)
    except ValueError:
        return "its configuration is not JSON"
    return ""
