"""Finds rows that are readable but unusable: damage on disk does not always make a Parquet file unreadable."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, get_args

import numpy as np
import pyarrow.compute as pc

from gansweep.config import TrialConfig, validated
from gansweep.errors import ConfigError, StoreError
from gansweep.store.schema import SHARES, Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd
    import pyarrow as pa

    from gansweep.store.filesystem import FileEntry, Files

__all__ = [
    "FILE",
    "check_whole",
    "highest_number",
    "lost_reports",
    "report_faults",
    "reports_by_trial",
    "trial_faults",
]

FILE = "__filename"
"""Column with the name of each row's file: pyarrow's name for it."""

_STATUSES = frozenset(get_args(Status))

_LEAST = {"iterations": 0, "images_seen": 0, "reports": 0, "seconds": 0, "gpu_seconds": 0, "workers": 1}
"""Least value of the columns of a trial that are numbers of something."""

_ROUNDING = 1e-6
"""Tolerance of means of 32-bit numbers."""


def trial_faults(rows: pa.Table) -> Mapping[int, str]:
    """Returns what is wrong with each unusable row of a table of trials, by row index.

    Args:
        rows: table with at least the columns of `TRIAL_COLUMNS`, and `FILE`.
    """
    faults = _missing(rows, ("trial_id", "attempt", "iterations")) | _misplaced(rows)
    for name, least in _LEAST.items():
        faults = _beyond(rows, name, least, sys.float_info.max) | faults
    faults = _no_shares(rows) | faults
    itself = pc.indices_nonzero(pc.fill_null(pc.equal(rows["repeat_of"], rows["trial_id"]), False)).to_pylist()
    faults = dict.fromkeys(itself, "it is a repeat of itself") | faults
    statuses = rows["status"].to_pylist()
    configs = rows["config_json"].to_pylist()
    for index, (status, config) in enumerate(zip(statuses, configs, strict=True)):
        if status not in _STATUSES:
            faults.setdefault(index, f"unknown status {status!r}")
            continue
        fault = _config_fault(config)
        if fault:
            faults.setdefault(index, fault)
    return faults


def report_faults(rows: pa.Table) -> Mapping[int, str]:
    """Returns what is wrong with each unusable row of a table of reports, by row index.

    Args:
        rows: table with at least the columns of `REPORT_COLUMNS`, and `FILE`.
    """
    faults = _missing(rows, ("trial_id", "attempt", "index", "iteration")) | _misplaced(rows)
    for name in ("index", "iteration"):
        faults = _beyond(rows, name, 0, sys.float_info.max) | faults
    return _out_of_order(rows) | _no_shares(rows) | faults


def _out_of_order(rows: pa.Table) -> dict[int, str]:
    """Returns the reports that do not follow the one before them in their file, which has those of one attempt."""
    import pyarrow as pa

    files = rows[FILE].to_numpy()
    same_file = files[1:] == files[:-1]
    faults: dict[int, str] = {}
    for name, least in (("index", 1), ("iteration", 0)):
        step = np.diff(pc.cast(rows[name], pa.float64(), safe=False).to_numpy())
        for place in (np.flatnonzero(same_file & (step < least)) + 1).tolist():
            faults[place] = f"{name} {rows[name][place]} after {rows[name][place - 1]}"
    return faults


def _missing(rows: pa.Table, names: tuple[str, ...]) -> dict[int, str]:
    faults: dict[int, str] = {}
    for name in names:
        missing = pc.indices_nonzero(pc.is_null(rows[name])).to_pylist()
        faults |= dict.fromkeys(missing, f"no {name}")
    return faults


def _no_shares(rows: pa.Table) -> dict[int, str]:
    """Returns the rows in which a share is no number from 0 to 1. A share that is not defined is NaN."""
    faults: dict[int, str] = {}
    for name in SHARES:
        faults |= _beyond(rows, name, 0, 1, undefined=True) | _beyond(rows, f"best.{name}", 0, 1, undefined=True)
    return faults


def _beyond(rows: pa.Table, name: str, least: float, most: float, *, undefined: bool = False) -> dict[int, str]:
    """Returns the rows whose value of a column is out of bounds. A missing value is not, nor NaN if `undefined`."""
    import pyarrow as pa

    kind = rows.schema.field(name).type if name in rows.column_names else None
    if kind is None or not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        return {}
    values = pc.cast(rows[name], pa.float64(), safe=False)
    right = pc.and_(pc.greater_equal(values, least - _ROUNDING), pc.less_equal(values, most + _ROUNDING))
    if undefined:
        right = pc.or_(right, pc.is_nan(values))
    wrong = pc.indices_nonzero(pc.invert(pc.fill_null(right, True))).to_pylist()
    return {index: f"{name} = {rows[name][index].as_py()}" for index in wrong}


def _misplaced(rows: pa.Table) -> dict[int, str]:
    """Returns the rows in files that are named after another trial or attempt.

    Copies and exchanged files are such. What is looked up by name would be another trial's.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    attempts = pc.cast(rows["attempt"], pa.string())
    named = pc.binary_join_element_wise("trial-", rows["trial_id"], ".", attempts, ".parquet", "")
    right = pc.fill_null(pc.equal(named, rows[FILE]), True)  # what is missing is another fault
    if pc.all(right).as_py() in (True, None):
        return {}
    wrong = (place for place, fits in enumerate(right.to_pylist()) if not fits)
    return {place: f"it is of {named[place].as_py()[6:-8]}" for place in wrong}


