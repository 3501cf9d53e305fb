"""A sweep's Optuna study: a local SQLite file, mirrored to the store if the store is remote.

The rows in `trials/` are the sweep's record. The study is derived from them and can be rebuilt from them.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gansweep.errors import StoreError
from gansweep.files import cache_folder
from gansweep.store.filesystem import Files

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import optuna
    from optuna.trial import FrozenTrial

    from gansweep.config import Objective

__all__ = ["StudyFile", "made_study", "snapshot"]

_NAME = "studies.db"
_RESUME = "the sweep's --resume builds it again from trials/"
_START_OR_RESUME = f"start the sweep first; where it was started, {_RESUME}"
_LOCK_SECONDS = 60.0
_REMEMBERED = 500
"""Number of mirror digests kept. While one reader downloads a mirror slowly, others may be written: one is too few."""


class StudyFile:
    """The SQLite file of one study.

    It uses SQLite's default rollback journal, because write-ahead logging needs shared memory, which network file
    systems do not provide. Only one process at a time should write. Any number may read.

    Args:
        files: files of the store.
        name: name of the study.
    """

    def __init__(self, files: Files, name: str) -> None:
        self._files = files
        self.name = name
        self.path: Path = files.local / _NAME if files.local is not None else _working_copy(files)

    def fetch(self) -> None:
        """Downloads the mirrored study, unless the local working copy is already derived from it."""
        if self._files.local is not None or not self._files.exists(_NAME):
            return
        # The lock covers the download, so that no other process can fetch a newer mirror that this one would then
        # replace.
        with self._beside.locked():
            mirror = self._files.read_bytes(_NAME)
            if self.path.exists() and _digest(mirror) in self._mirrored():
                return  # the copy is equal or newer: this machine may have crashed before the next sync
            self._beside.write_bytes(_NAME, mirror)
            self._note_mirrored(_digest(mirror))

    def forget(self) -> None:
        """Deletes the working copy of a deleted store. A new store at the same place must not continue its trials."""
        if self._files.local is None:
            self.path.unlink(missing_ok=True)
            self._note.unlink(missing_ok=True)

    def sync(self) -> None:
        """Mirrors the study to the store. Has no effect if the store is local.

        Raises:
            StoreError: the store cannot be written.
        """
        if self._files.local is not None or not self.path.exists():
            return
        with self._beside.locked():
            content = snapshot(self.path)
            # Noted before the upload, with the earlier digests kept: neither a crash in between nor a download that
            # started earlier may replace the working copy with an old mirror.
            self._note_mirrored(_digest(content))
            self._files.write_bytes(_NAME, content)

    def storage(self) -> optuna.storages.RDBStorage:
        """Returns Optuna's storage for the working copy. Creates the file if it is missing.

        Existing readers see the content of a later `fetch`.

        Raises:
            StoreError: the file has the schema of another version of Optuna.
        """
        import optuna
        from alembic.util.exc import CommandError
        from sqlalchemy import URL, NullPool

        url = URL.create("sqlite", database=str(self.path)).render_as_string()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        options: dict[str, Any] = {"connect_args": {"timeout": _LOCK_SECONDS, "factory": _Connection}}
        if self._files.local is None:
            # A fetched mirror replaces the working copy. A connection that stays open would keep reading the deleted
            # file.
            options["poolclass"] = NullPool
        try:
            return optuna.storages.RDBStorage(url, engine_kwargs=options)
        except (RuntimeError, CommandError):
            raise StoreError(
                f"{_NAME} is from another version of Optuna",
                where=self._files.label,
                fix=f"install that version, or move the file away: {_RESUME}",
            ) from None

    def load(self, sampler: optuna.samplers.BaseSampler | None = None) -> optuna.Study:
        """Loads the study, to read or to continue.

        Raises:
            StoreError: the sweep has no study yet, or its file is damaged.
        """
        import optuna

        self.fetch()
        if not self.path.exists():
            raise StoreError("no Optuna study here yet", where=self._files.label, fix=_START_OR_RESUME)
        self._refuse_damaged()
        try:
            return optuna.load_study(study_name=self.name, storage=self.storage(), sampler=sampler)
        except KeyError:
            what = f"{_NAME} has no study named {self.name!r}"
            raise StoreError(what, where=self._files.label, fix=_RESUME) from None

    def create(
        self, objectives: Sequence[Objective], sampler: optuna.samplers.BaseSampler | None = None
    ) -> optuna.Study:
        """Returns the study with the objectives' directions and names. Creates it if it is missing.

        Raises:
            StoreError: the study's file is damaged.
        """
        self.fetch()
        self._refuse_damaged()
        return made_study(self.name, self.storage(), objectives, sampler)

    def damage(self) -> str:
        """Returns what is wrong with the working copy, or an empty string if it is intact or missing.

        Raises:
            StoreError: another process keeps the file locked.
        """
        if not self.path.exists():
            return ""
        if not self.path.is_file():
            return "it is a folder"
        try:
            with contextlib.closing(sqlite3.connect(self.path, timeout=_LOCK_SECONDS)) as connection:
                found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.OperationalError as error:
            raise StoreError(f"{_NAME}: {error}", where=self._files.label, fix="end what else uses it") from None
        except sqlite3.DatabaseError as error:
            return str(error)
        return "" if found == "ok" else str(found)

    def replace(self, objectives: Sequence[Objective], trials: Iterable[FrozenTrial]) -> optuna.Study:
        """Creates a new study of `trials`, numbered in their order. Keeps the previous file as `studies.db.before`."""
        for leftover in (f"{_NAME}-journal", f"{_NAME}.before"):
            self.path.with_name(leftover).unlink(missing_ok=True)
        if self.path.exists():
            self.path.rename(self.path.with_name(f"{_NAME}.before"))
        study = made_study(self.name, self.storage(), objectives)
        study.add_trials(trials)
        self.sync()
        return study

    def _refuse_damaged(self) -> None:
        if damage := self.damage():
            where = f"{self._files.label}/{_NAME}"
            raise StoreError(f"damaged ({damage})", where=where, fix=_RESUME)

    @property
    def _beside(self) -> Files:
        """Folder of the working copy."""
        return Files(str(self.path.parent))

    @property
    def _note(self) -> Path:
        return self.path.with_name(f"{_NAME}.mirrored")

    def _mirrored(self) -> list[str]:
        """Returns the digests of the mirrors that the working copy was read from or written to, newest first."""
        return self._note.read_text().split() if self._note.exists() else []

    def _note_mirrored(self, digest: str) -> None:
        earlier = [other for other in self._mirrored() if other != digest]
        self._beside.write_bytes(self._note.name, "\n".join([digest, *earlier][:_REMEMBERED]).encode())


def made_study(
    name: str,
    storage: optuna.storages.RDBStorage,
    objectives: Sequence[Objective],
    sampler: optuna.samplers.BaseSampler | None = None,
) -> optuna.Study:
    """Returns the study `name` with the objectives' directions and names. Creates it if it is missing."""
    import optuna

    directions = [objective.direction for objective in objectives]
    study = optuna.create_study(
        study_name=name, storage=storage, directions=directions, sampler=sampler, load_if_exists=True
    )
    if len(study.directions) != len(objectives):
        return study
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names([objective.name for objective in objectives])
    return study


class _Connection(sqlite3.Connection):
    """Commits without waiting for the disk: one proposal is some 25 commits, each of them a flush.

    A killed process loses nothing by it. A machine that loses its power may leave a damaged file or an old one, and
    `--resume` builds the study again from the rows.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.execute("PRAGMA synchronous=OFF")


def _digest(content: bytes) -> str:
    # Object stores keep times in whole seconds and databases grow by pages, so size and time could miss a change.
    return hashlib.sha256(content).hexdigest()


def _working_copy(files: Files) -> Path:
    # The query distinguishes two endpoints with equally named buckets. The hash keeps credentials out of paths.
    return cache_folder() / "studies" / hashlib.sha256(files.uri.encode()).hexdigest()[:16] / _NAME


def snapshot(path: Path) -> bytes:
    """Returns a consistent copy of a SQLite file to which other processes may be writing."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / _NAME
        with (
            contextlib.closing(sqlite3.connect(path, timeout=_LOCK_SECONDS)) as source,
            contextlib.closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
        return copy.read_bytes()
