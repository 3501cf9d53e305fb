"""The rows of a sweep: its attempts at trials, and their reports."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gansweep.config import TrialConfig, validated
from gansweep.errors import StoreError
from gansweep.store.schema import REPORT_COLUMNS, TRIAL_COLUMNS, ReportRow, TrialRow

if TYPE_CHECKING:
    import pandas as pd

    from gansweep.store.filesystem import Files
    from gansweep.store.sweep_info import SweepInfo

__all__ = ["Rows", "latest_attempts"]


class Rows:
    """The tables of a `Store`.

    Args:
        files: files of the store.
        info: record of the sweep.
    """

    def __init__(self, files: Files, info: SweepInfo) -> None:
        # Imported here, so that `from gansweep import Store` loads neither pyarrow nor pandas.
        from gansweep.store.faults import report_faults, trial_faults
        from gansweep.store.table import Table

        self._files = files
        self._info = info
        trial_columns = {**TRIAL_COLUMNS, **info.config_columns}
        cure = "put back a copy of it, or train the trial again with --resume"
        scores = [objective.name for objective in info.objectives]
        self._trials = Table(files, "trials", trial_columns, trial_faults, cure, scores)
        self._reports = Table(files, "reports", REPORT_COLUMNS, report_faults, scores=scores)
        self._rows_read: pd.DataFrame | None = None
        self._reports_read: pd.DataFrame | None = None

    def create_tables(self) -> None:
        """Writes the columns of both tables. Keeps those of existing tables."""
        self._trials.create()
        self._reports.create()

    def write_trial(self, row: TrialRow) -> None:
        """Writes the row of an attempt. Replaces an earlier row of the same attempt."""
        self._trials.put(f"{row.trial_id}.{row.attempt}", [row.record()])

    def write_report(self, row: ReportRow) -> None:
        """Writes a report. Replaces an earlier one of the same attempt and index; an attempt has a single writer."""
        self._reports.update(f"{row.trial_id}.{row.attempt}", row.record(), by="index")

    def trials(self, *, settings: bool = True) -> pd.DataFrame:
        """Returns one row per attempt, ordered by trial and attempt. `gansweep.store.schema` describes the columns.

        Args:
            settings: whether to read the columns of single settings (`config.lr_d`). They are three quarters of all,
                and `config_json` has them, too.
        """
        rows = self._trials.frame(["trial_id", "attempt"], without="" if settings else "config.")
        self._rows_read = rows[["trial_id", "status", "reports", "repeat_of"]]
        for objective in self._info.objectives:
            if objective.name not in rows:  # no trial has scores yet, and readers sort by them
                rows[objective.name] = float("nan")
        return rows

    def latest_trials(self) -> pd.DataFrame:
        """Returns the last attempt at each trial."""
        return latest_attempts(self.trials())

    def ranked_trials(self, attempts: pd.DataFrame | None = None) -> pd.DataFrame:
        """Returns the last attempt at each trial, best first. See `gansweep.store.ranking.rank_trials`.

        Args:
            attempts: result of `trials`, if it was read already.
        """
        from gansweep.store.ranking import rank_trials

        latest = latest_attempts(self.trials() if attempts is None else attempts)
        return rank_trials(latest, self._info.objectives, self._info.constraints)

    def reports(self) -> pd.DataFrame:
        """Returns one row per report of each attempt, ordered by trial, attempt and index."""
        rows = self._reports.frame(["trial_id", "attempt", "index"])
        self._note_reports(rows)
        return rows

    def report_times(self) -> pd.Series:
        """Returns when each report of each attempt arrived, in no order. Reads only few columns."""
        rows: pd.DataFrame = self._reports.read(["trial_id", "index", "time"]).to_pandas()
        self._note_reports(rows)
        return rows["time"]

    def _note_reports(self, rows: pd.DataFrame) -> None:
        """Keeps which reports were read, for `check_whole`."""
        from gansweep.store.faults import reports_by_trial

        self._reports_read = reports_by_trial(rows)

    def latest_reports(self) -> pd.DataFrame:
        """Returns one row per report of each trial.

        If several attempts sent the same report, the last attempt's is used.
        """
        rows = self.reports().sort_values(["trial_id", "index", "attempt"], kind="stable")
        return rows.drop_duplicates(["trial_id", "index"], keep="last").reset_index(drop=True)

    def reports_of(self, trial_id: str, attempt: int) -> list[dict[str, Any]]:
        """Returns a trial's reports up to and including `attempt`, as dicts by column.

        Each attempt resumed the one before.
        """
        records: list[dict[str, Any]] = []
        for number in range(attempt + 1):
            records += self._reports.get(f"{trial_id}.{number}")
        return records

    def row(self, trial_id: str, attempt: int) -> TrialRow | None:
        """Returns the row of an attempt, or None if there is no readable row."""
        records = self._trials.get(f"{trial_id}.{attempt}")
        return TrialRow.of(records[0]) if records else None

    def trials_begun(self) -> int:
        """Returns the highest number of any trial with a row, reports or a checkpoint, plus one."""
        from gansweep.store.faults import highest_number

        return highest_number(self._files, ("trials", "reports", "checkpoints")) + 1

    def rows(self) -> tuple[TrialRow, ...]:
        """Returns every attempt, ordered by trial and attempt. Repeats count as separate trials."""
        return tuple(TrialRow.of(record) for record in self._trials.records())

    def latest_rows(self) -> tuple[TrialRow, ...]:
        """Returns the last attempt at each trial."""
        return tuple({row.trial_id: row for row in self.rows()}.values())

    def ended_trials(self) -> tuple[TrialRow, ...]:
        """Returns the last attempt at each trial that has ended and is not to be resumed."""
        return tuple(row for row in self.latest_rows() if row.status not in ("running", "interrupted"))

    def set_aside_damaged(self) -> tuple[str, ...]:
        """Renames damaged row and report files, so that they are no longer read. Returns their new names."""
        return self._trials.set_aside_damaged() + self._reports.set_aside_damaged()

    def check_whole(self) -> None:
        """Checks that no row or report file that was read so far had to be left out, and that none is missing.

        A command that shows results calls it after it has shown the rest.

        Raises:
            StoreError: names the damaged files, or the trials without a row or a report.
        """
        from gansweep.store.faults import check_whole, lost_reports

        rows = self._rows_read
        reports = self._reports_read
        if rows is not None and reports is not None and lost_reports(rows, reports):
            # A trial may have sent its last report and ended between the two readings.
            self.report_times()
            reports = self._reports_read
        check_whole(self._files, self._trials.damaged + self._reports.damaged, rows, reports)

    def config(self, trial_id: str) -> TrialConfig:
        """Returns the configuration of a trial.

        Raises:
            StoreError: there is no such trial.
        """
        rows = self.latest_trials()
        found = rows.loc[rows["trial_id"] == trial_id, "config_json"]
        if found.empty:
            raise StoreError(f"no trial {trial_id!r}", where=self._files.label, fix="see `gansweep leaderboard`")
        return validated(TrialConfig, json.loads(found.iloc[0]), where=f"{self._files.label} trial {trial_id}")

    def compact(self) -> None:
        """Copies each table to one file beside its folder (`trials.parquet`), which makes large sweeps fast to read."""
        self._trials.compact()
        self._reports.compact()


def latest_attempts(attempts: pd.DataFrame) -> pd.DataFrame:
    """Returns the last attempt at each trial, of attempts ordered by trial and attempt."""
    return attempts.drop_duplicates("trial_id", keep="last").reset_index(drop=True)
