"""A sweep's store, `<storage>/<sweep>/`: sweep.json, trials/, reports/, studies.db, checkpoints/ and artifacts/."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gansweep.config import TrialConfig, validated
from gansweep.errors import StoreError
from gansweep.files import place_of
from gansweep.store.checkpoints import Checkpoint
from gansweep.store.continuation import check_continues
from gansweep.store.record import (
    SWEEP_FILE,
    check_name,
    here_already,
    hint,
    read_record,
    recorded_scoring,
    refuse_in_use,
    write_record,
)
from gansweep.store.schema import REPORT_COLUMNS, TRIAL_COLUMNS, ReportRow, TrialRow
from gansweep.store.sweep_info import SweepInfo

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager
    from pathlib import Path

    import optuna
    import pandas as pd
    import pyarrow as pa
    from optuna.trial import FrozenTrial

    from gansweep.config import ScoringSettings
    from gansweep.store.filesystem import FileEntry, Files

__all__ = ["Store"]

_DRIVER = ".driver"


class Store:
    """All the results of one sweep. Use `Store.create` or `Store.open`. A store pickles as its URI.

    Any process may write rows. Each attempt at a trial has its own file, and writing a row again replaces it. A resumed
    sweep therefore neither loses nor duplicates rows.
    """

    def __init__(self, files: Files, info: SweepInfo, study: str = "") -> None:
        # Imported here, so that `from gansweep import Store` loads neither pyarrow nor pandas.
        from gansweep.store.faults import report_faults, trial_faults
        from gansweep.store.study import StudyFile
        from gansweep.store.study_database import StudyDatabase
        from gansweep.store.table import Table

        self._files = files
        self._info = info
        trial_columns = {**TRIAL_COLUMNS, **info.config_columns}
        cure = "put back a copy of it, or train the trial again with --resume"
        self._trials = Table(files, "trials", trial_columns, trial_faults, cure)
        self._reports = Table(files, "reports", REPORT_COLUMNS, report_faults)
        self._rows_read: pd.DataFrame | None = None
        self._reports_read: pa.Table | None = None
        self._study = StudyDatabase(info, study, files.label) if info.study else StudyFile(files, info.name)

    @classmethod
    def create(cls, storage: str, name: str, info: SweepInfo, exist_ok: bool = False, study: str = "") -> Store:
        """Creates the store `<storage>/<name>`. With `exist_ok`, opens an existing one.

        Args:
            storage: folder or URI.
            name: name of the sweep.
            info: record of the sweep.
            exist_ok: whether the store may exist.
            study: URL of the database of the study. Empty: that of the record, or a file in the store.

        Raises:
            ConfigError: the name is not a valid folder name.
            StoreError: the destination cannot be written; or there is already a store, or a folder with other content.
                With `exist_ok`: the existing store has another cohort, space, objectives or settings.
        """
        from gansweep.store.filesystem import Files

        check_name(name)
        files = Files(storage).child(name)
        if not files.exists(SWEEP_FILE):
            refuse_in_use(files)  # before locking, because the lock is a file in this folder
        # Two sweeps that start at the same time must not both create the folder.
        with files.locked():
            begun = files.exists(SWEEP_FILE)
            if not begun:
                refuse_in_use(files)
                # The record is written first, so that --resume can open the store after a crash.
                write_record(files, info)
            elif not exist_ok:
                raise here_already(files)
        record = read_record(files)
        if begun and info.study and info.study != record.study:
            # The study moves to another database. There, it is built from the rows.
            check_continues(record, info, files.label)
            write_record(files, record.model_copy(update={"study": info.study}))
            record = read_record(files)
        store = cls(files, record, study)
        if begun:
            check_continues(store.info, info, store.label)
            files.remove_leftovers()
        else:
            store._study.forget()
        store._trials.create()
        store._reports.create()
        return store

    @classmethod
    def begun(cls, storage: str, name: str, exist_ok: bool = False) -> Store | None:
        """Returns the existing store that `create` would open, or None if `create` would make a new one.

        Writes nothing.

        Raises:
            ConfigError, StoreError: see `create`.
        """
        from gansweep.store.filesystem import Files

        check_name(name)
        files = Files(storage).child(name)
        if not files.exists(SWEEP_FILE):
            refuse_in_use(files)
            return None
        if not exist_ok:
            raise here_already(files)
        return cls(files, read_record(files))

    @classmethod
    def open(cls, uri: str | Path, patience_s: float = 0.0) -> Store:
        """Opens the store at `<storage>/<sweep>`.

        Args:
            uri: a path or URI.
            patience_s: see `wait_out`.

        Raises:
            StoreError: there is no store.
            ConfigError: `uri` is neither a text nor a path.
        """
        from gansweep.store.filesystem import Files

        files = Files(place_of(uri))
        files.patience_s = patience_s
        if not files.exists(SWEEP_FILE):
            raise StoreError("not a sweep's store: it has no sweep.json", where=files.label, fix=hint(files))
        return cls(files, read_record(files))

    def __reduce__(self) -> tuple[Any, ...]:
        return Store.open, (self.uri,)

    def _repr_html_(self) -> str:
        """Returns a summary of the sweep for notebooks."""
        from gansweep.store.notebook import sweep_table

        return sweep_table(self._info, self.label, self.latest_trials())

    @property
    def uri(self) -> str:
        """URI of the store, as accepted by `Store.open`. It may contain credentials: print `label` instead."""
        return self._files.uri

    @property
    def storage(self) -> str:
        """The storage that contains the store. It may contain credentials."""
        return self._files.parent().uri

    @property
    def label(self) -> str:
        """Location of the store, without credentials, for messages."""
        return self._files.label

    @property
    def local(self) -> Path | None:
        """Folder of the store if it is on a local disk, or None."""
        return self._files.local

    @property
    def scoring(self) -> ScoringSettings:
        """Scoring settings of the sweep's trials.

        Raises:
            StoreError: sweep.json does not have them.
        """
        return recorded_scoring(self._info, f"{self.label}/{SWEEP_FILE}")

    @property
    def info(self) -> SweepInfo:
        """The sweep's provenance, as last read or written."""
        return self._info

    def update_info(self, **changes: Any) -> SweepInfo:
        """Changes fields of sweep.json and returns the new content.

        Raises:
            ConfigError: a field is unknown or has a bad value.
        """
        with self._files.locked():
            current = read_record(self._files)
            info = validated(SweepInfo, {**vars(current), **changes}, where=SWEEP_FILE)
            write_record(self._files, info)
            self._info = info
        return info

    def wait_out(self, seconds: float) -> None:
        """Sets how long to wait for a storage that is full or overloaded, in seconds."""
        self._files.patience_s = seconds

    # Rows ------------------------------------------------------------------------------------------------------------

    def write_trial(self, row: TrialRow) -> None:
        """Writes the row of an attempt. Replaces an earlier row of the same attempt."""
        self._trials.put(f"{row.trial_id}.{row.attempt}", [row.record()])

    def write_report(self, row: ReportRow) -> None:
        """Writes a report. Replaces an earlier one of the same attempt and index; an attempt has a single writer."""
        self._reports.update(f"{row.trial_id}.{row.attempt}", row.record(), by="index")

    def trials(self) -> pd.DataFrame:
        """Returns one row per attempt, ordered by trial and attempt. `gansweep.store.schema` describes the columns."""
        rows = self._trials.frame(["trial_id", "attempt"])
        self._rows_read = rows[["trial_id", "status", "reports", "repeat_of"]]
        for objective in self._info.objectives:
            if objective.name not in rows:  # no trial has scores yet, and readers sort by them
                rows[objective.name] = float("nan")
        return rows

    def latest_trials(self) -> pd.DataFrame:
        """Returns the last attempt at each trial."""
        return self.trials().drop_duplicates("trial_id", keep="last").reset_index(drop=True)

    def reports(self) -> pd.DataFrame:
        """Returns one row per report of each attempt, ordered by trial, attempt and index."""
        import pyarrow as pa

        rows = self._reports.frame(["trial_id", "attempt", "index"])
        self._note_reports(pa.Table.from_pandas(rows[["trial_id", "index"]], preserve_index=False))
        return rows

    def report_times(self) -> pd.Series:
        """Returns when each report of each attempt arrived, in no order. Reads only few columns."""
        rows = self._reports.read(["trial_id", "index", "time"])
        self._note_reports(rows)
        times: pd.Series = rows.select(["time"]).to_pandas()["time"]
        return times

    def _note_reports(self, rows: pa.Table) -> None:
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
            raise StoreError(f"no trial {trial_id!r}", where=self.label, fix="see `gansweep leaderboard`")
        return validated(TrialConfig, json.loads(found.iloc[0]), where=f"{self.label} trial {trial_id}")

    def compact(self) -> None:
        """Copies each table to one file beside its folder (`trials.parquet`), which makes large sweeps fast to read."""
        self._trials.compact()
        self._reports.compact()

    def exclusive(self) -> AbstractContextManager[None]:
        """Prevents other processes from running sweep, repeat or confirm.

        Raises:
            StoreError: another process is running one of them.
        """
        from gansweep.store.claims import claimed

        return claimed(self._files, _DRIVER, "is at work on this sweep")

    def driver_has_ended(self) -> bool:
        """Returns whether the last process that drove the sweep on this machine is no longer at work on it."""
        from gansweep.store.claims import holder_has_ended

        return holder_has_ended(self._files, _DRIVER)

    # Study -----------------------------------------------------------------------------------------------------------

    @property
    def study_path(self) -> Path:
        """Path of the study's SQLite file on this machine."""
        return self._study.path

    def study_storage(self) -> optuna.storages.RDBStorage:
        """Returns Optuna's storage for `study_path`, after fetching the file from a remote store."""
        self._study.fetch()
        return self._study.storage()

    def create_study(self, sampler: optuna.samplers.BaseSampler | None = None) -> optuna.Study:
        """Returns the study with the sweep's objectives. Creates it if it is missing."""
        return self._study.create(self._info.objectives, sampler)

    def load_study(self, sampler: optuna.samplers.BaseSampler | None = None) -> optuna.Study:
        """Loads the sweep's study.

        Raises:
            StoreError: the sweep has no study yet.
        """
        return self._study.load(sampler)

    def study_damage(self) -> str:
        """Returns what is wrong with the study's file, or an empty string if it is intact or missing."""
        self._study.fetch()
        return self._study.damage()

    def replace_study(self, trials: Iterable[FrozenTrial]) -> optuna.Study:
        """Replaces the study with a new one of `trials`, numbered in their order."""
        return self._study.replace(self._info.objectives, trials)

    def sync_study(self) -> None:
        """Mirrors the study to a remote store. Has no effect for a local store."""
        self._study.sync()

    # Checkpoints -----------------------------------------------------------------------------------------------------

    def checkpoint(self, name: str) -> Checkpoint:
        """Returns the checkpoint of a training run, by the trial's id. The file need not exist yet."""
        return Checkpoint(self._files, name)

    # Other files -----------------------------------------------------------------------------------------------------

    def read_bytes(self, rel: str) -> bytes:
        """Returns the content of the store's file `rel`. Raises StoreError if it is missing."""
        return self._files.read_bytes(rel)

    def write_bytes(self, rel: str, data: bytes) -> None:
        """Writes a file to the store atomically. Raises StoreError if the store cannot be written."""
        self._files.write_bytes(rel, data)

    def exists(self, rel: str) -> bool:
        """Returns whether the store has a file or folder `rel`."""
        return self._files.exists(rel)

    def delete(self, rel: str) -> None:
        """Deletes a file. A missing file is not an error."""
        self._files.delete(rel)

    def list(self, rel: str) -> tuple[FileEntry, ...]:
        """Lists the files directly in the folder `rel`, by name."""
        return self._files.list(rel)