def _config_fault(text: str | None) -> str:
    try:
        validated(TrialConfig, json.loads(text or ""), where="its configuration")
    except ConfigError as error:
        return str(error)
    except ValueError:
        return "its configuration is not JSON"
    return ""


def check_whole(
    files: Files, damaged: Sequence[str], rows: pd.DataFrame | None = None, reports: pd.DataFrame | None = None
) -> None:
    """Checks that no file was left out, and that trials have the rows and reports that other files tell of.

    Args:
        files: files of the store.
        damaged: names of the row and report files that were left out.
        rows: `trial_id`, `status`, `reports` and `repeat_of` of the trials that were read; None if none were.
        reports: see `reports_by_trial`; None if none were read.

    Raises:
        StoreError: names the damaged files, or the trials without a row or a report.
    """
    # Rows last: a trial that begins meanwhile has its row before its first report and its first checkpoint.
    report_files = files.list("reports")
    trained = _trials_of(report_files) | _trials_with_checkpoint(files)
    without = sorted(trained - _trials_of(files.list("trials", ".parquet")))
    fix = "put back a copy, or continue the sweep with --resume"
    if damaged:
        what = f"left out {len(damaged)} damaged file{'s' * (len(damaged) > 1)}: {_some_of(damaged)}"
    elif without:
        what = f"trials/ has no row of {_some_of(without)}, which {'were' if len(without) > 1 else 'was'} trained"
    elif rows is not None and (contradiction := _contradiction(rows, report_files, reports)):
        what = contradiction
        fix = "put back a copy"  # an ended trial is not trained again
    else:
        return
    raise StoreError(what, where=files.label, fix=fix)


def reports_by_trial(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns the number of different reports of each trial (`kept`), and its highest `index` (`last`).

    A trial that goes on from a checkpoint sends some of its reports again, which count once.

    Args:
        rows: usable rows with `trial_id` and `index`, of all attempts.
    """
    counted: pd.DataFrame = rows.groupby("trial_id")["index"].agg(kept="nunique", last="max").reset_index()
    return counted


def lost_reports(rows: pd.DataFrame, reports: pd.DataFrame) -> dict[str, str]:
    """Returns how many reports are left of each trial that sent more.

    Indices begin at 0 and leave none out. An ended trial has as many reports as its row tells of.

    Args:
        rows: see `check_whole`.
        reports: see `reports_by_trial`.
    """
    ended = rows[rows["status"].isin(["completed", "stopped"])]
    told = dict(zip(ended["trial_id"], ended["reports"].fillna(0), strict=True))
    sent = np.maximum(reports["trial_id"].map(told).fillna(0), reports["last"] + 1)
    fewer = reports.assign(sent=sent.astype(int))[reports["kept"] < sent]
    return {str(row.trial_id): f"{row.kept} of {row.sent}" for row in fewer.itertuples(index=False)}


def _contradiction(rows: pd.DataFrame, report_files: Sequence[FileEntry], reports: pd.DataFrame | None) -> str:
    """Returns which rows tell of reports or trials that are not there; empty if none does."""
    # A file that was set aside as damaged was told when that happened.
    kept = _trials_of(report_files, set_aside=True)
    reported = rows[rows["status"].isin(["completed", "stopped"]) & (rows["reports"] > 0)]
    silent = sorted(set(reported["trial_id"]) - kept)
    if silent:
        return f"reports/ has no file of {_some_of(silent)}, which sent reports"
    lost = {} if reports is None else lost_reports(rows, reports)
    if lost:
        told_before = _trials_of((entry for entry in report_files if entry.name.startswith("_")), set_aside=True)
        named = [f"{trial_id} ({left})" for trial_id, left in sorted(lost.items()) if trial_id not in told_before]
        if named:
            return f"reports/ lacks reports of {_some_of(named)}"
    of = rows["repeat_of"].fillna("")
    strays = rows[(of != "") & ~of.isin(rows["trial_id"])]
    if strays.empty:
        return ""
    first = strays.iloc[0]
    return f"trial {first['trial_id']} is a repeat of {first['repeat_of']!r}, which has no row"


def highest_number(files: Files, folders: Iterable[str]) -> int:
    """Returns the highest trial number in the names of the folders' files; -1 if there is none."""
    highest = -1
    for folder in folders:
        for entry in files.list(folder):
            # `trial-0003.0.parquet`, `_trial-0003.0.parquet.damaged` or `0003.pt`
            number = entry.name.removeprefix("_").removeprefix("trial-").partition(".")[0]
            if number.isdecimal():
                highest = max(highest, int(number))
    return highest


def _trials_of(entries: Iterable[FileEntry], *, set_aside: bool = False) -> set[str]:
    """Returns the trials of row or report files, with those that were set aside as damaged if `set_aside`."""
    found = set()
    for entry in entries:
        prefix, marker, rest = entry.name.partition("trial-")
        if marker and (prefix == "" or (set_aside and prefix == "_")):
            found.add(rest.partition(".")[0])
    return found


def _trials_with_checkpoint(files: Files) -> set[str]:
    names = {entry.name.removesuffix(".pt") for entry in files.list("checkpoints", ".pt")}
    return {name for name in names if name.isdecimal()}  # not the trainings of `repeat` and `confirm`


def _some_of(names: Sequence[str]) -> str:
    """Returns the first names as a text."""
    return ", ".join(names[:5]) + ", ..." * (len(names) > 5)
