"""A sweep's store, `<storage>/<sweep>/`: sweep.json, trials/, reports/, studies.db, checkpoints/ and artifacts/."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gansweep.config import validated
from gansweep.errors import StoreError
from gansweep.files import place_of
from gansweep.store.checkpoints import Checkpoint
from gansweep.store.continuation import check_continues
from gansweep.store.feature_files import check_feature_files
from gansweep.store.record import (
    DRIVER_FILE,
    SWEEP_FILE,
    check_name,
    here_already,
    hint,
    is_begun,
    read_record,
    recorded_scoring,
    refuse_in_use,
    restore_record,
    write_record,
)
from gansweep.store.rows import Rows
from gansweep.store.sweep_info import SweepInfo

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    import optuna
    from optuna.trial import FrozenTrial

    from gansweep.config import ScoringSettings
    from gansweep.store.filesystem import FileEntry, Files

__all__ = ["Store"]


class Store(Rows):
    """All the results of one sweep. Use `Store.create` or `Store.open`. A store pickles as its URI.

    Any process may write rows. Each attempt at a trial has its own file, and writing a row again replaces it. A resumed
    sweep therefore neither loses nor duplicates rows.
    """

    def __init__(self, files: Files, info: SweepInfo, study: str = "") -> None:
        # Imported here, so that `from gansweep import Store` loads neither pyarrow nor pandas.
        from gansweep.store.study import StudyFile
        from gansweep.store.study_database import StudyDatabase

        super().__init__(files, info)
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
        if not is_begun(files):
            refuse_in_use(files)  # before locking, because the lock is a file in this folder
        # Two sweeps that start at the same time must not both create the folder.
        with files.locked():
            begun = is_begun(files)
            if not begun:
                refuse_in_use(files)
                # The record is written before anything else, so that --resume can open the store after a crash.
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
        store.create_tables()
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
        if not is_begun(files):
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
        if not is_begun(files):
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
            ConfigError: a file that they name is not the one that the sweep used, or was not recorded.
        """
        scoring = recorded_scoring(self._info, f"{self.label}/{SWEEP_FILE}")
        fix = "continue the sweep with --resume and this file, which records it"
        check_feature_files(scoring, self._info.feature_files, fix=fix)
        return scoring

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

    # Driver ---------------------------------------------------------------------------------------------------------

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Prevents other processes from running sweep, repeat or confirm. Restores a lost sweep.json from its copy.

        Raises:
            StoreError: another process is running one of them.
        """
        from gansweep.store.claims import claimed

        with claimed(self._files, DRIVER_FILE, "is at work on this sweep"):
            restore_record(self._files)
            yield

    def driver_has_ended(self) -> bool:
        """Returns whether the last process that drove the sweep on this machine is no longer at work on it."""
        from gansweep.store.claims import holder_has_ended

        return holder_has_ended(self._files, DRIVER_FILE)

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

    def study_errors_explained(self) -> AbstractContextManager[None]:
        """Converts errors of the study's database, in a file or on a server, to a StoreError of one line."""
        from gansweep.store.study_database import database_errors_explained

        if self._info.study:
            return database_errors_explained(self._info.study)
        fix = "end what else uses it, then go on with --resume, which builds it again from trials/"
        return database_errors_explained(f"{self.label}/studies.db", fix)

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
